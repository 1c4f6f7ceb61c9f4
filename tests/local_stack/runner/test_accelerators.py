"""Accelerators are counted. Oracles: spec LAUNCHER E5.3 and E7 (order of acquisition), and arithmetic."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_stack.runner.accelerators import Accelerators, wanted_accelerators
from local_stack.runner.engine import PodRequest
from local_stack.runner.errors import NodeError
from local_stack.runner.nodes import Phase
from tests.local_stack.runner.scripted import ScriptedPods, leaf, pipeline, run_workflow

GPU = "nvidia.com/gpu"


async def take_turns(accelerators: Accelerators, wishes: list[Mapping[str, int]]) -> list[int]:
    """Hold every wish for a few turns of the loop; the order in which they were granted."""
    order: list[int] = []
    used: dict[str, int] = {}

    async def use(number: int, wanted: Mapping[str, int]) -> None:
        async with accelerators.held(wanted):
            order.append(number)
            for name, count in wanted.items():
                used[name] = used.get(name, 0) + count
                assert used[name] <= accelerators._capacity.get(name, used[name])
            for _ in range(3):
                await asyncio.sleep(0)
            for name, count in wanted.items():
                used[name] -= count

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for number, wanted in enumerate(wishes):
            group.create_task(use(number, wanted))
    return order


_WISH = st.dictionaries(st.sampled_from([GPU, "amd.com/gpu", "other.io/x"]), st.integers(0, 3), max_size=3)


@settings(deadline=None)
@given(st.lists(_WISH, max_size=12))
def test_nobody_waits_for_ever_and_no_more_is_used_than_there_is(wishes: list[dict[str, int]]) -> None:
    order = asyncio.run(take_turns(Accelerators({GPU: 3, "amd.com/gpu": 3}), list(wishes)))
    assert sorted(order) == list(range(len(wishes)))


async def test_who_waits_for_many_is_not_overtaken_by_who_wants_few() -> None:
    order = await take_turns(Accelerators({GPU: 2}), [{GPU: 1}, {GPU: 2}, {GPU: 1}, {}])
    assert order == [0, 3, 1, 2]


async def test_more_than_there_is_fails_at_once_with_numbers_and_name() -> None:
    accelerators = Accelerators({GPU: 1})
    with pytest.raises(NodeError, match=r"asks for 2 nvidia\.com/gpu, and this machine has 1"):
        async with accelerators.held({GPU: 2}):
            pass


async def test_units_are_named_to_the_libraries_that_look_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerators = Accelerators({GPU: 3})
    async with accelerators.held({GPU: 2}) as first, accelerators.held({GPU: 1}) as second:
        assert (first, second) == ({"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": "2"})
    async with accelerators.held({}) as none:
        assert none == {"CUDA_VISIBLE_DEVICES": ""}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c")
    async with accelerators.held({GPU: 2}) as named:
        assert named == {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}


class PodsWithAccelerators(ScriptedPods):
    """Scripted pods of which those named ``gpu…`` hold the machine's one accelerator."""

    def __init__(self) -> None:
        super().__init__()
        self.accelerators = Accelerators({GPU: 1})

    @asynccontextmanager
    async def devices(self, request: PodRequest) -> AsyncIterator[None]:
        async with self.accelerators.held({GPU: 1} if ".gpu" in request.node.name else {}):
            yield


@pytest.mark.parametrize("max_pods", [1, 2])
async def test_who_waits_for_an_accelerator_keeps_nobody_from_a_slot(max_pods: int) -> None:
    tasks = [leaf(name) for name in ("gpu-1", "gpu-2", "gpu-3", "plain")]
    outcome = await run_workflow(pipeline(*tasks), pods=PodsWithAccelerators(), max_pods=max_pods)
    assert outcome.root.phase is Phase.SUCCEEDED
    names = [name.split(".")[2] for name in outcome.order]
    assert set(names) == {"gpu-1", "gpu-2", "gpu-3", "plain"}
    # Of three that want the accelerator one can run: the task that wants none is not behind the others.
    assert names.index("plain") <= 1
    assert outcome.pods.most == max_pods


async def test_resources_that_were_not_declared_are_not_counted() -> None:
    async with Accelerators({}).held({GPU: 8}) as variables:
        assert variables == {}


async def test_a_waiter_that_gives_up_is_forgotten() -> None:
    accelerators = Accelerators({GPU: 1})

    async def wait() -> None:
        async with accelerators.held({GPU: 1}):
            raise AssertionError

    async with accelerators.held({GPU: 1}):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
    async with asyncio.timeout(20), accelerators.held({GPU: 1}):
        pass


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ({}, {}),
        ({"limits": {"cpu": "1", "memory": "1Gi", GPU: "2"}}, {GPU: 2}),
        (
            {"requests": {GPU: 1, "ephemeral-storage": "1Gi"}, "limits": {"amd.com/gpu": 1}},
            {GPU: 1, "amd.com/gpu": 1},
        ),
    ],
)
def test_extended_resources_are_those_with_a_domain(resources: Any, wanted: dict[str, int]) -> None:
    assert wanted_accelerators({"resources": resources}) == wanted
