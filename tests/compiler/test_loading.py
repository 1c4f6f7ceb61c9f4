"""Pipeline files of every kind, sound and broken.

Oracle: spec COMPILER 2.1 for what is accepted; for broken files the promise of one line that names the
file and the fault.
"""

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from compiler import loading
from compiler.errors import PipelineFileError
from compiler.loading import load_pipeline, unknown_field_warnings
from tests.compiler.pipelines import Json, document, task

SPEC = document({"a": task()})
PLATFORM: Json = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-work": {}}}}}}
TEXT = yaml.safe_dump(SPEC)


def as_zip(entries: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in entries.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def as_tar(entries: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


SOUND: dict[str, bytes] = {
    "one.yaml": TEXT.encode(),
    "one.yml": TEXT.encode(),
    "UPPER.YAML": TEXT.encode(),
    "byte-order-mark.yaml": b"\xef\xbb\xbf" + TEXT.encode(),
    "empty-documents.yaml": f"---\n---\n{TEXT}\n---\n".encode(),
    "one.json": json.dumps(SPEC).encode(),
    "wrapped.json": json.dumps({"pipeline_spec": SPEC}).encode(),
    "named.zip": as_zip({"readme.txt": "x", "pipeline.yaml": TEXT}),
    "first.zip": as_zip({"training.yaml": TEXT, "readme.txt": "x"}),
    "named.tar.gz": as_tar({"readme.txt": "x", "pipeline.yaml": TEXT}),
    "first.tar.gz": as_tar({"training.yaml": TEXT}),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_file_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(SOUND[name])
    loaded = load_pipeline(tmp_path / name)
    assert loaded.spec_document == SPEC
    assert loaded.platform_document is None


@pytest.mark.parametrize("order", [[SPEC, PLATFORM], [PLATFORM, SPEC]], ids=["spec first", "platform first"])
def test_platform_spec_is_found_in_any_order(tmp_path: Path, order: list[Json]) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump_all(order))
    loaded = load_pipeline(path)
    assert loaded.spec_document == SPEC
    assert loaded.kubernetes_executors == {"exec-work": {}}


def test_snake_case_documents_are_pipelines_too(tmp_path: Path) -> None:
    path = tmp_path / "snake.yaml"
    spec = {"pipeline_info" if key == "pipelineInfo" else key: value for key, value in SPEC.items()}
    path.write_text(yaml.safe_dump(spec))
    assert load_pipeline(path).spec.pipeline_info.name == "demo"


def test_dates_stay_text_and_keys_become_text(tmp_path: Path) -> None:
    path = tmp_path / "dates.yaml"
    path.write_text(TEXT + "extra: {when: 2026-01-02, 7: one, true: yes}\n")
    assert load_pipeline(path).spec_document["extra"] == {"when": "2026-01-02", "7": "one", "true": True}


def test_unknown_fields_are_named(tmp_path: Path) -> None:
    path = tmp_path / "newer.yaml"
    spec = document({"a": task(futureField=1)})
    path.write_text(yaml.safe_dump({**spec, "futureSection": {}}, sort_keys=False))
    assert unknown_field_warnings(load_pipeline(path)) == [
        "pipeline spec: unknown field root.dag.tasks.a.futureField is ignored",
        "pipeline spec: unknown field futureSection is ignored",
    ]


def test_unknown_kubernetes_fields_are_named(tmp_path: Path) -> None:
    path = tmp_path / "newer.yaml"
    config = {"podMetadata": {"labels": {"a": "b"}, "finalizers": []}}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-work": config}}}}}
    path.write_text(yaml.safe_dump_all([SPEC, platform]))
    assert unknown_field_warnings(load_pipeline(path)) == [
        'platform spec: executor "exec-work": unknown field podMetadata.finalizers is ignored'
    ]


def bomb(levels: int) -> str:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, levels)]
    return TEXT + "\n".join(lines)


def merge_bomb(levels: int) -> str:
    lines = ["m0: &m0 {a: 1, b: 2}"]
    lines += [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}" for n in range(1, levels)]
    return TEXT + "\n".join(lines)


def without(field: str) -> Json:
    return {key: value for key, value in SPEC.items() if key != field}


def dump(*documents: Any) -> str:
    return yaml.safe_dump_all(documents)


BROKEN: dict[str, tuple[str, bytes | str, str]] = {
    "empty": ("x.yaml", "", "the file is empty"),
    "blank": ("x.yaml", " \n\n", "the file is empty"),
    "only separators": ("x.yaml", "---\n---\n", "the file is empty"),
    "empty zip": ("x.zip", "", "the file is empty"),
    "not UTF-8": ("x.yaml", b"a: \xff\n", "not UTF-8 text (byte 0xff at offset 3)"),
    "not YAML": ("x.yaml", "a: [1\nb: 2\n", "not valid YAML: line 2, column 2: "),
    "control character": ("x.yaml", "a: \x01\n", "not valid YAML: "),
    "custom tag": ("x.yaml", "a: !!python/object:os.system x\n", "not valid YAML: line 1, column 4: "),
    "not a number": ("x.yaml", TEXT + "extra: .nan\n", "not valid YAML: extra is nan"),
    "binary": ("x.yaml", TEXT + "extra: !!binary aGk=\n", "not valid YAML: extra is a YAML bytes"),
    "list key": ("x.yaml", TEXT + "extra: {[1]: 2}\n", "not valid YAML: "),
    "not JSON": ("x.json", "{'a': 1}", "not valid JSON: line 1, column 2: "),
    "not JSON's numbers": ("x.json", '{"a": NaN}', "not valid JSON: a is nan, which JSON cannot hold"),
    "lone surrogate": ("x.json", '{"a": "\\ud800"}', "not valid JSON: a is not valid Unicode text"),
    "deep JSON": ("x.json", "[" * 100_000, "not valid JSON: nested too deeply"),
    "deep YAML": ("x.yaml", "[" * 100_000, "not valid YAML: nested deeper than 200 levels"),
    "alias bomb": ("x.yaml", bomb(9), "not valid YAML: more than 1000000 values after expanding its aliases"),
    "merge bomb": ("x.yaml", merge_bomb(9), "not valid YAML: more than 1000000 values"),
    "recursive alias": (
        "x.yaml",
        "a: &a [*a]\n",
        "not valid YAML: line 1, column 8: alias *a refers",
    ),
    "not a zip": ("x.zip", "nonsense", "not a readable archive: "),
    "not a tar": ("x.tar.gz", "nonsense", "not a readable archive: "),
    "gzip of no tar": ("x.tar.gz", gzip.compress(b"nonsense"), "not a readable archive: "),
    "cut gzip": ("x.tar.gz", as_tar({"pipeline.yaml": TEXT})[:60], "not a readable archive: "),
    "zip without YAML": ("x.zip", as_zip({"a.txt": "x"}), "the archive has no pipeline.yaml"),
    "zip of nothing": ("x.zip", as_zip({}), "the archive is empty"),
    "text": ("x.yaml", "hello", "not a KFP v2 pipeline: expected an object"),
    "list": ("x.json", "[]", "not a KFP v2 pipeline: expected an object"),
    "workflow": ("x.yaml", "kind: Workflow\nspec: {}\n", "not a KFP v2 pipeline: it is an Argo Workflow"),
    "v1 component": ("x.yaml", "implementation: {}\n", "not a KFP v2 pipeline: it is a component of KFP v1"),
    "platform only": ("x.yaml", dump(PLATFORM), "not a KFP v2 pipeline: it holds a platform spec only"),
    "no root": ("x.yaml", dump(without("root")), "not a KFP v2 pipeline: root is missing"),
    "no info": ("x.yaml", dump(without("pipelineInfo")), "not a KFP v2 pipeline: pipelineInfo is missing"),
    "no name": (
        "x.yaml",
        dump({**SPEC, "pipelineInfo": {}}),
        "not a KFP v2 pipeline: pipelineInfo.name is missing",
    ),
    "wrapped, no name": (
        "x.json",
        json.dumps({"pipelineSpec": without("pipelineInfo")}),
        "not a KFP v2 pipeline: pipelineInfo.name is missing",
    ),
    "nothing known": ("x.yaml", "a: 1\n", "not a KFP v2 pipeline: pipelineInfo and root are missing"),
    "two pipelines": ("x.yaml", dump(SPEC, SPEC), "holds more than one pipeline spec"),
    "two platforms": ("x.yaml", dump(SPEC, PLATFORM, PLATFORM), "holds more than one platform spec"),
    "third thing": ("x.yaml", dump(SPEC, {"a": 1}), "document 2 is neither a pipeline spec nor a platform"),
    "wrong type": ("x.yaml", dump({**SPEC, "components": []}), "pipeline spec: components: "),
    "dotted task": (
        "x.yaml",
        dump(document({"a.b": task()})),
        'pipeline spec: component "root": task name "a.b"',
    ),
    "program": ("x.py", "print()", "a Python program, not a compiled pipeline: kfp dsl compile"),
    "other suffix": ("x.txt", "words", "unknown kind of file: expected .yaml, .yml, .json, .zip or .tar.gz"),
}


@pytest.mark.parametrize(("name", "content", "fault"), BROKEN.values(), ids=BROKEN)
def test_broken_file_is_one_line_with_name_and_fault(
    tmp_path: Path, name: str, content: bytes | str, fault: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PipelineFileError) as refused:
        load_pipeline(path)
    assert str(refused.value).startswith(f"{path}: {fault}")
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("name", ["x.yaml", "x.json", "x.zip", "x.tar.gz", "x"])
def test_missing_file_and_directory_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(PipelineFileError, match=r"x.*: no such file$"):
        load_pipeline(path)
    path.mkdir()
    with pytest.raises(PipelineFileError, match=r"x.*: is a directory, not a pipeline file$"):
        load_pipeline(path)


def test_file_that_the_system_will_not_open_is_named(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 300}.yaml"
    with pytest.raises(PipelineFileError, match=r"x\.yaml: cannot be read: File name too long$"):
        load_pipeline(path)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("x.yaml", str.encode),
        ("x.zip", lambda text: as_zip({"pipeline.yaml": text})),
        ("x.tar.gz", lambda text: as_tar({"pipeline.yaml": text})),
    ],
)
def test_oversize_file_is_refused_also_when_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, pack: Callable[[str], bytes]
) -> None:
    monkeypatch.setattr(loading, "MAX_BYTES", 1024**2)
    path = tmp_path / name
    path.write_bytes(pack(TEXT + "#" * 2 * 1024**2))
    with pytest.raises(PipelineFileError, match=r"larger than 1 MiB$"):
        load_pipeline(path)


def test_shared_aliases_of_ordinary_size_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "aliases.yaml"
    path.write_text(TEXT + "shared: &s {a: [1]}\nagain: [*s, *s]\n")
    assert load_pipeline(path).spec_document["again"] == [{"a": [1]}, {"a": [1]}]
