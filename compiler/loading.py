"""Pipeline files: YAML of one or several documents, JSON, zip and tar.gz archives (spec COMPILER 2.1).

Whatever is wrong with a file comes out as one line that names the file and the fault. Files are bounded in
size, also after unpacking.
"""

import gzip
import json
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final, Protocol

from compiler.errors import PipelineFileError
from compiler.yaml_text import YamlTextError, json_data, read_documents
from kfp_api.ir.base import unknown_fields
from kfp_api.ir.kubernetes import unknown_config_fields
from kfp_api.ir.load import InvalidPipelineError, Pipeline, pipeline_from_struct
from kfp_api.ir.pipeline import PipelineSpec

MAX_BYTES: Final = 32 * 1024 * 1024
"""Largest pipeline file, packed or unpacked."""

_SUFFIXES: Final = "expected .yaml, .yml, .json, .zip or .tar.gz"
_ARCHIVED_PIPELINE: Final = "pipeline.yaml"


def load_pipeline(path: Path) -> Pipeline:
    """Read a pipeline file.

    Raises:
        PipelineFileError: one line naming the file and what is wrong with it.
    """
    try:
        return _pipeline(_documents(path))
    except (_Fault, InvalidPipelineError, YamlTextError) as fault:
        raise PipelineFileError(f"{path}: {fault}") from fault
    except OSError as error:
        raise PipelineFileError(f"{path}: cannot be read: {error.strerror or error}") from error


def unknown_field_warnings(pipeline: Pipeline) -> list[str]:
    """One line for each field of the pipeline that this version does not know, and so ignores."""
    found = [
        f"pipeline spec: unknown field {field} is ignored"
        for field in unknown_fields(PipelineSpec, pipeline.spec_document)
    ]
    for label, config in pipeline.kubernetes_executors.items():
        found += [
            f'platform spec: executor "{label}": unknown field {field} is ignored'
            for field in unknown_config_fields(config)
        ]
    return found


class _Fault(Exception):  # noqa: N818 (half a message; the file's name is added above)
    """What is wrong with the file, without its name."""


def _documents(path: Path) -> list[Any]:
    if path.is_dir():
        raise _Fault("is a directory, not a pipeline file")
    name = path.name.lower()
    if name.endswith((".yaml", ".yml")):
        return _yaml_documents(_text(_read(path, _bounded)))
    if name.endswith(".json"):
        return _json_documents(_text(_read(path, _bounded)))
    if name.endswith(".zip"):
        return _yaml_documents(_text(_read(path, _from_zip)))
    if name.endswith((".tar.gz", ".tgz")):
        return _yaml_documents(_text(_read(path, _from_tar)))
    if path.suffix == ".py" and path.exists():
        raise _Fault(
            "a Python program, not a compiled pipeline: kfp dsl compile --py FILE.py --output FILE.yaml"
        )
    raise _Fault(f"unknown kind of file: {_SUFFIXES}" if path.exists() else "no such file")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _bounded(file: _Readable) -> bytes:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise _Fault(f"larger than {MAX_BYTES // 1024**2} MiB")
    return data


def _text(data: bytes) -> str:
    if not data.strip():
        raise _Fault("the file is empty")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Fault(f"not UTF-8 text (byte 0x{data[error.start]:02x} at offset {error.start})") from error


def _yaml_documents(text: str) -> list[Any]:
    try:
        return read_documents(text)
    except YamlTextError as error:
        raise _Fault(f"not valid YAML: {error}") from error


def _json_documents(text: str) -> list[Any]:
    try:
        return [json_data(json.loads(text), "")]
    except json.JSONDecodeError as error:
        raise _Fault(f"not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise _Fault("not valid JSON: nested too deeply") from error
    except ValueError as error:
        raise _Fault(f"not valid JSON: {error}") from error


def _read(path: Path, read: Callable[[IO[bytes]], bytes]) -> bytes:
    """The pipeline's bytes, from the file or from the archive that the file is."""
    try:
        if path.stat().st_size == 0:
            raise _Fault("the file is empty")
        with path.open("rb") as file:
            return read(file)
    except FileNotFoundError as error:
        raise _Fault("no such file") from error
    except (
        gzip.BadGzipFile,
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,  # an encrypted zip entry
    ) as error:
        raise _Fault(f"not a readable archive: {error}") from error


def _chosen(names: list[str]) -> str:
    if not names:
        raise _Fault("the archive is empty")
    chosen = _ARCHIVED_PIPELINE if _ARCHIVED_PIPELINE in names else names[0]
    if not chosen.lower().endswith((".yaml", ".yml")):
        raise _Fault(f"the archive has no {_ARCHIVED_PIPELINE}, and its first entry {chosen} is not YAML")
    return chosen


def _from_zip(file: IO[bytes]) -> bytes:
    with zipfile.ZipFile(file) as archive:
        name = _chosen([entry.filename for entry in archive.infolist() if not entry.is_dir()])
        with archive.open(name) as entry:
            return _bounded(entry)


def _from_tar(file: IO[bytes]) -> bytes:
    # Unpacked as a whole first: reading members one by one has no bound on what is skipped.
    with gzip.GzipFile(fileobj=file) as packed:
        unpacked = BytesIO(_bounded(packed))
    with tarfile.open(fileobj=unpacked, mode="r:") as archive:
        chosen = _chosen([member.name for member in archive if member.isfile()])
        entry = archive.extractfile(chosen)
        assert entry is not None  # a regular file has contents
        return _bounded(entry)


def _pipeline(documents: list[Any]) -> Pipeline:
    if not documents:
        raise _Fault("the file is empty")
    if len(documents) == 1 and _member(documents[0], "pipeline_spec", "pipelineSpec") is not None:
        return _checked(pipeline_from_struct(documents[0]))
    specs = [document for document in documents if _is_pipeline_spec(document)]
    platforms = [document for document in documents if _is_platform_spec(document)]
    if len(specs) > 1:
        raise _Fault("holds more than one pipeline spec")
    if len(platforms) > 1:
        raise _Fault("holds more than one platform spec")
    if not specs:
        raise _Fault(f"not a KFP v2 pipeline: {_what_it_is(documents[0])}")
    for number, document in enumerate(documents, start=1):
        if not (_is_pipeline_spec(document) or _is_platform_spec(document)):
            raise _Fault(f"document {number} is neither a pipeline spec nor a platform spec")
    if not platforms:
        return _checked(pipeline_from_struct(specs[0]))
    return _checked(
        pipeline_from_struct({"pipeline_spec": specs[0], "platform_spec": platforms[0]}),
    )


def _checked(pipeline: Pipeline) -> Pipeline:
    if not pipeline.spec.pipeline_info.name:
        raise _Fault("not a KFP v2 pipeline: pipelineInfo.name is missing")
    if pipeline.spec.root is None:
        raise _Fault("not a KFP v2 pipeline: root is missing")
    return pipeline


def _is_pipeline_spec(document: object) -> bool:
    info = _member(document, "pipelineInfo", "pipeline_info")
    return bool(_member(info, "name")) and _member(document, "root") is not None


def _is_platform_spec(document: object) -> bool:
    return _member(_member(document, "platforms"), "kubernetes") is not None


def _what_it_is(document: object) -> str:
    """Tell an author what was given instead of a pipeline."""
    if not isinstance(document, dict):
        return "expected an object with pipelineInfo and root"
    if document.get("kind") == "Workflow":
        return "it is an Argo Workflow, that is a compiled pipeline or one of KFP v1"
    if "implementation" in document:
        return "it is a component of KFP v1, not a pipeline"
    if _is_platform_spec(document):
        return "it holds a platform spec only"
    info = _member(document, "pipelineInfo", "pipeline_info")
    if info is not None and not _member(info, "name"):
        return "pipelineInfo.name is missing"
    missing = [
        name for name, value in (("pipelineInfo", info), ("root", _member(document, "root"))) if value is None
    ]
    return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"


def _member(document: object, *spellings: str) -> Any:
    """The value under the first of ``spellings`` that is there, else ``None``."""
    if isinstance(document, dict):
        for name in spellings:
            if document.get(name) is not None:
                return document[name]
    return None
