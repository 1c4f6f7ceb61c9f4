"""User values on their way through Argo.

Oracle: Argo's substitution as spec COMPILER 10.2 describes it, simulated in ``substitution``. The hardened
encoding must deliver every value exactly; the tests of the plain one document what upstream loses.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from compiler.options import CompilerOptions
from compiler.workflow import compile_workflow
from tests.compiler.pipelines import Json, arguments, dag_tasks, pipeline, task, templates
from tests.compiler.substitution import GLOBALS as ARGO_GLOBALS
from tests.compiler.substitution import Evaluated, executed, go_quoted, replaced

HARMLESS: dict[str, JsonValue] = {
    "quotes": 'say "hi" and \\n',
    "newlines": "a\nb\r\n\tc",
    "html": "<a href='x'>&amp;</a>",
    "emoji": "\N{SNOWMAN} \U0001f600",
    "nested JSON": '{"a": {"b": "[1, \\"x\\"]"}}',
    "control characters": "a\x07\x0b\x1b\x00b",
    "separators": "\u2028\u2029",
    "numbers": [0, -1, 3.5, 1e-9, 1e22, True, None],
}
HARMFUL: dict[str, JsonValue] = {
    "DEL": "a\x7fb",
    "tag character": "a\U000e0001b",
    "global": "{{workflow.name}}",
    "expression": "{{=1+1}}",
    "key": {"{{workflow.name}}": 1},
}
OPEN = {"unclosed": "a {{ b", "three": "{{{", "template": "{{$.inputs.parameters['x']}}"}


def delivered(value: JsonValue, *, parity: bool) -> JsonValue:
    """The parameter's value as the root driver reads it from its arguments."""
    workflow = compile_workflow(
        pipeline({"a": task()}, inputs={"q": {"parameterType": "STRING"}}),
        parameters={"q": value},
        options=CompilerOptions(parity=parity),
    )
    value_read: JsonValue = called_root_driver(workflow)["parameterValues"]["q"]
    return value_read


def called_root_driver(workflow: Json) -> Json:
    call = replaced(dag_tasks(workflow, "entrypoint")["root-driver"], ARGO_GLOBALS)
    template = executed(templates(workflow)["system-dag-driver"], arguments(call))
    config: Json = json.loads(template["plugin"]["driver-plugin"]["args"]["runtime_config"])
    return config


@pytest.mark.parametrize(
    "value", (HARMLESS | HARMFUL | OPEN).values(), ids=(HARMLESS | HARMFUL | OPEN).keys()
)
def test_hardened_value_arrives_exactly(value: JsonValue) -> None:
    assert delivered(value, parity=False) == value


@given(st.text())
def test_any_hardened_text_arrives_exactly(text: str) -> None:
    assert delivered(text, parity=False) == text


@pytest.mark.parametrize("value", HARMLESS.values(), ids=HARMLESS.keys())
def test_plain_value_arrives_where_argo_sees_nothing_in_it(value: JsonValue) -> None:
    assert delivered(value, parity=True) == value


@pytest.mark.parametrize("value", HARMFUL.values(), ids=HARMFUL.keys())
def test_plain_value_is_lost_where_argo_sees_something_in_it(value: JsonValue) -> None:
    try:
        arrived = delivered(value, parity=True)
    except (Evaluated, ValueError):
        return
    assert arrived != value


def test_importer_and_kubernetes_arguments_are_hardened_too() -> None:
    importer = {"artifactUri": {"constant": "s3://b/{{workflow.name}}"}, "metadata": {"a": "\x7f"}}
    workflow = compile_workflow(
        pipeline(
            {"a": task(), "b": task("comp-import")},
            executors={"exec-import": {"importer": importer}},
            kubernetes={"exec-work": {"note": "{{=x}}"}},
        ),
        parameters={},
        options=CompilerOptions(),
    )
    texts = {one["name"]: one["value"] for one in workflow["spec"]["arguments"]["parameters"]}
    assert list(texts) == ["kubernetes-comp-work", "implementations-comp-import"]
    assert texts["kubernetes-comp-work"] == '{"note":"\\u007b\\u007b=x}}"}'
    assert json.loads(texts["implementations-comp-import"]) == importer
    assert "\x7f" not in texts["implementations-comp-import"]


def test_identity_of_the_run_is_substituted() -> None:
    workflow = compile_workflow(pipeline({"a": task()}), parameters={}, options=CompilerOptions())
    template = executed(
        templates(workflow)["system-container-driver"], {"task-name": "a", "parent-dag-task-id": "p-1"}
    )
    passed = template["plugin"]["driver-plugin"]["args"]
    expected = {
        "run_name": "demo-x7",
        "namespace": "team-a",
        "task_name": "a",
        "parent_task_id": "p-1",
        "iteration_index": "-1",
        "kubernetes_config": "",
    }
    assert {name: passed[name] for name in expected} == expected


def test_simulated_quoting_is_gos() -> None:
    assert go_quoted('a"\\\n\x07\x7f\u200b\U000e0001é') == 'a\\"\\\\\\n\\a\\x7f\\u200b\\U000e0001é'
