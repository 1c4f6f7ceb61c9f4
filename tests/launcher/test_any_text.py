"""Whatever users write: placeholders in any text, outputs of any content, any URI.

Oracles: substitution character by character for placeholders (spec LAUNCHER A5); what was written for outputs
(A8); the path itself, and what a URI is put together from (A6, A19).
"""

import json
import math
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kfp_api.ir.executor_input import ExecutorInput, ExecutorOutput
from kfp_api.ir.pipeline import ParameterType
from launcher.errors import LauncherError
from launcher.outputs import collect_artifacts, read_executor_output, text_to_parameter
from launcher.paths import local_path, workspace_path
from launcher.placeholders import expand
from launcher.stores.uris import parse_object_uri
from resolver.values import go_json

NAMES = ["a", "b", "c-d"]
pieces = st.sampled_from(
    [f"{{{{$.inputs.parameters['{name}']}}}}" for name in [*NAMES, "unknown"]]
    + ["{{$", "}}", "{{$.outputs.parameters['o'].output_file}}", "'", '"', "\n", "{{$.inputs.parameters['a']"]
)
texts = st.lists(pieces | st.text(max_size=4), max_size=6).map("".join)
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | numbers | st.text(max_size=5),
    lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(st.text(max_size=3), deeper, max_size=3),
    max_leaves=8,
)


def substituted(text: str, values: dict[str, str]) -> str:
    result, at = "", 0
    while at < len(text):
        found = next((key for key in values if text.startswith(key, at)), "")
        result += values[found] if found else text[at]
        at += len(found) or 1
    return result


@given(values=st.dictionaries(st.sampled_from(NAMES), texts), command=st.lists(texts, max_size=3))
def test_placeholders_are_replaced_once_wherever_they_stand(
    values: dict[str, str], command: list[str]
) -> None:
    output = {"{{$.outputs.parameters['o'].output_file}}": "/o"}
    outputs = {"parameters": {"o": {"outputFile": "/o"}}}
    document = ExecutorInput.parse({"inputs": {"parameterValues": values}, "outputs": outputs})
    keys = {f"{{{{$.inputs.parameters['{name}']}}}}": value for name, value in values.items()}
    inserted = {key: substituted(value, keys | output) for key, value in keys.items()} | output
    *rest, whole = expand([*command, "{{$}}"], document, workspace="/w")
    assert rest == [substituted(text, inserted) for text in command]
    found = json.loads(whole).get("inputs", {}).get("parameterValues", {})
    assert found == {name: substituted(value, keys | output) for name, value in values.items()}


@given(value=json_values)
def test_any_value_arrives_in_user_code_as_it_is(value: Any) -> None:
    document = ExecutorInput.parse({"inputs": {"parameterValues": {"a": value}}, "outputs": {}})
    (whole,) = expand(["{{$}}"], document, workspace="/w")
    found = json.loads(whole).get("inputs", {}).get("parameterValues", {"a": value})["a"]
    assert go_json(found) == go_json(value)


@given(value=json_values)
def test_any_value_that_is_written_as_json_is_read_back(value: Any) -> None:
    text = f" {json.dumps(value)}\n"
    for kind, declared in {"list": ParameterType.LIST, "dict": ParameterType.STRUCT}.items():
        if type(value).__name__ == kind:
            assert go_json(text_to_parameter(text, declared)) == go_json(value)
        else:
            with pytest.raises(ValueError, match=r"the text is not a JSON"):
                text_to_parameter(text, declared)


@given(integer=st.integers(-(2**63), 2**63 - 1), double=numbers, flag=st.booleans(), text=st.text())
def test_scalars_are_read_back(*, integer: int, double: float, flag: bool, text: str) -> None:
    assert text_to_parameter(f"{integer}\n", ParameterType.NUMBER_INTEGER) == integer
    assert text_to_parameter(f"\t{double}", ParameterType.NUMBER_DOUBLE) == double
    assert text_to_parameter(str(flag), ParameterType.BOOLEAN) is flag
    assert text_to_parameter(text, ParameterType.STRING) == text


@given(text=st.text(), declared=st.sampled_from(list(ParameterType)))
def test_any_text_is_a_value_or_refused(text: str, declared: ParameterType) -> None:
    try:
        value = text_to_parameter(text, declared)
    except ValueError:
        return
    json.dumps(value, allow_nan=False)


@given(text=st.text() | json_values.map(lambda value: json.dumps({"parameterValues": {"a": value}})))
def test_any_executor_output_is_read_or_refused(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "output_metadata.json"
    file.write_text(text, encoding="utf-8")
    try:
        output = read_executor_output(str(file))
    except LauncherError:
        return
    json.dumps(output.parameter_values, allow_nan=False)


@given(
    metadata=st.dictionaries(
        st.text(min_size=1, max_size=4), st.integers() | st.just(10**400) | st.floats(), max_size=3
    )
)
def test_any_number_is_a_metric_or_a_warning(metadata: dict[str, Any]) -> None:
    provisioned = {"name": "m", "uri": "s3://b/m", "type": {"schemaTitle": "system.Metrics"}}
    executor_input = ExecutorInput.parse({"outputs": {"artifacts": {"m": {"artifacts": [provisioned]}}}})
    reported = {"artifacts": {"m": {"artifacts": [{"name": "m", "metadata": metadata}]}}}
    found, warnings = collect_artifacts(
        executor_input, ExecutorOutput.parse(reported), namespace="ns", workspace="/w"
    )
    assert len(found) + len(warnings) == len(metadata)
    assert all(math.isfinite(one.artifact.number_value or 0) for one in found)


MOUNTS = {"s3://": "/s3", "gs://": "/gcs", "minio://": "/minio", "oci://": "/oci", "/": "/"}
segments = st.text(
    st.characters(exclude_characters="/?#&", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=5
)


@given(
    provider=st.sampled_from(["s3", "gs", "minio"]),
    key=st.lists(segments, min_size=1, max_size=4).map("/".join),
    query=st.sampled_from(["", "?endpoint=x/y?z"]),
)
def test_any_key_survives_its_uri(provider: str, key: str, query: str) -> None:
    place = parse_object_uri(f"{provider}://bucket/{quote(key)}{query}")
    assert (place.provider, place.bucket, place.key) == (provider, "bucket", key)


@given(
    scheme=st.sampled_from(list(MOUNTS)),
    rest=st.lists(segments | st.sampled_from(["..", ".", ""]), min_size=1, max_size=5).map("/".join),
)
def test_no_uri_leaves_its_mount(scheme: str, rest: str) -> None:
    """The kernel resolves a path lexically where nothing is a link."""
    uri = scheme + rest
    if ".." in rest.split("/") and scheme != "oci://":
        with pytest.raises(LauncherError, match="leaves its directory"):
            local_path(uri)
        with pytest.raises(LauncherError, match="leaves its directory"):
            workspace_path(uri, "/w")
        return
    assume(rest != "..")
    assert local_path(uri).startswith(MOUNTS[scheme])
    assert ".." not in PurePosixPath(local_path(uri)).parts
    if scheme != "oci://":
        assert PurePosixPath(workspace_path(uri, "/w")).is_relative_to("/w/.artifacts")


def test_output_larger_than_a_row_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "output_metadata.json"
    with file.open("wb") as sparse:
        sparse.truncate(64 * 2**20 + 1)
    with pytest.raises(LauncherError, match="larger than 64 MiB, make it an artifact"):
        read_executor_output(str(file))


def test_output_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="it is no regular file"):
        read_executor_output(str(tmp_path))
