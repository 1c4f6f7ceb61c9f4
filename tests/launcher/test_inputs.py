"""What a task works on: executor input, workspace, models in images, certificates.

Oracle: spec LAUNCHER A6, A7, A20 and E5.2.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import certifi
import pytest

from kfp_api.ir.executor_input import ExecutorInput
from kfp_api.ir.pipeline import ComponentSpec
from launcher import modelcars, placeholders
from launcher.certificates import VARIABLES, trust_bundle
from launcher.configuration import ConfigurationReader
from launcher.environment import seconds
from launcher.errors import LauncherError
from launcher.executor_input import as_user_code_sees_it, parse_input, qualify_logs, rebase_outputs
from launcher.inputs import fetch_inputs, stored_uris
from launcher.stores.access import Stores

MARKED = {"_kfp_workspace": True, "rows": 1}


def with_inputs(*artifacts: dict[str, Any]) -> ExecutorInput:
    inputs = {f"in{index}": {"artifacts": [artifact]} for index, artifact in enumerate(artifacts)}
    return ExecutorInput.parse({"inputs": {"artifacts": inputs}, "outputs": {}})


async def fetch(executor_input: ExecutorInput, component: ComponentSpec | None = None) -> None:
    reader = ConfigurationReader({}, namespace="ns", kubernetes=None)
    await fetch_inputs(
        executor_input,
        component=component or ComponentSpec(),
        stores=Stores(reader=reader, environment={}),
        workspace="/kfp-workspace",
        environment={"KFP_MODELCAR_TIMEOUT": "0.01"},
    )


def test_executor_input_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text('{"outputs": {"outputFile": "/o"}}', encoding="utf-8")
    found = parse_input(f"@{tmp_path}/input.json").outputs
    assert found is not None
    assert found.output_file == "/o"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"inputs": {}}', "@/nowhere", '{"outputs": 3}'])
def test_what_is_no_executor_input_is_refused(text: str) -> None:
    with pytest.raises(LauncherError, match="executor input"):
        parse_input(text)


def test_what_is_wrong_with_an_executor_input_is_said_without_its_values() -> None:
    text = '{"inputs": {"artifacts": {"a": "s3cret"}}, "outputs": {}}'
    with pytest.raises(LauncherError, match=r"executor input: inputs\.artifacts\.a: ") as caught:
        parse_input(text)
    assert "s3cret" not in str(caught.value)


def test_parameter_files_move_below_the_tasks_own_directory() -> None:
    document = {"outputs": {"parameters": {"a": {"outputFile": "/tmp/kfp/outputs/a"}}}}
    moved = rebase_outputs(ExecutorInput.parse(document), "/pod/outputs").outputs
    assert moved is not None
    assert moved.parameters["a"].output_file == "/pod/outputs/a"
    assert moved.output_file == "/pod/outputs/output_metadata.json"


@pytest.mark.parametrize(
    ("uri", "attempt", "qualified"),
    [
        ("minio://b/logs/executor-logs", 2, "minio://b/logs/executor-logs-2"),
        ("minio://b/logs/executor-logs-2", 2, "minio://b/logs/executor-logs-2"),
        ("minio://b/logs/executor-logs", 0, "minio://b/logs/executor-logs-0"),
    ],
)
def test_every_attempt_has_a_log_of_its_own(uri: str, attempt: int, qualified: str) -> None:
    declared = {"artifacts": [{"name": "executor-logs", "uri": uri, "customPath": "/x"}]}
    document = {"outputs": {"artifacts": {"executor-logs": declared}}}
    outputs = qualify_logs(ExecutorInput.parse(document), attempt).outputs
    assert outputs is not None
    (log,) = outputs.artifacts["executor-logs"].artifacts
    assert (log.uri, log.custom_path) == (qualified, f"/x-{attempt}")


def test_workspace_elsewhere_is_a_plain_path_to_user_code() -> None:
    executor_input = with_inputs(
        {"name": "d", "uri": "minio://b/k", "metadata": MARKED}, {"name": "e", "uri": "s3://b/k"}
    )
    seen = as_user_code_sees_it(executor_input, "/data/ws")
    first, second = (value.artifacts[0] for value in seen.input_artifacts.values())
    assert (first.uri, first.metadata) == ("/data/ws/.artifacts/minio/b/k", {"rows": 1})
    assert second.uri == "s3://b/k"
    text = placeholders.expand(["{{$.inputs.artifacts['in0'].path}}"], seen, workspace="/data/ws")
    assert text == ["/data/ws/.artifacts/minio/b/k"]


def test_workspace_in_its_usual_place_keeps_the_mark() -> None:
    executor_input = with_inputs({"name": "d", "uri": "minio://b/k", "metadata": MARKED})
    assert as_user_code_sees_it(executor_input, "/kfp-workspace") is executor_input


async def test_artifacts_of_workspace_row_and_unknown_schemes_are_not_fetched(
    capsys: pytest.CaptureFixture[str],
) -> None:
    executor_input = with_inputs(
        {"name": "w", "uri": "minio://b/k", "metadata": MARKED},
        {"name": "m", "type": {"schemaTitle": "system.Metrics"}},
        {"name": "u", "uri": "ftp://b/k"},
    )
    await fetch(executor_input)
    assert list(stored_uris(executor_input)) == []
    assert 'input artifact "in2" is not fetched: failed to generate local path' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("title", "optional", "fails"),
    [
        ("system.Dataset", False, True),
        ("system.Dataset", True, False),
        ("system.ClassificationMetrics", False, False),
    ],
)
async def test_nothing_in_the_store_is_an_error_where_something_must_be(
    title: str, optional: bool, fails: bool, tmp_path: Path
) -> None:
    artifact = {"name": "d", "uri": f"{tmp_path}/none", "type": {"schemaTitle": title}}
    declared = {"in0": {"artifactType": {"schemaTitle": title}, "isOptional": optional}}
    component = ComponentSpec.parse({"inputDefinitions": {"artifacts": declared}})
    if fails:
        with pytest.raises(LauncherError, match='input artifact "in0" is empty'):
            await fetch(with_inputs(artifact), component)
    else:
        await fetch(with_inputs(artifact), component)


async def test_failed_download_names_input_and_uri() -> None:
    text = 'failed to download input artifact "in0" from remote storage URI "s3://elsewhere/k": .*outside'
    with pytest.raises(LauncherError, match=text):
        await fetch(with_inputs({"name": "d", "uri": "s3://elsewhere/k"}))


async def test_model_that_never_appears_ends_the_wait() -> None:
    with pytest.raises(LauncherError, match=r"did not appear at /oci/r.io_a:1/models within 0.01 s"):
        await fetch(with_inputs({"name": "m", "uri": "oci://r.io/a:1"}))


async def test_model_is_waited_for_until_it_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelcars, "_POLL_SECONDS", 0.001)
    model = tmp_path / "models"
    waiting = asyncio.create_task(modelcars.wait_for_model(str(model), {}))
    await asyncio.sleep(0)
    assert not waiting.done()
    await asyncio.to_thread(model.mkdir)
    await waiting


def test_every_models_sidecar_is_told_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(modelcars, "local_path", lambda uri: f"{tmp_path}/{uri[-1]}/models")
    (tmp_path / "1").mkdir()
    both = with_inputs({"uri": "oci://r/a:1"}, {"uri": "oci://r/a:2"}, {"uri": "oci://r/a:1"})
    modelcars.release_modelcars(json.dumps(both.to_json()))
    assert (tmp_path / "1" / "launcher-complete").exists()
    assert "cannot be told the end" in capsys.readouterr().err


def test_without_readable_input_there_is_no_sidecar(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("", "oci://", "@/nowhere", '{"outputs": {}}'):
        modelcars.release_modelcars(text)
    assert capsys.readouterr().err == ""


def test_users_command_trusts_the_system_and_the_operators_authority(tmp_path: Path) -> None:
    system, own = tmp_path / "system.crt", tmp_path / "own.crt"
    system.write_text("SYSTEM", encoding="utf-8")
    own.write_text("OWN\n", encoding="utf-8")
    with trust_bundle(str(own), {"SSL_CERT_FILE": str(system), "A": "b"}) as (bundle, environment):
        assert Path(bundle).read_text(encoding="utf-8") == "SYSTEM\nOWN\n"
        assert Path(bundle).stat().st_mode & 0o777 == 0o444
        assert environment == {"A": "b", **dict.fromkeys(VARIABLES, bundle)}
    assert not Path(bundle).exists()
    with trust_bundle("", {"A": "b"}) as (bundle, environment):
        assert (bundle, environment) == ("", {"A": "b"})
    with pytest.raises(LauncherError, match="failed to use the CA certificate"), trust_bundle("/no", {}):
        pass


def test_authority_named_as_system_bundle_is_not_taken_twice(tmp_path: Path) -> None:
    own = tmp_path / "own.crt"
    own.write_text(Path(certifi.where()).read_text(encoding="utf-8")[:100], encoding="utf-8")
    with trust_bundle(str(own), {"SSL_CERT_FILE": str(own)}) as (bundle, _):
        assert Path(bundle).read_bytes().count(own.read_bytes()) == 1


@pytest.mark.parametrize(("text", "expected"), [("", 5.0), ("0", 0.0), ("1.5", 1.5)])
def test_duration_of_the_environment(text: str, expected: float) -> None:
    assert seconds({"X": text}, "X", default=5) == expected


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "soon"])
def test_duration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(LauncherError, match="X must be a number of seconds"):
        seconds({"X": text}, "X", default=5)


def test_executor_input_of_user_code_is_json() -> None:
    executor_input = with_inputs({"name": "d", "uri": "s3://b/k"})
    (text,) = placeholders.expand(["{{$}}"], executor_input, workspace="/w")
    assert json.loads(text)["inputs"]["artifacts"]["in0"]["artifacts"][0]["uri"] == "s3://b/k"
