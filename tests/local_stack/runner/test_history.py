"""A run goes on from its journal, and a retry keeps what succeeded.

Oracle: the same workflow run without interruption. For every moment of that run (every line of its journal)
another engine goes on from what had been written by then; drivers are a scripted plugin behind real HTTP,
pods are scripted.
"""

import asyncio
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from local_stack.runner.engine import PodRequest, PodResult
from local_stack.runner.history import LEAVES, StateDirectory, kept_by_retry, replace_file
from local_stack.runner.nodes import Node, NodeType, Phase
from tests.local_stack.runner.scripted import (
    Outcome,
    ScriptedPods,
    dag,
    failed_pod,
    group,
    iterator,
    leaf,
    loop,
    pipeline,
    run_workflow,
)


def workflow() -> dict[str, Any]:
    """A loop after a task, a group with an exit hook, and a condition that does not hold."""
    return pipeline(
        leaf("first"),
        loop("each", after="first"),
        leaf("last", after="each"),
        group("never", "inner", condition=True),
        templates=[
            dag("body", leaf("work", in_loop=True)),
            iterator("each", "body"),
            dag("inner", leaf("x")),
        ],
    )


ANSWERS: dict[str, dict[str, Any]] = {
    "each": {"iteration-count": 2},
    "never": {"condition": "false"},
    "last": {"cached-decision": "true"},
}


def details(outcome: Outcome) -> dict[str, tuple[Any, ...]]:
    return {
        name: (node.type, node.phase, node.message, node.outputs, node.children)
        for name, node in outcome.nodes.items()
    }


async def journal_of(
    directory: Path, document: dict[str, Any], **options: Any
) -> tuple[Outcome, list[bytes]]:
    state = StateDirectory(directory)
    state.create(document)
    outcome = await run_workflow(document, observer=state.record, **options)
    state.close()
    return outcome, (directory / "nodes.jsonl").read_bytes().splitlines(keepends=True)


async def test_a_run_interrupted_at_any_moment_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, lines = await journal_of(tmp_path, workflow(), answers=ANSWERS)
    pods = {request.node.name for request in whole.pods.requests}
    assert len(pods) == 3
    for moment in range(len(lines) + 1):
        (tmp_path / "nodes.jsonl").write_bytes(b"".join(lines[:moment]))
        history = StateDirectory(tmp_path).nodes()
        again = await run_workflow(workflow(), answers=ANSWERS, history=history)
        assert {name: value[:4] for name, value in details(again).items()} == {
            name: value[:4] for name, value in details(whole).items()
        }
        done = {name for name, node in history.items() if node.phase.fulfilled and node.type is NodeType.POD}
        assert {request.node.name for request in again.pods.requests} == pods - done
        begun = {name for name, node in history.items() if node.phase is Phase.RUNNING}
        for request in again.pods.requests:
            assert request.interrupted == (request.node.name in begun)


async def test_a_line_that_was_cut_off_counts_as_not_written(tmp_path: Path) -> None:
    _, lines = await journal_of(tmp_path, workflow(), answers=ANSWERS)
    (tmp_path / "nodes.jsonl").write_bytes(b"".join(lines[:5]))
    before = StateDirectory(tmp_path).nodes()
    (tmp_path / "nodes.jsonl").write_bytes(b"".join(lines[:5]) + lines[5][:-3])
    assert StateDirectory(tmp_path).nodes() == before


def test_a_line_that_was_cut_off_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    nodes = [Node(id=str(number), name=str(number), type=NodeType.POD) for number in range(3)]
    for node in nodes:
        # As after three kills, each in the middle of a line.
        with closing(StateDirectory(tmp_path)) as state:
            state.record(node)
        with (tmp_path / "nodes.jsonl").open("ab") as journal:
            journal.write(b'{"id": "cut')
    assert StateDirectory(tmp_path).nodes() == {node.name: node for node in nodes}


def test_a_line_for_which_there_is_no_room_is_not_written_by_half(tmp_path: Path) -> None:
    nodes = [Node(id=str(number), name=str(number) * 200, type=NodeType.POD) for number in range(3)]
    with closing(StateDirectory(tmp_path)) as state:
        state.record(nodes[0])
        with file_size_limit((tmp_path / "nodes.jsonl").stat().st_size + 100), pytest.raises(OSError):  # noqa: PT011 (the kernel's choice)
            state.record(nodes[1])
        state.record(nodes[2])
    assert StateDirectory(tmp_path).nodes() == {node.name: node for node in (nodes[0], nodes[2])}


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process grows beyond ``size`` bytes: writes end there, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_what_a_run_that_goes_on_takes_from_the_journal_is_not_written_again(tmp_path: Path) -> None:
    whole, lines = await journal_of(tmp_path, workflow(), answers=ANSWERS)
    state, news = StateDirectory(tmp_path), list[Node]()
    await run_workflow(workflow(), answers=ANSWERS, history=state.nodes(), observer=news.append)
    assert news == []
    assert len(state.nodes()) == len(whole.nodes)
    assert len(lines) < 3 * len(whole.nodes)


async def test_attempts_are_counted_on_from_those_before_the_interruption(tmp_path: Path) -> None:
    retry = {"limit": "2", "backoff": {"duration": "0"}}
    document = pipeline(leaf("a"), retry=retry)
    name = "w.root.a.executor"
    results = {f"{name}(0)": failed_pod(), f"{name}(1)": failed_pod()}
    whole, lines = await journal_of(tmp_path, document, pods=ScriptedPods(results))
    assert whole.phases()["a.executor"] == "Succeeded"
    for moment in range(len(lines) + 1):
        (tmp_path / "nodes.jsonl").write_bytes(b"".join(lines[:moment]))
        history = StateDirectory(tmp_path).nodes()
        again = await run_workflow(document, pods=ScriptedPods(results), history=history)
        assert again.phases() == whole.phases()
        kept = [one for one, node in history.items() if node.attempt is not None and node.phase.fulfilled]
        assert len(again.pods.requests) == 3 - len(kept)


@pytest.mark.parametrize("repaired", [True, False])
async def test_a_retry_runs_what_failed_and_what_waited_for_it(repaired: bool, tmp_path: Path) -> None:
    document = pipeline(leaf("a"), leaf("b", after="a"), leaf("c", after="b"), leaf("d"))
    failing = {"w.root.b.executor": failed_pod()}
    whole, _ = await journal_of(tmp_path, document, pods=ScriptedPods(failing))
    assert whole.root.phase is Phase.FAILED
    kept = kept_by_retry(StateDirectory(tmp_path).nodes())
    assert all(node.type in LEAVES for node in kept.values())
    again = await run_workflow(document, pods=ScriptedPods({} if repaired else failing), history=kept)
    ran = ["w.root.b.executor", "w.root.c.executor"] if repaired else ["w.root.b.executor"]
    assert again.order == ran
    # The driver of b had succeeded; that of c had been omitted.
    drivers = ["c"] if repaired else []
    assert [call["task_name"] for call in again.plugin.calls] == drivers
    assert again.root.phase is (Phase.SUCCEEDED if repaired else Phase.FAILED)


async def test_a_retry_starts_the_attempts_of_a_failed_task_anew_and_keeps_those_of_a_succeeded_one(
    tmp_path: Path,
) -> None:
    retry = {"limit": "1", "backoff": {"duration": "0"}}
    document = pipeline(leaf("good"), leaf("bad"), retry=retry)
    good, bad = "w.root.good.executor", "w.root.bad.executor"
    results: dict[str, PodResult] = {f"{name}(0)": failed_pod() for name in (good, bad)}
    results[f"{bad}(1)"] = failed_pod()
    await journal_of(tmp_path, document, pods=ScriptedPods(results))
    kept = kept_by_retry(StateDirectory(tmp_path).nodes())
    assert {f"{good}(0)", f"{good}(1)"} <= kept.keys()
    assert not {f"{bad}(0)", f"{bad}(1)"} & kept.keys()
    again = await run_workflow(document, history=kept)
    assert again.order == [f"{bad}(0)"]
    assert again.root.phase is Phase.SUCCEEDED


class _Disk:
    """What of the journal would be left after a loss of power: what was synced to the disk."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.journal = directory / "nodes.jsonl"
        self.left = b""
        self.syncs = 0
        fdatasync = os.fdatasync

        def sync(handle: int) -> None:
            before = self.journal.read_bytes()
            fdatasync(handle)
            if os.path.samestat(os.fstat(handle), self.journal.stat()):
                self.left, self.syncs = before, self.syncs + 1

        monkeypatch.setattr(os, "fdatasync", sync)


async def test_a_machine_that_loses_power_knows_every_pod_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, state, left = _Disk(tmp_path, monkeypatch), StateDirectory(tmp_path), dict[str, bytes]()

    class Pods(ScriptedPods):
        async def run(self, request: PodRequest) -> PodResult:
            left[request.node.name] = disk.left
            return await super().run(request)

    state.create(workflow())
    whole = await run_workflow(
        workflow(), answers=ANSWERS, pods=Pods(), observer=state.record, kept=state.synced
    )
    state.close()
    assert len(left) == 3
    for name, journal in left.items():
        disk.journal.write_bytes(journal)
        history = StateDirectory(tmp_path).nodes()
        assert history[name].phase is Phase.RUNNING
        again = await run_workflow(workflow(), answers=ANSWERS, history=history)
        assert [one.interrupted for one in again.pods.requests if one.node.name == name] == [True]
        assert {node: value[:4] for node, value in details(again).items()} == {
            node: value[:4] for node, value in details(whole).items()
        }


async def test_all_that_wait_for_the_disk_share_one_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, state = _Disk(tmp_path, monkeypatch), StateDirectory(tmp_path)
    state.create({})

    async def record(number: int) -> None:
        state.record(Node(id=str(number), name=str(number), type=NodeType.POD, phase=Phase.RUNNING))
        await state.synced()
        assert f'"name":"{number}"'.encode() in disk.left

    await asyncio.gather(*(record(number) for number in range(50)))
    assert disk.syncs <= 2
    await state.synced()
    assert disk.syncs <= 2
    state.close()


def test_a_closed_journal_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, state = _Disk(tmp_path, monkeypatch), StateDirectory(tmp_path)
    state.create({})
    state.record(Node(id="a", name="a", type=NodeType.POD, phase=Phase.SUCCEEDED))
    state.close()
    assert disk.left == disk.journal.read_bytes() != b""


def test_a_replaced_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def sync(handle: int) -> None:
        events.append("directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def rename(self: Path, target: Path) -> Path:
        events.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    replace_file(tmp_path / "x", "text")
    assert events == ["file", "name", "directory"]
