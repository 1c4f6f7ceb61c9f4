"""Retries, deadlines, credentials and errors of the client, on the wire.

Oracle: the client rules of spec KFP_API 1.8 and 11 (which statuses are repeated, how often, for which
calls), DEPLOY 6.4 (credentials). The server is a real one that plays a script.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from kfp_api.client import KfpApiClient
from kfp_api.errors import (
    ApiConflictError,
    ApiCredentialError,
    ApiNotFoundError,
    ApiRequestError,
    ApiServerError,
    ApiUnavailableError,
    KfpApiError,
    RunIsTerminalError,
)
from kfp_api.messages import CreateArtifactRequest, PipelineTask, Run, TaskState, TaskType
from kfp_api.transport import ApiCall, Backoff
from tests.kfp_api.conftest import ClientFactory
from tests.kfp_api.scripted_server import Reply, Reset, ScriptedServer, Silence, Step

ROW = {"task_id": "t1", "run_id": "r1", "name": "train", "state": "RUNNING"}
NEW = PipelineTask(run_id="r1", name="train", type=TaskType.RUNTIME, scope_path="root.train")


def status(code: int, message: str = "internal chain", external: str = "") -> dict[str, object]:
    details = [{"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": external}]
    return {"code": code, "message": message, **({"details": details} if external else {})}


@pytest.mark.parametrize(
    "failure", [Reply(429), Reply(499), Reply(502), Reply(503), Reply(504), Reset(), Reply(500)]
)
async def test_read_is_repeated_when_the_server_is_unavailable(
    server: ScriptedServer, client: KfpApiClient, failure: Step
) -> None:
    server.play(failure, Reply(200, ROW))
    assert (await client.get_task("r1", "t1")).name == "train"
    assert len(server.asked) == 2


@pytest.mark.parametrize("failure", [Reply(503), Reset()])
async def test_idempotent_write_is_repeated_with_the_same_body(
    server: ScriptedServer, client: KfpApiClient, failure: Step
) -> None:
    server.play(failure, Reply(200, ROW))
    await client.create_task(NEW)
    assert server.asked[0].body == server.asked[1].body


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, ApiRequestError),
        (403, ApiCredentialError),
        (404, ApiNotFoundError),
        (409, ApiConflictError),
        (413, ApiRequestError),
        (501, ApiRequestError),
    ],
)
async def test_refusal_is_final_and_typed(
    server: ScriptedServer, client: KfpApiClient, code: int, kind: type[KfpApiError]
) -> None:
    server.play(Reply(code, status(3)), Reply(200, ROW))
    with pytest.raises(kind) as caught:
        await client.get_task("r1", "t1")
    assert (caught.value.status, caught.value.method) == (code, "GET")
    assert caught.value.path == "/apis/v2beta1/runs/r1/tasks/t1"
    assert not caught.value.retryable
    assert len(server.asked) == 1


async def test_server_error_is_repeated_once_only(server: ScriptedServer, client: KfpApiClient) -> None:
    server.play(Reply(500, status(13)), Reply(500, status(13)), Reply(200, ROW))
    with pytest.raises(ApiServerError):
        await client.get_task("r1", "t1")
    assert len(server.asked) == 2


async def test_call_that_is_not_idempotent_is_not_repeated_when_its_answer_is_lost(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reset(), Reply(200, {"run_id": "r1"}))
    with pytest.raises(ApiUnavailableError):
        await client.create_run(Run(display_name="demo"))
    assert len(server.asked) == 1


async def test_call_that_is_not_idempotent_is_repeated_when_the_server_did_nothing(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reply(429), Reply(200, {"run_id": "r1"}))
    assert (await client.create_run(Run(display_name="demo"))).run_id == "r1"


async def test_refused_connection_is_unavailability_when_the_deadline_ends(
    server: ScriptedServer, make_client: ClientFactory
) -> None:
    client = make_client(retry_deadline_seconds=0.02)
    await server.stop()
    with pytest.raises(ApiUnavailableError) as caught:
        await client.get_task("r1", "t1")
    assert not caught.value.may_have_been_processed
    assert str(caught.value).startswith("KFP API GetTask failed: ")


async def test_silent_server_is_given_up_at_the_time_out_of_the_attempt(
    server: ScriptedServer, make_client: ClientFactory
) -> None:
    server.play(Silence(), Reply(200, ROW))
    client = make_client(timeout_seconds=0.05)
    assert (await client.get_task("r1", "t1")).task_id == "t1"


async def test_retry_deadline_bounds_a_single_attempt_too(
    server: ScriptedServer, make_client: ClientFactory
) -> None:
    server.play(Silence())
    client = make_client(timeout_seconds=30.0, retry_deadline_seconds=0.05)
    started = time.perf_counter()
    with pytest.raises(ApiUnavailableError):
        await client.get_task("r1", "t1")
    assert time.perf_counter() - started < 5


async def test_retry_after_is_honoured_in_both_forms(
    server: ScriptedServer, make_client: ClientFactory
) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    for header in ("3600", later):
        server.play(Reply(503, status(14), {"Retry-After": header}))
        with pytest.raises(ApiUnavailableError) as caught:
            await make_client().get_task("r1", "t1")
        # The server asks for more patience than the deadline leaves: asking again would be in vain.
        assert caught.value.retry_after_seconds == pytest.approx(3600, abs=5)
    assert len(server.asked) == 2


async def test_short_retry_after_is_waited_for(server: ScriptedServer, client: KfpApiClient) -> None:
    server.play(Reply(503, status(14), {"Retry-After": "0.05"}), Reply(200, ROW))
    started = time.perf_counter()
    await client.get_task("r1", "t1")
    assert time.perf_counter() - started >= 0.05


async def test_external_text_is_shown_and_the_internal_chain_is_not(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reply(404, status(5, "Failed to get task: SELECT secret FROM", "task 77 not found")))
    with pytest.raises(ApiNotFoundError) as caught:
        await client.get_task("r1", "77")
    assert str(caught.value) == "KFP API GetTask failed: task 77 not found (HTTP 404)"
    assert (caught.value.code, caught.value.server_message) == (5, "task 77 not found")


async def test_terminal_run_has_its_own_error(server: ScriptedServer, client: KfpApiClient) -> None:
    text = "Cannot update task t1: parent run r1 is in terminal state FAILED"
    server.play(Reply(400, status(9, "x", text)), Reply(400, status(9, "x", "experiment is archived")))
    with pytest.raises(RunIsTerminalError, match="terminal state FAILED"):
        await client.update_task("r1", "t1", PipelineTask(cache_fingerprint="f"))
    with pytest.raises(ApiRequestError) as caught:
        await client.archive_run("r1")
    assert not isinstance(caught.value, RunIsTerminalError)


@pytest.mark.parametrize("body", [b"<html>a proxy speaks</html>", b'{"task_id": "t1"', b"[1]"])
async def test_success_that_is_not_the_promised_json_is_a_server_error(
    server: ScriptedServer, client: KfpApiClient, body: bytes
) -> None:
    server.play(Reply(200, body), Reply(200, body))
    with pytest.raises(ApiServerError):
        await client.get_task("r1", "t1")


async def test_row_of_the_wrong_shape_is_a_server_error_that_names_the_field(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reply(200, {"task_id": "t1", "type_attributes": {"iteration_index": "one"}}))
    with pytest.raises(ApiServerError, match="iteration"):
        await client.get_task("r1", "t1")


async def test_redirect_is_not_followed(server: ScriptedServer, client: KfpApiClient) -> None:
    server.play(Reply(307, {}, {"Location": f"{server.url}/elsewhere"}), Reply(200, ROW))
    with pytest.raises(ApiRequestError, match="redirect, which is never followed"):
        await client.get_task("r1", "t1")
    assert len(server.asked) == 1


class Tokens:
    """Hands out the tokens of a list; a refresh takes the next one."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.refreshed = 0
        self.asked: list[tuple[str | None, bool]] = []

    async def headers(self, *, run_id: str | None, base_audience: bool) -> Mapping[str, str]:
        self.asked.append((run_id, base_audience))
        return {"Authorization": f"Bearer {self.tokens[0]}"}

    async def refresh(self) -> bool:
        self.refreshed += 1
        if len(self.tokens) == 1:
            return False
        del self.tokens[0]
        return True


async def test_refused_token_is_refreshed_once(server: ScriptedServer, make_client: ClientFactory) -> None:
    tokens = Tokens("stale", "fresh")
    server.play(Reply(401, status(16)), Reply(200, ROW))
    await make_client(credentials=tokens).get_task("r1", "t1")
    assert [asked.headers["Authorization"] for asked in server.asked] == ["Bearer stale", "Bearer fresh"]


@pytest.mark.parametrize("tokens", [("stale",), ("stale", "also-stale", "unused")])
async def test_refused_token_fails_the_call_after_one_refresh(
    server: ScriptedServer, make_client: ClientFactory, tokens: tuple[str, ...]
) -> None:
    credentials = Tokens(*tokens)
    server.play(*[Reply(401, status(16, "x", "no token: Bearer stale"))] * 4)
    with pytest.raises(
        ApiCredentialError, match="KFP API refused the driver credential for run r1"
    ) as caught:
        await make_client(credentials=credentials).get_task("r1", "t1")
    assert credentials.refreshed == 1
    assert len(server.asked) <= 2
    assert caught.value.status == 401


async def test_token_that_another_call_refreshed_meanwhile_is_used(
    server: ScriptedServer, make_client: ClientFactory
) -> None:
    class RefreshedElsewhere(Tokens):
        async def refresh(self) -> bool:
            await super().refresh()
            return False  # the file has not changed since the other call read it

    server.play(Reply(401, status(16)), Reply(200, ROW))
    await make_client(credentials=RefreshedElsewhere("stale", "fresh")).get_task("r1", "t1")
    assert server.asked[1].headers["Authorization"] == "Bearer fresh"


async def test_forbidden_names_the_missing_right_and_never_the_token(
    server: ScriptedServer, make_client: ClientFactory
) -> None:
    server.play(Reply(403, status(7, "x", "Bearer s3cr3t may not; s3cr3t")))
    with pytest.raises(ApiCredentialError, match="right to update on runs for run r1") as caught:
        await make_client(credentials=Tokens("s3cr3t")).create_task(NEW)
    assert "s3cr3t" not in str(caught.value) + caught.value.server_message


async def test_credential_stays_at_home_when_the_host_is_not_allowed(
    server: ScriptedServer, make_client: ClientFactory
) -> None:
    server.play(Reply(200, ROW), Reply(200, ROW))
    await make_client(credentials=Tokens("s"), allowed_hosts=["kfp.example"]).get_task("r1", "t1")
    await make_client(credentials=Tokens("s"), allowed_hosts=["127.0.0.1"]).get_task("r1", "t1")
    assert ["Authorization" in asked.headers for asked in server.asked] == [False, True]


async def test_base_audience_is_asked_for_only_where_run_bound_tokens_are_refused(
    server: ScriptedServer, make_client: ClientFactory
) -> None:
    tokens = Tokens("t")
    client = make_client(credentials=tokens)
    server.play(*[Reply(200, {})] * 6)
    await client.get_run("r1")
    await client.list_tasks("r1")
    await client.write_tasks("r1", {"t1": PipelineTask(cache_fingerprint="f")})
    await client.create_artifact(CreateArtifactRequest(run_id="r1", task_id="t1", reuse_if_exists=True))
    await client.find_cached_task(namespace="ns", cache_fingerprint="f", run_id="r1")
    await client.get_pipeline_version("p1", "v1")
    assert tokens.asked == [*[("r1", False)] * 4, ("r1", True), (None, True)]


async def test_cookies_of_one_answer_do_not_travel_with_the_next_call(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reply(200, ROW, {"Set-Cookie": "session=tenant-a; Path=/"}), Reply(200, ROW))
    await client.get_task("r1", "t1")
    await client.get_task("r1", "t1")
    assert "Cookie" not in server.asked[1].headers


async def test_observer_is_told_of_every_attempt(server: ScriptedServer, make_client: ClientFactory) -> None:
    seen: list[ApiCall] = []
    server.play(Reset(), Reply(503), Reply(200, ROW))
    await make_client(observer=seen.append).create_task(NEW)
    assert [(call.operation, call.status, call.attempt) for call in seen] == [
        ("CreateTask", None, 1),
        ("CreateTask", 503, 2),
        ("CreateTask", 200, 3),
    ]
    assert seen[2].bytes > 0


@pytest.mark.parametrize("part", ["", ".", ".."])
async def test_path_part_that_would_change_the_path_is_refused(
    server: ScriptedServer, client: KfpApiClient, part: str
) -> None:
    with pytest.raises(ApiRequestError, match="is not a run id"):
        await client.get_run(part)
    assert not server.asked


async def test_path_parts_are_quoted(server: ScriptedServer, client: KfpApiClient) -> None:
    server.play(Reply(200, {}))
    await client.get_task("a/b?c#d", "ü %2F")
    assert server.asked[0].path == "/apis/v2beta1/runs/a%2Fb%3Fc%23d/tasks/%C3%BC%20%252F"


async def test_cancelled_call_ends_at_once_and_leaves_the_client_usable(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Silence(), Reply(200, ROW))
    waiting = asyncio.ensure_future(client.get_task("r1", "t1"))
    while not server.asked:  # noqa: ASYNC110 (the server is in this loop: no event to wait for)
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await client.get_task("r1", "t1")).task_id == "t1"


@pytest.mark.parametrize("url", ["ml-pipeline:8888", "ftp://host", "http://", "/relative"])
def test_address_that_is_no_http_url_is_refused_when_the_client_is_made(url: str) -> None:
    with pytest.raises(ValueError, match="KFP API URL"):
        KfpApiClient(url)


@pytest.mark.parametrize("suffix", ["", "/", "/apis/v2beta1", "/apis/v2beta1/"])
async def test_base_url_is_accepted_with_and_without_the_api_prefix(
    server: ScriptedServer, suffix: str
) -> None:
    server.play(Reply(200, {"run_id": "r1"}))
    async with KfpApiClient(server.url + suffix) as client:
        await client.get_run("r1")
    assert server.asked[0].path == "/apis/v2beta1/runs/r1"


async def test_tls_trusts_the_system_store_and_checks_host_names_by_default() -> None:
    client = KfpApiClient("https://kfp.example")
    trust = client._transport._trust()
    assert trust.check_hostname
    assert trust.verify_mode is ssl.CERT_REQUIRED


def test_pause_never_exceeds_its_bound_and_follows_retry_after() -> None:
    from tenacity import AsyncRetrying, RetryCallState  # noqa: PLC0415

    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.attempt_number = 50
    assert 0 <= Backoff(initial_seconds=0.2, maximum_seconds=2.0).seconds(state) <= 2.0
    error = ApiUnavailableError("later")
    error.retry_after_seconds = 7.5
    state.set_exception((ApiUnavailableError, error, None))
    assert Backoff().seconds(state) == 7.5


async def test_of_an_answer_that_does_not_matter_no_more_than_its_beginning_is_read() -> None:
    chunk, chunks = b" " * 64 * 1024, 1_000
    sent = [0]

    async def whole_row(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        try:
            for _ in range(chunks):
                await answer.write(chunk)
                sent[-1] += len(chunk)
        except ConnectionError:
            sent.append(0)
        return answer

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", whole_row)
    async with TestServer(app) as server, KfpApiClient(str(server.make_url("")).rstrip("/")) as client:
        patch = PipelineTask(state=TaskState.FAILED)
        assert await client.write_task("r1", "t1", patch) is None
        await client.write_tasks("r1", {"t1": patch})
    # What fits into the sockets' buffers leaves the server all the same.
    assert max(sent) < chunks * len(chunk) / 4


async def test_a_refusal_is_read_whole_also_where_the_answer_does_not_matter(
    server: ScriptedServer, client: KfpApiClient
) -> None:
    server.play(Reply(400, {"filler": " " * 100_000, **status(3, external="no such column")}))
    with pytest.raises(ApiRequestError, match="no such column"):
        await client.write_task("r1", "t1", PipelineTask(state=TaskState.FAILED))
