"""``kfp-driver rewrite`` through its front door.

Oracle: the exit codes and promises of spec COMPILER 12; kubectl as the reader of what is written.
"""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from compiler.rewriter.rewrite import RewriteOptions, rewrite
from compiler.yaml_text import read_documents, write_document
from driver_plugin.cli import main
from tests.compiler.json_patch import patched
from tests.compiler.pipelines import Json, document, task, templates
from tests.compiler.rewriter.workflows import driver_arguments, driver_pods

CONFIG_MAP: Json = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1e3"}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "workflow.yaml"
    path.write_text("---\n".join(map(write_document, (CONFIG_MAP, driver_pods(), [1, 2]))))
    return path


def expected() -> list[object]:
    return [CONFIG_MAP, rewrite(driver_pods(), RewriteOptions()).obj, [1, 2]]


def refusing(path: Path) -> Path:
    workflow = driver_pods()
    driver_arguments(workflow).extend(["--dag_execution_id", "1"])
    path.write_text(write_document(workflow))
    return path


def test_documents_keep_their_order_and_foreign_ones_pass(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rewrite", str(source)]) == 0
    output = capsys.readouterr()
    assert list(yaml.safe_load_all(output.out)) == expected()
    assert output.err == ""


def test_standard_input_is_the_default(
    source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["rewrite", str(source)]) == 0
    from_file = capsys.readouterr().out
    for arguments in (["rewrite"], ["rewrite", "-"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
        assert main(arguments) == 0
        assert capsys.readouterr().out == from_file


def test_output_goes_to_a_file(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.yaml"
    assert main(["rewrite", str(source), "-o", str(target)]) == 0
    assert list(yaml.safe_load_all(target.read_text())) == expected()


def test_json_goes_in_and_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "workflow.json"
    workflow = driver_pods()
    workflow["metadata"]["annotations"]["note"] = "\U0001f600 \\/ 1e3"
    source.write_text(json.dumps(workflow) + "\n" + json.dumps(CONFIG_MAP))
    assert main(["rewrite", str(source), "--format", "json"]) == 0
    decoder, text = json.JSONDecoder(), capsys.readouterr().out
    first, end = decoder.raw_decode(text)
    assert first == rewrite(workflow, RewriteOptions()).obj
    assert json.loads(text[end:]) == CONFIG_MAP
    assert main(["rewrite", str(source)]) == 0
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == [first, CONFIG_MAP]


def test_in_place_changes_only_files_that_change_and_keeps_their_kind(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("# a comment\na: 1\n")
    as_json = tmp_path / "workflow.json"
    as_json.write_text(json.dumps(driver_pods()))
    command = ["rewrite", "--in-place", str(source), str(other), str(as_json)]
    assert main(command) == 0
    assert list(yaml.safe_load_all(source.read_text())) == expected()
    assert other.read_text() == "# a comment\na: 1\n"
    assert json.loads(as_json.read_text()) == expected()[1]
    written = source.read_text()
    assert main(command) == 0
    assert source.read_text() == written


def test_in_place_keeps_the_permissions_of_a_file(source: Path) -> None:
    source.chmod(0o640)
    assert main(["rewrite", "--in-place", str(source)]) == 0
    assert source.stat().st_mode & 0o777 == 0o640


def test_check_says_what_would_change_and_writes_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = source.read_text()
    assert main(["rewrite", "--check", str(source)]) == 3
    assert capsys.readouterr() == ("", f"would change: {source}\n")
    assert source.read_text() == before
    done = tmp_path / "done.yaml"
    assert main(["rewrite", str(source), "-o", str(done)]) == 0
    assert main(["rewrite", "--check", str(done)]) == 0


def test_patch_has_one_line_for_each_document(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rewrite", "--patch", str(source)]) == 0
    patches = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [bool(one) for one in patches] == [False, True, False]
    assert patched(driver_pods(), patches[1]) == expected()[1]


def test_profile_implies_inline_delivery_and_none_takes_it_back(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "profile.yaml"
    profile.write_text("image: registry/driver:7\n")
    assert main(["rewrite", str(source), "--profile", str(profile)]) == 0
    assert "image: registry/driver:7" in capsys.readouterr().out
    assert main(["rewrite", str(source), "--delivery", "inline"]) == 0
    assert "executorPlugins" in capsys.readouterr().out
    assert main(["rewrite", str(source), "--profile", str(profile), "--delivery", "none"]) == 0
    assert "executorPlugins" not in capsys.readouterr().out


def test_rewriting_compiled_pods_gives_the_compiled_calls_with_timeout_and_retries(tmp_path: Path) -> None:
    pipeline, profile = tmp_path / "pipeline.yaml", tmp_path / "profile.yaml"
    pipeline.write_text(yaml.safe_dump(document({"a": task()})))
    profile.write_text("driverTimeout: 10m\ndriverRetry: 3\n")
    pods, calls, rewritten = (tmp_path / f"{name}.yaml" for name in ("pods", "calls", "rewritten"))
    assert main(["compile", str(pipeline), "--mode", "container", "-o", str(pods)]) == 0
    assert main(["compile", str(pipeline), "--profile", str(profile), "-o", str(calls)]) == 0
    assert main(["rewrite", str(pods), "--profile", str(profile), "-o", str(rewritten)]) == 0
    assert yaml.safe_load(rewritten.read_text()) == yaml.safe_load(calls.read_text())
    driver = templates(yaml.safe_load(calls.read_text()))["system-dag-driver"]
    assert (driver["timeout"], driver["retryStrategy"]["limit"]) == ("10m", "3")
    assert main(["rewrite", "--check", str(calls), "--profile", str(profile)]) == 0


def test_refusal_has_its_own_exit_code_and_nothing_is_written(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = refusing(tmp_path / "mlmd.yaml")
    before = source.read_text()
    target = tmp_path / "out.yaml"
    for target_options in (["-o", str(target)], ["--in-place"], ["--check"], []):
        assert main(["rewrite", str(source), str(refused), *target_options]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith(
            f'kfp-driver rewrite: {refused}: MLMD: template "system-container-driver"'
        )
        assert output.err.count("\n") == 1
    assert source.read_text() == before
    assert not target.exists()


def test_warnings_name_file_and_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workflow = driver_pods()
    driver_arguments(workflow).extend(["--future", "1"])
    workflow["spec"]["templates"][0]["nodeSelector"] = {"a": "b"}
    path = tmp_path / "w.yaml"
    path.write_text(write_document(workflow))
    assert main(["rewrite", "--lenient", str(path), "-o", str(tmp_path / "out.yaml")]) == 0
    assert capsys.readouterr().err == (
        f'warning: {path}: system-container-driver: field "nodeSelector" of the driver pod is dropped\n'
    )


HOSTILE = {
    "not UTF-8": (b"a: \xff", "not UTF-8 text (byte 0xff at offset 3)"),
    "deep YAML": (b"[" * 100_000, "not valid YAML or JSON: nested deeper than 200 levels"),
    "deep JSON": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "nested deeper than 200 levels"),
    "JSON deeper than YAML may be": (b"[" * 300 + b"]" * 300, "nested deeper than 200 levels"),
    "aliases": (
        b"a: &a [1,1,1,1,1,1,1,1,1]\n"
        + b"".join(b"%c: &%c [%s]\n" % (i + 1, i + 1, b",".join([b"*%c" % i] * 9)) for i in range(97, 106)),
        "more than 1000000 values after expanding its aliases",
    ),
    "recursive alias": (b"a: &a [*a]", "alias *a refers to itself or to nothing"),
    "no YAML": (b"a: b: c", "not valid YAML or JSON: line 1"),
    "a Python object": (b"!!python/object/apply:os.system [id]", "could not determine a constructor"),
    "infinite number": (b'{"a": Infinity}', "a is inf, which JSON cannot hold"),
}


@pytest.mark.parametrize(("data", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_file_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, message: str
) -> None:
    path = tmp_path / "hostile.yaml"
    path.write_bytes(data)
    assert main(["rewrite", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"kfp-driver rewrite: {path}: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.yaml"], "absent.yaml: cannot be read: No such file or directory"),
        (["."], ".: cannot be read: Is a directory"),
        (["--in-place"], "--in-place needs files"),
        (["--profile", "absent.yaml"], "absent.yaml: cannot be read: No such file or directory"),
    ],
    ids=str,
)
def test_wrong_usage_is_exit_code_1(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["rewrite", *arguments]) == 1
    assert capsys.readouterr().err == f"kfp-driver rewrite: {message}\n"


@pytest.mark.parametrize(
    "arguments", [["--nonsense"], ["--check", "--patch"], ["--delivery", "both"]], ids=str
)
def test_wrong_options_are_exit_code_1_too(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rewrite", *arguments])
    assert ended.value.code == 1


def test_output_that_cannot_be_written_is_exit_code_1_and_leaves_the_others(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "missing" / "out.yaml"
    assert main(["rewrite", str(source), "-o", str(target)]) == 1
    assert f"{target}: cannot be written: No such file" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["workflow.yaml"]


TRICKY = [
    "y", "n", "yes", "No", "on", "OFF", "true", "null", "~", "1e3", "1E+2", ".5", "5.", "0o17", "010", "089",
    "0x1f", "0b11", "1_000", "12:30", "12:30:45", "2001-01-01", "=", "<<", "-1", "+1", "1.5e3", "1e", "-",
    ".", "...",
]  # fmt: skip


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_texts_that_look_like_something_else_reach_kubernetes_as_texts(tmp_path: Path) -> None:
    document = {**CONFIG_MAP, "data": {f"k{number}": text for number, text in enumerate(TRICKY)}}
    path = tmp_path / "config.yaml"
    path.write_text(write_document(document))
    command = ["kubectl", "patch", "--local", "-f", str(path), "--type=merge", "-p", "{}", "-o", "json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(answer.stdout)["data"] == document["data"]
    assert read_documents(path.read_text()) == [document]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_unquoted_scalars_are_read_as_kubernetes_reads_them(tmp_path: Path) -> None:
    plain = [text for text in TRICKY if text not in {"<<", "-", "~"}]
    lines = "".join(f"  k{number}: {text}\n" for number, text in enumerate(plain))
    path = tmp_path / "config.yaml"
    path.write_text(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n{lines}")
    command = ["kubectl", "patch", "--local", "-f", str(path), "--type=merge", "-p", "{}", "-o", "json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    kubernetes = json.loads(answer.stdout)["data"]
    (document,) = read_documents(path.read_text(), kubernetes=True)
    ours = {key: value for key, value in document["data"].items() if value is not None}
    assert {
        key: (type(ours[key]) is bool, ours[key]) for key in kubernetes if kubernetes[key] is not None
    } == {key: (type(value) is bool, value) for key, value in kubernetes.items() if value is not None}
