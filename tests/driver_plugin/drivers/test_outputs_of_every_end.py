"""What Argo is answered at every end of every driver: the outputs that templates declare, all of them, once.

Argo applies no default of its own to the outputs of a plugin node, so an output that is missing stays
unresolved in the workflow. Oracle: the table of names, types and defaults in the contract of the reply (spec
DRIVER 1.4), and the rows that the KFP API holds after the call: the embedded one as it is, and held to what
KFP's own server does and accepts.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from driver_plugin.argo.driver_type import DriverType
from tests.driver_plugin.drivers.crash_scenarios import SCENARIOS, Scenario
from tests.driver_plugin.drivers.processes import LOG_ROOT, World, world
from tests.upstream_server import upstream_app

IDS: Final = {"parent-dag-task-id-path", "task-id"}
"""The row's id under both names, so that templates of either dialect find it; a failure has a row, too."""

NAMES: Final = {
    DriverType.ROOT_DAG: IDS | {"iteration-count", "condition", "driver-log-uri"},
    DriverType.DAG: IDS | {"iteration-count", "condition", "driver-log-uri"},
    DriverType.CONTAINER: IDS | {"condition", "cached-decision", "pod-spec-patch", "driver-log-uri"},
}


@dataclass(frozen=True, kw_only=True)
class End:
    """What differs from the defaults of an output. ``executes``: the executor's pod is to be patched."""

    condition: str = "nil"
    iterations: str = "0"
    cached: str = "false"
    executes: bool = False


EXECUTES: Final = End(executes=True)
CACHED: Final = End(cached="true")
SKIPPED: Final = End(condition="false")

ENDS: Final[Mapping[str, End]] = {
    "ROOT_DAG: triggered": End(),
    "ROOT_DAG: failed": End(),
    "ROOT_DAG: triggered again after the run was retried": End(),
    "DAG: triggered": End(condition="true"),
    "DAG: triggered loop": End(iterations="3"),
    "DAG: skipped by its condition": SKIPPED,
    "DAG: skipped loop without items": End(),
    "DAG: succeeded without tasks": End(),
    "DAG: failed": End(),
    "DAG: triggered again after the run was retried": End(),
    "CONTAINER: triggered": EXECUTES,
    "CONTAINER: triggered after a lookup that found nothing": EXECUTES,
    "CONTAINER: skipped": SKIPPED,
    "CONTAINER: cached": CACHED,
    "CONTAINER: cached in an iteration": CACHED,
    "CONTAINER: failed before its row": End(),
    "CONTAINER: failed after its row": End(),
    "CONTAINER: triggered again after the run was retried": EXECUTES,
    "CONTAINER: triggered with the final status of a failed group": EXECUTES,
    "ROOT_DAG: repeated after a task had failed": End(),
    "DAG: repeated after a child had failed": End(),
    "DAG: tried again after a failure": End(iterations="2"),
    "DAG: on another driver's row": End(),
    "CONTAINER: tried again after a failure": EXECUTES,
    "CONTAINER: repeated after its executor had failed": EXECUTES,
    "CONTAINER: repeated after its executor had succeeded": CACHED,
    "CONTAINER: on another driver's row": EXECUTES,
    "CONTAINER: skipped after a failure": SKIPPED,
    "DAG: triggered loop in an iteration": End(iterations="1"),
    "CONTAINER: cached in a loop in an iteration": CACHED,
    "DAG: triggered with a plugin": End(),
    "CONTAINER: triggered with a plugin": EXECUTES,
    "CONTAINER: skipped with a plugin": SKIPPED,
    "CONTAINER: cached with a plugin": CACHED,
    "CONTAINER: failed with a plugin": End(),
    "CONTAINER: claim created": End(),
    "CONTAINER: claim cached": CACHED,
    "CONTAINER: claim skipped": SKIPPED,
    "CONTAINER: claim failed": End(),
    "CONTAINER: claim deleted": End(),
    "CONTAINER: claim deletion failed": End(),
}


@pytest.fixture(params=["embedded", "upstream's rules"])
async def servers(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    api = None if request.param == "embedded" else upstream_app(tmp_path / "upstream.sqlite")
    async with world(tmp_path, api=api) as running:
        yield running


def test_every_end_stands_in_the_table() -> None:
    assert {scenario.name for scenario in SCENARIOS} == ENDS.keys()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_a_reply_has_every_output_once_with_its_value_or_its_default(
    servers: World, scenario: Scenario
) -> None:
    due = await scenario.prepare(servers.setup)
    async with servers.process() as process:
        node = (await process.deliver(due.args))["node"]
    rows = [row async for row in servers.setup.client.iterate_tasks(due.run.run_id)]
    name, parent = due.args["task_name"] or "ROOT", due.args["parent_task_id"]
    driven = [row.task_id for row in rows if (row.name, row.parent_task_id or "") == (name, parent)]

    assert node["phase"] == scenario.phase
    parameters = node["outputs"]["parameters"]
    assert len(parameters) == len(NAMES[scenario.type])
    outputs = {parameter["name"]: parameter["value"] for parameter in parameters}
    assert outputs.keys() == NAMES[scenario.type]
    assert all(isinstance(value, str) for value in outputs.values())

    end = ENDS[scenario.name]
    assert driven == [outputs["task-id"]]
    assert outputs["parent-dag-task-id-path"] == outputs["task-id"]
    assert outputs["condition"] == end.condition
    assert outputs["driver-log-uri"].startswith(f"{LOG_ROOT}/{due.run.run_id}/")
    if scenario.type is DriverType.CONTAINER:
        assert outputs["cached-decision"] == end.cached
        patch = outputs["pod-spec-patch"]
        assert bool(patch) is end.executes
        assert not patch or json.loads(patch)["containers"]
    else:
        assert outputs["iteration-count"] == end.iterations
