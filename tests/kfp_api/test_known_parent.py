"""What a task of a loop body is shown of the loop head: its own items, and never fewer inputs than it needs.

Oracle: the resolver, which finds the same value or the same error in the whole row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_api.known_parent import KnownParent
from kfp_api.messages import (
    Artifact,
    InputOutputs,
    IOArtifact,
    IOParameter,
    IOProducer,
    IOType,
    PipelineTask,
)
from resolver.errors import ResolutionError
from resolver.parent_inputs import ParentParameters

ITEMS = [IOType.ITERATOR_INPUT, IOType.ITERATOR_INPUT_RAW]
OTHERS = [IOType.COMPONENT_INPUT, IOType.COMPONENT_DEFAULT_INPUT, IOType.RUNTIME_VALUE_INPUT]


@dataclass(frozen=True)
class Answer:
    """What the resolver says of one input."""

    entry: IOParameter | None = None
    error: str = ""


def answer(parameters: Sequence[IOParameter], key: str, index: int | None) -> Answer:
    try:
        return Answer(entry=ParentParameters(parameters, index).entry(key))
    except ResolutionError as error:
        return Answer(error=str(error))


def item(index: int) -> IOParameter:
    return IOParameter(
        parameter_key="item",
        type=IOType.ITERATOR_INPUT,
        value=index,
        producer=IOProducer(task_name="loop", iteration=index),
    )


def head(parameters: Sequence[IOParameter] = (), artifacts: Sequence[IOArtifact] = ()) -> PipelineTask:
    inputs = InputOutputs(parameters=list(parameters), artifacts=list(artifacts))
    return PipelineTask(task_id="t", run_id="r", inputs=inputs)


def entries(key: str, types: list[IOType]) -> st.SearchStrategy[list[IOParameter]]:
    one = st.builds(
        IOParameter,
        parameter_key=st.just(key),
        type=st.sampled_from(types),
        value=st.integers(),
        producer=st.none() | st.builds(IOProducer, task_name=st.just("p"), iteration=st.none() | indexes),
    )
    return st.lists(one, max_size=5)


indexes = st.integers(min_value=0, max_value=4)
inputs = st.tuples(entries("item", ITEMS), entries("other", OTHERS)).flatmap(
    lambda both: st.permutations([*both[0], *both[1]])
)


@given(parameters=inputs, index=st.none() | indexes)
def test_a_child_finds_what_it_would_find_in_the_whole_row(
    parameters: list[IOParameter], index: int | None
) -> None:
    seen = KnownParent.of(head(parameters)).seen_from(index).input_parameters
    for key in ("item", "other", "absent"):
        whole_order = [entry for entry in parameters if entry.parameter_key == key]
        assert answer(seen, key, index) == answer(whole_order, key, index)


@pytest.mark.parametrize("index", [None, 3, 10_000])
def test_an_iteration_without_an_item_is_an_error_and_no_missing_input(index: int | None) -> None:
    seen = KnownParent.of(head([item(0), item(1), item(2)])).seen_from(index)
    shown = -1 if index is None else index
    assert answer(seen.input_parameters, "item", index).error == (
        f"no value for iteration {shown} of input parameter item"
    )


def test_a_child_is_given_its_own_items_and_shares_them_with_what_is_remembered() -> None:
    items = [item(index) for index in range(1000)]
    shared = IOParameter(parameter_key="lr", type=IOType.COMPONENT_INPUT, value=0.1)
    known = KnownParent.of(head([shared, *items]))
    for index in (0, 999):
        seen = known.seen_from(index).input_parameters
        assert [entry.value for entry in seen] == [0.1, index]
        assert seen[1] is items[index], "a copy per iteration would cost the memory of the loop again"


@pytest.mark.parametrize("merged", [False, True])
def test_artifact_items_are_found_whether_the_server_merged_them_or_not(merged: bool) -> None:
    artifacts = [Artifact(artifact_id=f"a{index}") for index in range(3)]
    groups = [artifacts] if merged else [[artifact] for artifact in artifacts]
    row = head(
        artifacts=[
            IOArtifact(
                artifact_key="item",
                type=IOType.ITERATOR_INPUT,
                artifacts=group,
                producer=IOProducer(task_name="loop", iteration=index),
            )
            for index, group in enumerate(groups)
        ]
    )
    (entry,) = KnownParent.of(row).seen_from(2).input_artifacts
    assert entry.artifacts == (artifacts if merged else [artifacts[2]])
