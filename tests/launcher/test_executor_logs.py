"""The log of an attempt. Oracle: spec LAUNCHER A10; the store is slow, and remembers what it was given."""

import asyncio
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

from kfp_api.ir.executor_input import ExecutorInput
from launcher.executor_logs import ExecutorLog
from launcher.session import TaskSession


async def test_growing_log_never_replaces_the_whole_one(tmp_path: Path) -> None:
    """An upload of the growing log is under way when the command ends."""
    loop, under_way, finish = asyncio.get_running_loop(), asyncio.Event(), Event()
    stored: list[str] = []

    def upload(source: str, _: str) -> None:
        text = Path(source).read_text(encoding="ascii")
        if not stored and not under_way.is_set():
            loop.call_soon_threadsafe(under_way.set)
            finish.wait(30)
        stored.append(text)

    session: Any = SimpleNamespace(
        stores=SimpleNamespace(upload=upload), workspace="/kfp-workspace", namespace="ns"
    )
    declared = {"name": "executor-logs", "uri": "s3://b/logs", "customPath": str(tmp_path / "log")}
    document = {"outputs": {"artifacts": {"executor-logs": {"artifacts": [declared]}}}}
    log = ExecutorLog(cast("TaskSession", session), ExecutorInput.parse(document), enabled=True)
    with log.open() as file:
        assert file is not None
        async with log.growing(0.01):
            file.write(b"first")
            file.flush()
            await under_way.wait()
        file.write(b" last")
    whole = asyncio.create_task(log.upload())
    await asyncio.sleep(0)
    finish.set()
    assert await whole is not None
    assert stored == ["first", "first last"]
