"""``kfp-driver compile`` through its front door.

Oracle: the command's own promises: nothing half-written, one line per failure, stable readable YAML.
"""

import os
from pathlib import Path

import pytest
import yaml

from driver_plugin.cli import main
from tests.compiler.pipelines import Json, document, task, templates, when

INPUTS: dict[str, Json] = {
    "epochs": {"parameterType": "NUMBER_INTEGER"},
    "note": {"parameterType": "STRING", "defaultValue": "none"},
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(document({"a": task()}, inputs=INPUTS)))
    return path


def read(path: Path) -> Json:
    loaded: Json = yaml.safe_load(path.read_text())
    return loaded


def root_config(workflow: Json) -> str:
    text: str = templates(workflow)["entrypoint"]["dag"]["tasks"][0]["arguments"]["parameters"][0]["value"]
    return text


def test_workflow_is_written_to_the_file(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "workflow.yaml"
    assert main(["compile", str(source), "-p", "epochs=3", "--param", "note=a=b", "-o", str(output)]) == 0
    workflow = read(output)
    assert root_config(workflow) == '{"parameterValues":{"epochs":3,"note":"a=b"}}'
    assert list(workflow) == ["apiVersion", "kind", "metadata", "spec"]
    assert "plugin" in templates(workflow)["system-dag-driver"]
    assert {one.name for one in tmp_path.iterdir()} == {"pipeline.yaml", "workflow.yaml"}


def test_standard_output_is_the_default_and_equal_each_time(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", str(source), "-p", "epochs=3"]) == 0
    first = capsys.readouterr()
    assert main(["compile", str(source), "-p", "epochs=3", "-o", "-"]) == 0
    assert capsys.readouterr() == first
    assert first.out.startswith("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata:\n")
    assert first.err == ""


def test_container_mode_and_parity_are_chosen_by_flags(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "workflow.yaml"
    arguments = ["compile", str(source), "-p", "epochs=3", "--mode", "container", "--parity"]
    assert main([*arguments, "-o", str(output)]) == 0
    assert templates(read(output))["system-dag-driver"]["container"]["name"] == ""


def test_run_id_makes_the_workflow_submittable(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "workflow.yaml"
    arguments = ["compile", str(source), "-p", "epochs=3", "--run-id", "run-1", "--namespace", "team-a"]
    assert main([*arguments, "--display-name", "My run", "-o", str(output)]) == 0
    workflow = read(output)
    assert workflow["metadata"]["labels"] == {"pipeline/runid": "run-1"}
    assert workflow["metadata"]["namespace"] == "team-a"
    assert workflow["metadata"]["annotations"]["pipelines.kubeflow.org/run_name"] == "My run"
    assert "{{workflow.uid}}" not in output.read_text()


def test_namespace_alone_is_only_that(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "workflow.yaml"
    assert main(["compile", str(source), "-p", "epochs=3", "--namespace", "team-a", "-o", str(output)]) == 0
    assert read(output)["metadata"]["namespace"] == "team-a"
    assert "labels" not in read(output)["metadata"]


def test_environment_counts_only_when_asked_for(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy")
    output = tmp_path / "workflow.yaml"
    arguments = ["compile", str(source), "-p", "epochs=3", "-o", str(output)]
    assert main(arguments) == 0
    assert "http://proxy" not in output.read_text()
    assert main([*arguments, "--options-from-environment"]) == 0
    assert "http://proxy" in output.read_text()


def test_unknown_fields_are_warnings(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text(source.read_text() + "futureSection: {}\n")
    assert main(["compile", str(source), "-p", "epochs=3"]) == 0
    assert capsys.readouterr().err == ("warning: pipeline spec: unknown field futureSection is ignored\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "missing required parameter: epochs (NUMBER_INTEGER)"),
        (
            ["-p", "epochs=x"],
            'parameter "epochs": expected an integer such as 3 (NUMBER_INTEGER), got "x"',
        ),
        (["-p", "epoch=1"], 'unknown parameter "epoch"; the pipeline\'s parameters: epochs, note'),
    ],
)
def test_failure_is_one_line_and_keeps_the_old_file(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    output = tmp_path / "workflow.yaml"
    output.write_text("old")
    assert main(["compile", str(source), *arguments, "-o", str(output)]) == 2
    assert capsys.readouterr().err == f"kfp-driver compile: {message}\n"
    assert output.read_text() == "old"


@pytest.mark.parametrize("option", ["--param", "--display-name", "--pipeline-root", "--run-id"])
def test_argument_that_is_no_text_is_one_line(
    source: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert main(["compile", str(source), option, "note=\udcff"]) == 2
    assert capsys.readouterr().err == f"kfp-driver compile: {option}: not UTF-8 text\n"


def test_error_names_pipeline_task_and_what_to_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        yaml.safe_dump(document({"get-data": task("comp-import", **when("true"))}, name="training"))
    )
    assert main(["compile", str(path)]) == 2
    assert capsys.readouterr().err == (
        'kfp-driver compile: pipeline "training": compiling DAG "root": compiling task "get-data": '
        "triggerPolicy.condition on importer task is not supported; import outside of the condition\n"
    )


def test_plugin_is_declared_where_a_profile_says_how(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile, output = tmp_path / "profile.yaml", tmp_path / "workflow.yaml"
    profile.write_text("image: registry/driver:7\n")
    arguments = ["compile", str(source), "-p", "epochs=3", "-o", str(output)]
    assert main([*arguments, "--profile", str(profile)]) == 0
    (plugin,) = read(output)["spec"]["executorPlugins"]
    assert plugin["spec"]["sidecar"]["container"]["image"] == "registry/driver:7"
    assert main([*arguments, "--delivery", "inline"]) == 0
    assert "executorPlugins" in read(output)["spec"]
    assert main([*arguments, "--mode", "container", "--delivery", "inline"]) == 2
    assert "--mode container has no plugin to deliver" in capsys.readouterr().err
    profile.write_text("imagee: x")
    assert main([*arguments, "--profile", str(profile)]) == 2
    assert capsys.readouterr().err == f"kfp-driver compile: {profile}: unknown key imagee\n"


def test_missing_pipeline_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nowhere.yaml"
    assert main(["compile", str(path)]) == 2
    assert capsys.readouterr().err == f"kfp-driver compile: {path}: no such file\n"


@pytest.mark.parametrize("target", ["missing/workflow.yaml", "."], ids=["no folder", "a folder"])
def test_output_that_cannot_be_written_is_one_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    output = tmp_path / target
    assert main(["compile", str(source), "-p", "epochs=3", "-o", str(output)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"kfp-driver compile: {output}: cannot be written: ")
    assert error.count("\n") == 1
    assert [one.name for one in tmp_path.iterdir()] == ["pipeline.yaml"]


def test_device_is_written_to_and_stays_a_device(source: Path) -> None:
    assert main(["compile", str(source), "-p", "epochs=3", "-o", os.devnull]) == 0
    assert not Path(os.devnull).is_file()


def test_link_is_followed_and_stays_a_link(source: Path, tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_text("old")
    link.symlink_to(real)
    assert main(["compile", str(source), "-p", "epochs=3", "-o", str(link)]) == 0
    assert link.is_symlink()
    assert read(real)["kind"] == "Workflow"


def test_help_teaches_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["compile", "--help"])
    assert done.value.code == 0
    assert "kfp-driver compile training.yaml -p epochs=3" in capsys.readouterr().out
