"""A DAG row as one child needs it. Oracle: what a client takes from the whole row for that child."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_api.known_parent import KnownParent
from kfp_api.messages import InputOutputs, IOParameter, IOProducer, IOType, PipelineTask
from local_stack.api_server.storage.child_view import ChildView

from .conftest import Api, MakeApi

indexes = st.integers(min_value=0, max_value=3)
parameters = st.lists(
    st.builds(
        IOParameter,
        parameter_key=st.sampled_from(["item", "other"]),
        type=st.sampled_from([IOType.ITERATOR_INPUT, IOType.ITERATOR_INPUT_RAW, IOType.COMPONENT_INPUT]),
        value=st.integers(),
        producer=st.none() | st.builds(IOProducer, task_name=st.just("p"), iteration=st.none() | indexes),
    ),
    max_size=8,
)


def seen(entries: list[IOParameter], index: int | None, names: frozenset[str] | None) -> list[IOParameter]:
    row = PipelineTask(task_id="t", inputs=InputOutputs(parameters=entries))
    every = KnownParent.of(row).seen_from(index).input_parameters
    return [entry for entry in every if names is None or entry.parameter_key in names]


@given(
    entries=parameters,
    index=st.none() | indexes,
    names=st.none() | st.frozensets(st.sampled_from(["item", "other", "absent"])),
)
def test_a_child_finds_in_the_view_what_it_finds_in_the_whole_row(
    entries: list[IOParameter], index: int | None, names: frozenset[str] | None
) -> None:
    view = ChildView(index, names).parameters(entry.to_wire() for entry in entries)
    found = [IOParameter.from_wire(entry) for entry in view]
    assert seen(found, index, None) == seen(entries, index, names)


def item(index: int) -> dict[str, Any]:
    producer = {"task_name": "loop", "iteration": str(index)}
    return {"parameter_key": "item", "type": "ITERATOR_INPUT", "value": index, "producer": producer}


async def loop_head(api: Api) -> tuple[str, str]:
    """A loop of 200 items with a child and an output; its path, and its run."""
    run = await api.run()
    shared = {"parameter_key": "lr", "type": "COMPONENT_INPUT", "value": 0.1}
    loop = await api.task(
        run,
        "loop",
        type="LOOP",
        scope_path="root.loop",
        type_attributes={"iteration_count": "200"},
        inputs={"parameters": [shared, *map(item, range(200))]},
        outputs={"parameters": [{"parameter_key": "o", "type": "OUTPUT", "value": 1}]},
    )
    await api.task(run, "step", parent_task_id=loop)
    return f"/runs/{run}/tasks/{loop}", run


@pytest.mark.parametrize(
    ("preference", "values"),
    [
        ("view=child; iteration=7", [0.1, 7]),
        ("view=child;iteration=300", [0.1, 0]),
        ("view=child", [0.1, 0]),
        ('view=child; iteration=7; inputs="item x%20y"', [7]),
        ('view=child; inputs=""', []),
    ],
)
async def test_the_view_has_the_childs_item_and_nothing_that_grows(
    preference: str, values: list[float], api: Api
) -> None:
    path, _ = await loop_head(api)
    whole = await api.get(path)
    view = await api.call("GET", path, headers={"Prefer": preference})
    left_out = whole.keys() - view.keys()
    assert left_out == {"child_tasks", "outputs", "state_history"}
    assert [entry["value"] for entry in view["inputs"]["parameters"]] == values
    assert {name: value for name, value in view.items() if name != "inputs"} == {
        name: value for name, value in whole.items() if name not in {"inputs", *left_out}
    }


async def test_counts_bring_no_items_along(api: Api) -> None:
    _, run = await loop_head(api)
    answer = await api.call(
        "GET", f"/runs/{run}/tasks", headers={"Prefer": "return=minimal"}, params={"page_size": "1"}
    )
    assert answer["total_size"] == 2
    assert not {"inputs", "outputs", "child_tasks"} & answer["tasks"][0].keys()


@pytest.mark.parametrize("preference", ["view=child; iteration=x", "view=parent", "child"])
async def test_any_other_preference_changes_nothing(preference: str, api: Api) -> None:
    path, _ = await loop_head(api)
    assert await api.call("GET", path, headers={"Prefer": preference}) == await api.get(path)


async def test_upstream_knows_no_preference(make_api: MakeApi) -> None:
    api = await make_api(strict_upstream=True)
    path, run = await loop_head(api)
    assert await api.call("GET", path, headers={"Prefer": "view=child"}) == await api.get(path)
    listed = await api.call("GET", f"/runs/{run}/tasks", headers={"Prefer": "return=minimal"})
    assert listed == await api.get(f"/runs/{run}/tasks")
