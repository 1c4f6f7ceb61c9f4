"""The encoder against simulations of what a patch passes through on its way to the user's code.

Argo's substitution quotes the text as Go's ``strconv.Quote`` does and scans it for ``{{``; the kubelet
expands ``$`` in commands and arguments (spec PODSPEC 2.5). The simulations are independent of the encoder.
"""

import asyncio
import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driver_plugin.podspec.encoding import encode_executor_input, encode_patch, redacted_patch
from driver_plugin.podspec.errors import PodSpecError
from driver_plugin.settings import Settings
from kfp_api.ir.executor_input import ExecutorInput, ExecutorInputs
from tests.driver_plugin.podspec.examples import (
    RecordedLog,
    built_patch,
    executor_input_of,
    kubelet_expand,
    main_of,
    patch_text,
)
from tests.driver_plugin.podspec.executor_pod import executor_pod, started_command

HARD = [
    "pa$$word",
    "$(NAMESPACE)",
    "{{workflow.name}}",
    "{{=1+1}}",
    "{{",
    "{{{{",
    "\\{{",
    "say \"hi\" and 'ho'",
    "back\\slash",
    "del\x7f",
    "bell\x07 vt\x0b nl\n",
    "emoji 😀 tag \U000e0001",
    "<a href='x'>&amp;</a>",
    "\u2028\u2029",
    "x" * 100 * 1024,
]
KUBELET = {"NAMESPACE": "team-a", "KFP_POD_NAME": "pod-7", "KFP_POD_UID": "uid-7"}


def go_quote(text: str) -> str:
    """The inside of Go's ``strconv.Quote``."""
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
    short |= {"\a": "\\a", "\v": "\\v"}
    quoted = []
    for character in text:
        if character in short:
            quoted.append(short[character])
        elif character.isprintable():
            quoted.append(character)
        elif ord(character) < 0x80:
            quoted.append(f"\\x{ord(character):02x}")
        else:
            quoted.append(
                f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
            )
    return "".join(quoted)


def through_argo(text: str) -> str:
    """Substitute the patch into the template's JSON, scan the result for tags, read it back."""
    template = '{"podSpecPatch":"' + go_quote(text) + '"}'
    assert "{{" not in template
    patch: str = json.loads(template)["podSpecPatch"]
    return patch


@pytest.mark.parametrize("value", HARD)
async def test_values_reach_executor_input_and_arguments_unchanged(value: str) -> None:
    text = await patch_text(
        inputs={"parameterValues": {"v": value}},
        container={"args": ["--v={{$.inputs.parameters['v']}}", "literal $(NAMESPACE) $$"]},
    )
    patch = json.loads(through_argo(text))
    main = main_of(patch)
    assert executor_input_of(patch)["inputs"]["parameterValues"] == {"v": value}
    args = [kubelet_expand(arg, KUBELET) for arg in main["args"]]
    assert args == [f"--v={value}", "literal team-a $"]


async def test_runtime_references_of_the_launcher_are_expanded() -> None:
    command = main_of(await built_patch(pipeline_name="a$(NAMESPACE)b", task_name="c$$d"))["command"]
    expanded = [kubelet_expand(element, KUBELET) for element in command]
    given = {flag: expanded[expanded.index(flag) + 1] for flag in ("--namespace", "--pod_name", "--pod_uid")}
    assert given == {"--namespace": "team-a", "--pod_name": "pod-7", "--pod_uid": "uid-7"}
    assert expanded[expanded.index("--pipeline_name") + 1] == "a$(NAMESPACE)b"
    assert expanded[expanded.index("--task_name") + 1] == "c$$d"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON_VALUES)
def test_patch_survives_argo_whatever_it_holds(value: Any) -> None:
    text = encode_patch({"containers": [{"value": value}]})
    assert text.isascii()
    assert "{{" not in text
    assert json.loads(through_argo(text)) == {"containers": [{"value": value}]}


HARD_PIECES = st.sampled_from(
    [
        *("{{", "}}", "{{workflow.name}}", "{{=1}}", "{{$}}", "$", "$$", "$(NAMESPACE)", "$(", ")"),
        *("\\", '"', "'", "\x7f", "\x01", "\n", "\u2028", "é", "😀", "<", "&"),
    ]
)
# Not NUL: no process can get one, and the driver says so.
ARGUMENTS = st.text(max_size=20).filter(lambda text: "\0" not in text) | st.lists(
    HARD_PIECES, max_size=6
).map("".join)


@settings(deadline=None, max_examples=60)
@given(text=ARGUMENTS, value=JSON_VALUES)
def test_user_data_reaches_the_executors_command_line_unchanged(text: str, value: Any) -> None:
    patch = asyncio.run(
        patch_text(
            inputs={"parameterValues": {"text": text, "value": value}},
            container={
                "command": ["run", "{{$.inputs.parameters['text']}}"],
                "args": ["a={{$.inputs.parameters['text']}}", "$(NAMESPACE)"],
            },
        )
    )
    command = started_command(executor_pod(through_argo(patch)))
    given_flags = dict(itertools.pairwise(command[: command.index("--")]))
    executor_input = json.loads(given_flags["--executor_input"])
    assert executor_input["inputs"]["parameterValues"] == {"text": text, "value": value}
    assert command[command.index("--") + 1 :] == ["run", text, f"a={text}", "team-a"]


@pytest.mark.parametrize("value", [3, 3.0, 1e20])
async def test_integral_numbers_are_written_without_fraction(value: float) -> None:
    command = main_of(await built_patch(inputs={"parameterValues": {"n": value, "l": [value]}}))["command"]
    text = command[command.index("--executor_input") + 1]
    assert f'"n":{int(value)}' in text
    assert f'"l":[{int(value)}]' in text


def test_same_patch_gives_the_same_text() -> None:
    assert encode_patch({"b": 1, "a": {"d": 1, "c": 2}}) == encode_patch({"a": {"c": 2, "d": 1}, "b": 1})


async def test_executor_input_over_the_limit_names_the_largest_parameter() -> None:
    values = {"small": "x", "large": "$" * 400, "other": "y" * 700}
    with pytest.raises(PodSpecError, match='largest parameter is "large" with 802 bytes'):
        await built_patch(inputs={"parameterValues": values}, settings=Settings(max_executor_input=1000))
    await built_patch(inputs={"parameterValues": values}, settings=Settings(max_executor_input=2000))


def test_executor_input_limit_counts_bytes_after_doubling() -> None:
    executor_input = ExecutorInput(inputs=ExecutorInputs(parameter_values={"v": "é$" * 10}))
    text = encode_executor_input(executor_input, limit=10_000)
    size = len(text.encode())
    assert encode_executor_input(executor_input, limit=size) == text
    with pytest.raises(PodSpecError, match=f"{size} bytes"):
        encode_executor_input(executor_input, limit=size - 1)


async def test_patch_over_half_a_mebibyte_is_refused() -> None:
    with pytest.raises(PodSpecError, match="pod spec patch has"):
        await built_patch(container={"args": ["x" * 600_000]})


async def test_log_shows_neither_values_nor_executor_input() -> None:
    log = RecordedLog()
    await patch_text(
        inputs={"parameterValues": {"v": "hunter2"}},
        container={"args": ["{{$.inputs.parameters['v']}}"], "env": [{"name": "PW", "value": "hunter2"}]},
        config={"initContainers": [{"name": "i", "image": "b", "env": [{"name": "PW", "value": "hunter2"}]}]},
        log=log,
    )
    logged = json.dumps(log.details)
    assert "hunter2" not in logged
    assert '"name": "PW", "value": "***"' in logged


async def test_redaction_leaves_the_patch_alone() -> None:
    patch = await built_patch(container={"env": [{"name": "A", "value": "1"}]})
    before = json.dumps(patch)
    redacted_patch(patch)
    assert json.dumps(patch) == before
