"""``kfp-driver logs`` and ``explain`` as a person calls them: on a data directory and on a KFP API server.

Oracle: what ``--help`` promises; the server is the embedded KFP API, with its token, behind a door that notes
the headers that it was sent.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from driver_plugin.cli import main
from driver_plugin.errors import UsageError
from driver_plugin.system_logs.store import LogStoreError
from kfp_api.messages import PipelineTask, StatusMetadata
from kfp_api.named_runs import NoSuchRunError
from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig
from tests.driver_plugin.drivers.pipelines import constant, dag, from_parent, leaf, pipeline, task
from tests.troubleshooting.stack import Driven, Stack, running
from troubleshooting.explain_command import explain_lines
from troubleshooting.logs import DriverLogs
from troubleshooting.logs_command import show_logs
from troubleshooting.source import open_source

TRAIN = leaf("exec-train", inputs={"lr": "NUMBER_DOUBLE"})
LOOP = pipeline(
    {"for-loop-1": task("comp-loop", items="[0.1, 0.2]")},
    {
        "comp-loop": dag({"train": task("comp-train", name="Train it", inputs={"lr": from_parent("item")})}),
        "comp-train": TRAIN,
    },
)


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path) as opened:
        yield opened


async def looped(stack: Stack) -> Driven:
    run = await stack.start(LOOP)
    reply = await run.dag("for-loop-1")
    (loop,) = (e["value"] for e in reply["node"]["outputs"]["parameters"] if e["name"] == "task-id")
    for index in range(2):
        await run.container("train", parent=loop, index=index)
    return run


def asked(run: str, task_text: str | None = None, **options: bool) -> argparse.Namespace:
    given = {"all": False, "follow": False} | options
    return argparse.Namespace(run=run, task=task_text, namespace="", **given)


async def test_logs_lists_the_calls_of_a_run(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    run = await looped(stack)
    capsys.readouterr()
    await show_logs(stack.source, asked(run.run_id))

    title, *lines = capsys.readouterr().out.splitlines()
    assert title.split() == ["when", "bytes", "task", "call"]
    assert [line.split()[3] for line in lines] == ["root", "for-loop-1", "train.0", "train.1"]


@pytest.mark.parametrize("name", ["train.1", "train[1]", "root.for-loop-1.train.1", "Train it[1]"])
async def test_logs_prints_the_log_of_a_task(
    name: str, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    run = await looped(stack)
    capsys.readouterr()
    await show_logs(stack.source, asked(run.run_id[:8], name))

    text = capsys.readouterr().out
    assert text.startswith("# kfp-driver-log v1 ")
    assert '"task_name":"train","iteration_index":"1"' in text
    assert text.count("# end outcome=succeeded") == 1


async def test_all_logs_of_a_task_are_those_of_its_attempts(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    run = await stack.start(pipeline({"t": task("comp-t", inputs={"lr": constant(1)})}, {"comp-t": TRAIN}))
    for _ in range(3):
        await run.container("t")
    capsys.readouterr()
    await show_logs(stack.source, asked("latest", "t", all=True))

    assert capsys.readouterr().out.count("# end outcome=succeeded") == 3


async def test_following_shows_each_log_once_until_the_run_has_ended(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    run = await stack.start(LOOP)
    naps = 0

    async def nap(_seconds: float) -> None:
        nonlocal naps
        naps += 1
        if naps == 1:
            await run.dag("for-loop-1")
        else:
            await stack.client.report_workflow(
                {
                    "metadata": {"name": "demo", "labels": {"pipeline/runid": run.run_id}},
                    "status": {"phase": "Succeeded", "finishedAt": "2030-01-01T00:00:00Z"},
                }
            )

    capsys.readouterr()
    await show_logs(stack.source, asked(run.run_id, follow=True), sleep=nap)

    text = capsys.readouterr().out
    assert naps == 2
    assert text.count("# kfp-driver-log v1") == 2
    assert '"task_name":"for-loop-1"' in text


async def test_a_name_that_nothing_has_is_answered_with_those_that_exist(stack: Stack) -> None:
    run = await looped(stack)

    with pytest.raises(UsageError, match="the pipeline has no task 'trian'; the closest are train"):
        await explain_lines(stack.source, run.run_id, "trian")
    with pytest.raises(NoSuchRunError, match=run.run_id):
        await explain_lines(stack.source, "nightly", None)


async def test_a_run_is_found_by_the_beginning_of_its_id_its_name_or_as_the_latest(stack: Stack) -> None:
    run = await looped(stack)

    for text in (run.run_id, run.run_id[:6], "Demo", "latest"):
        assert run.run_id in (await explain_lines(stack.source, text, "for-loop-1"))[0]


async def test_a_skipped_task_is_explained_by_its_condition_and_values(stack: Stack) -> None:
    spec = pipeline(
        {"t": task("comp-t", inputs={"lr": constant(0.5)}, condition="inputs.parameter_values['lr'] > 1")},
        {"comp-t": TRAIN},
    )
    run = await stack.start(spec)
    await run.container("t")
    told = await stack.explain(run.run_id, "t")

    assert "task t: SKIPPED" in told
    assert "lr = 0.5 (constant)" in told
    assert "condition inputs.parameter_values['lr'] > 1 is false" in told


async def test_what_pipeline_authors_wrote_cannot_control_the_terminal(stack: Stack) -> None:
    spec = pipeline(
        {"t": task("comp-t", inputs={"lr": constant(0.5)})}, {"comp-t": TRAIN}, inputs={"evil": "STRING"}
    )
    run = await stack.start(spec, evil="\x1b[2J\x07")
    told = await stack.explain(run.run_id, "ROOT")

    assert "evil" in told
    assert "\x1b" not in told
    assert "\x07" not in told


def test_a_hint_says_where_the_log_root_is_but_never_a_directory() -> None:
    async def never(_root: str) -> None:
        raise AssertionError

    def learned(uri: str) -> str:
        logs = DriverLogs("", open_root=never)  # type: ignore[arg-type]
        metadata = StatusMetadata(custom_properties={"driver_logs_uri": uri})
        logs.learn_from(PipelineTask(run_id="r-1", status_metadata=metadata))
        return logs.root

    assert (
        learned("minio://mlpipeline/v2/_driver-logs/r-1/root/i.log") == "minio://mlpipeline/v2/_driver-logs"
    )
    assert learned("/etc/r-1/root/i.log") == ""
    assert learned("minio://mlpipeline/other-run/root/i.log") == ""


async def test_without_any_log_root_the_way_out_is_said(stack: Stack) -> None:
    run = await looped(stack)
    logs = DriverLogs("", open_root=stack.source.logs._open)

    with pytest.raises(LogStoreError, match="--log-root"):
        await logs.of_run(run.run_id)


async def test_a_server_is_asked_with_token_and_extra_headers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headers: list[dict[str, str]] = []
    async with running(tmp_path) as stack:
        run = await looped(stack)
    (tmp_path / "person").write_text("person-token")
    served = build_app(ServerConfig(database=tmp_path / "kfp.db", token="person-token"))
    async with TestServer(served) as api:

        async def note(request: web.Request) -> web.Response:
            headers.append(dict(request.headers))
            async with (
                aiohttp.ClientSession() as session,
                session.get(api.make_url(request.raw_path), headers=request.headers) as answer,
            ):
                return web.Response(
                    status=answer.status, body=await answer.read(), content_type="application/json"
                )

        app = web.Application()
        app.router.add_get("/{path:.*}", note)
        async with TestServer(app) as door:
            options = [
                f"--api-url={door.make_url('')}",
                f"--token-file={tmp_path / 'person'}",
                "--header=kubeflow-userid: me@example.com",
                f"--log-root={tmp_path / 'driver-logs'}",
            ]
            assert await asyncio.to_thread(main, ["explain", run.run_id, "train.1", *options]) == 0
            assert await asyncio.to_thread(main, ["logs", run.run_id, "train.1", *options]) == 0

    text = capsys.readouterr().out
    assert "task       train[1]: RUNNING" in text
    assert "# end outcome=succeeded" in text
    assert {one["Authorization"] for one in headers} == {"Bearer person-token"}
    assert {one["kubeflow-userid"] for one in headers} == {"me@example.com"}


async def test_a_refused_token_is_one_line_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "person").write_text("wrong-token")
    served = build_app(ServerConfig(database=tmp_path / "kfp.db", token="person-token"))
    async with TestServer(served) as api:
        options = [f"--api-url={api.make_url('')}", f"--token-file={tmp_path / 'person'}"]
        assert await asyncio.to_thread(main, ["explain", "latest", *options]) == 1

    complaint = capsys.readouterr().err
    assert complaint.startswith("kfp-driver explain: ")
    assert complaint.count("\n") == 1
    assert "wrong-token" not in complaint


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--data-dir=nowhere"], "there are no runs in nowhere"),
        (["--token-file=x"], "--token-file needs --api-url"),
        (["--api-url=http://h", "--header=nonsense"], "--header takes NAME: VALUE"),
        (["--api-url=http://h", "--token-file=nowhere"], "there is no such file"),
        (["--api-url=ftp://h"], "--api-url: "),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("logs", "explain"):
        assert main([command, "latest", *arguments]) == 2
        said = capsys.readouterr().err
        assert complaint in said
        assert said.count("\n") == 1


async def test_a_data_directory_is_read_while_a_service_writes_it(stack: Stack) -> None:
    run = await looped(stack)
    arguments = argparse.Namespace(
        data_dir=stack.directory, api_url=None, token_file=None, header=[], ca_file=None, log_root=None
    )
    async with open_source(arguments, {}) as source:
        before = await explain_lines(source, "latest", "for-loop-1")
        await run.container("train", parent=(await run.rows())[1].task_id, index=1)
        after = await explain_lines(source, "latest", "for-loop-1")

    assert before[0] == after[0]
    assert run.run_id in before[0]
