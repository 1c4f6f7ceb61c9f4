"""The Kubernetes client against a scripted API server on loopback: client rules of spec PODSPEC 12."""

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from driver_plugin.errors import is_retryable
from driver_plugin.kubernetes import (
    AccessReview,
    KubernetesClient,
    KubernetesConflictError,
    KubernetesError,
    KubernetesForbiddenError,
    KubernetesNotFoundError,
    KubernetesUnavailableError,
)
from tests.certificates import self_signed
from tests.kubernetes_schema import assert_valid

Answer = tuple[int, Any]
DROP: Answer = (0, None)
"""The server closes the connection without an answer."""

SILENCE: Answer = (-1, None)
"""The server says nothing until the test ends."""


@dataclass
class ScriptedApi:
    """Gives its answers in order, the last one for ever, and records requests."""

    answers: list[Answer] = field(default_factory=lambda: [(200, {})])
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    url: str = ""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_raw(self, request: web.BaseRequest) -> web.Response:
        self.tokens.append(request.headers.get("Authorization"))
        return web.json_response({})

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.raw_path, body))
        self.tokens.append(request.headers.get("Authorization"))
        status, document = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status < 0:
            await self.ended.wait()
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(document, status=status if status > 0 else 500)


@pytest.fixture
async def api() -> AsyncIterator[ScriptedApi]:
    scripted = ScriptedApi()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", scripted.handle)
    async with TestServer(app) as server:
        scripted.url = str(server.make_url("")).rstrip("/")
        yield scripted
        scripted.ended.set()


@pytest.fixture
async def client(api: ScriptedApi) -> AsyncIterator[KubernetesClient]:
    async with KubernetesClient(api.url, retry_wait_seconds=0) as opened:
        yield opened


CORE = "/api/v1/namespaces/team-a"
PVC: dict[str, Any] = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "p"}}


@pytest.mark.parametrize(
    ("call", "request_line", "exchange"),
    [
        (
            lambda client: client.get_configmap("team-a", "kfp-launcher"),
            ("GET", f"{CORE}/configmaps/kfp-launcher", None),
            ({"data": {"k": "v"}}, {"k": "v"}),
        ),
        (
            lambda client: client.get_configmap("team-a", "empty"),
            ("GET", f"{CORE}/configmaps/empty", None),
            ({}, {}),
        ),
        (
            lambda client: client.get_secret("team-a", "s"),
            ("GET", f"{CORE}/secrets/s", None),
            ({"data": {"k": base64.b64encode(b"\x00v").decode()}}, {"k": b"\x00v"}),
        ),
        (
            lambda client: client.create_pvc("team-a", PVC),
            ("POST", f"{CORE}/persistentvolumeclaims", PVC),
            (PVC, PVC),
        ),
        (
            lambda client: client.get_pvc("team-a", "p"),
            ("GET", f"{CORE}/persistentvolumeclaims/p", None),
            (PVC, PVC),
        ),
        (
            lambda client: client.delete_pvc("team-a", "a/../b c"),
            ("DELETE", f"{CORE}/persistentvolumeclaims/a%2F..%2Fb%20c", None),
            ({}, True),
        ),
        (
            lambda client: client.get_workflow("team-a", "wf"),
            ("GET", "/apis/argoproj.io/v1alpha1/namespaces/team-a/workflows/wf", None),
            ({"metadata": {}}, {"metadata": {}}),
        ),
    ],
)
async def test_call_is_one_request(
    api: ScriptedApi,
    client: KubernetesClient,
    call: Callable[[KubernetesClient], Any],
    request_line: tuple[str, str, Any],
    exchange: tuple[Any, Any],
) -> None:
    answer, result = exchange
    api.answers = [(200, answer)]
    assert await call(client) == result
    assert api.requests == [request_line]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, KubernetesError),
        (401, KubernetesForbiddenError),
        (403, KubernetesForbiddenError),
        (404, KubernetesNotFoundError),
        (409, KubernetesConflictError),
        (422, KubernetesError),
    ],
)
async def test_refusal_is_its_own_error_and_not_repeated(
    api: ScriptedApi, client: KubernetesClient, status: int, error: type[KubernetesError]
) -> None:
    api.answers = [(status, {"message": "because of you"})]
    with pytest.raises(error, match=f"{status} because of you") as caught:
        await client.get_pvc("team-a", "p")
    assert type(caught.value) is error
    assert caught.value.status == status
    assert not is_retryable(caught.value)
    assert len(api.requests) == 1


@pytest.mark.parametrize("failure", [(429, {}), (500, {}), (502, {}), (503, {}), DROP])
@pytest.mark.parametrize("method", ["get_pvc", "delete_pvc"])
async def test_read_and_delete_are_repeated_until_they_are_answered(
    api: ScriptedApi, client: KubernetesClient, method: str, failure: Answer
) -> None:
    api.answers = [failure, failure, failure, (200, PVC)]
    assert await getattr(client, method)("team-a", "p")
    assert len(api.requests) == 4


async def test_fourth_failure_is_the_last(api: ScriptedApi, client: KubernetesClient) -> None:
    api.answers = [(503, {"message": "later"})]
    with pytest.raises(KubernetesUnavailableError, match="503 later") as caught:
        await client.get_pvc("team-a", "p")
    assert is_retryable(caught.value)
    assert len(api.requests) == 4


@pytest.mark.parametrize(
    ("failure", "requests"), [((429, {}), 2), ((503, {}), 2), ((500, {}), 1), ((504, {}), 1), (DROP, 1)]
)
async def test_create_is_repeated_only_when_the_server_cannot_have_acted(
    api: ScriptedApi, client: KubernetesClient, failure: Answer, requests: int
) -> None:
    api.answers = [failure, (201, PVC)]
    if requests == 1:
        with pytest.raises(KubernetesUnavailableError):
            await client.create_pvc("team-a", PVC)
    else:
        assert await client.create_pvc("team-a", PVC) == PVC
    assert len(api.requests) == requests


REVIEW_BODY: dict[str, Any] = {
    "apiVersion": "authorization.k8s.io/v1",
    "kind": "SubjectAccessReview",
    "spec": {
        "user": "u",
        "groups": ["g"],
        "resourceAttributes": {"namespace": "team-a", "verb": "delete", "resource": "pods", "name": "p"},
    },
}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"allowed": True}, AccessReview(allowed=True)),
        ({"allowed": True, "reason": "RBAC"}, AccessReview(allowed=True, reason="RBAC")),
        ({"allowed": False, "reason": "no"}, AccessReview(allowed=False, reason="no")),
        ({"allowed": False, "evaluationError": "broken"}, AccessReview(allowed=False, reason="broken")),
        ({"allowed": "yes"}, AccessReview(allowed=False)),
        ({}, AccessReview(allowed=False)),
    ],
)
async def test_access_is_reviewed_and_only_a_plain_yes_is_one(
    api: ScriptedApi, client: KubernetesClient, status: dict[str, Any], expected: AccessReview
) -> None:
    # A review changes nothing, so that it is repeated like a read.
    api.answers = [(500, {}), (201, {"status": status})]
    review = await client.review_access(
        "u", ["g"], verb="delete", resource="pods", namespace="team-a", name="p"
    )
    assert review == expected
    assert api.requests[1:] == [("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", REVIEW_BODY)]
    assert_valid(REVIEW_BODY)


async def test_review_without_a_status_is_an_error(api: ScriptedApi, client: KubernetesClient) -> None:
    api.answers = [(201, {})]
    with pytest.raises(KubernetesError, match="has no status"):
        await client.review_access("u", [], verb="get", resource="pods", namespace="team-a")


async def test_refused_connection_is_retryable_for_every_method() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    async with KubernetesClient(f"http://127.0.0.1:{port}", retry_wait_seconds=0) as client:
        for call in (client.get_pvc("a", "p"), client.create_pvc("a", PVC)):
            with pytest.raises(KubernetesUnavailableError) as caught:
                await call
            assert is_retryable(caught.value)


async def test_silence_is_a_time_out_and_tried_again_where_that_is_safe(api: ScriptedApi) -> None:
    async with KubernetesClient(api.url, timeout_seconds=0.2, retry_wait_seconds=0) as client:
        api.answers = [SILENCE, (200, PVC)]
        assert await client.get_pvc("team-a", "p") == PVC
        api.answers = [SILENCE, (201, PVC)]
        with pytest.raises(KubernetesUnavailableError, match="ReadTimeout") as caught:
            await client.create_pvc("team-a", PVC)
    assert is_retryable(caught.value)
    assert [method for method, _, _ in api.requests] == ["GET", "GET", "POST"]


async def test_server_is_trusted_by_the_mounted_authority_alone(api: ScriptedApi, tmp_path: Path) -> None:
    key, certificate = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    runner = web.ServerRunner(web.Server(api.handle_raw))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(runner.addresses[0][1])}
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("t")
    try:
        for trusted in (False, True):
            if trusted:
                (account / "ca.crt").write_bytes(certificate.read_bytes())
            client = KubernetesClient.in_cluster(environ, directory=account)
            assert client is not None
            client._retry_wait_seconds = 0
            async with client:
                if trusted:
                    assert await client.get_pvc("team-a", "p") == {}
                else:
                    with pytest.raises(KubernetesUnavailableError, match="certificate verify failed"):
                        await client.get_pvc("team-a", "p")
    finally:
        await runner.cleanup()
    assert api.tokens == ["Bearer t"], "an untrusted server gets no token"


async def test_deleting_what_is_gone_is_no_error(api: ScriptedApi, client: KubernetesClient) -> None:
    api.answers = [(404, {"message": "not found"})]
    assert await client.delete_pvc("team-a", "p") is False


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_name_that_would_address_a_collection_is_refused(
    api: ScriptedApi, client: KubernetesClient, name: str
) -> None:
    for namespace, claim in (("team-a", name), (name, "p")):
        with pytest.raises(KubernetesError, match="is not the name of a Kubernetes object"):
            await client.delete_pvc(namespace, claim)
    assert api.requests == []


async def test_token_file_is_read_again_after_a_minute_and_after_a_401(
    api: ScriptedApi, tmp_path: Path
) -> None:
    now = 1000.0
    token = tmp_path / "token"
    async with KubernetesClient(api.url, token_file=token, clock=lambda: now, retry_wait_seconds=0) as client:
        await client.get_pvc("a", "p")
        for text in ("first\n", "second", "third", "fourth"):
            token.write_text(text)
            await client.get_pvc("a", "p")
            now += 40
        api.answers = [(401, {}), (200, {})]
        with pytest.raises(KubernetesForbiddenError):
            await client.get_pvc("a", "p")
        token.write_text("fifth")
        await client.get_pvc("a", "p")
    assert api.tokens == [
        None,
        *(f"Bearer {text}" for text in ("first", "first", "third", "third", "fourth", "fifth")),
    ]


async def test_answer_that_is_no_object_is_an_error(api: ScriptedApi, client: KubernetesClient) -> None:
    api.answers = [(200, ["no"])]
    with pytest.raises(KubernetesError, match="not a JSON object"):
        await client.get_pvc("team-a", "p")


async def test_secret_that_is_not_base64_is_an_error_without_its_value(
    api: ScriptedApi, client: KubernetesClient
) -> None:
    api.answers = [(200, {"data": {"k": "!hidden!"}})]
    with pytest.raises(KubernetesError) as caught:
        await client.get_secret("team-a", "s")
    assert "hidden" not in str(caught.value)


def test_there_is_no_client_outside_a_cluster(tmp_path: Path) -> None:
    assert KubernetesClient.in_cluster({}, directory=tmp_path) is None
    assert KubernetesClient.in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, directory=tmp_path) is None


@pytest.mark.parametrize("host", ["10.0.0.1", "fd00::1"])
async def test_client_inside_a_cluster_uses_the_service_account(tmp_path: Path, host: str) -> None:
    (tmp_path / "token").write_text("t")
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "6443"}
    client = KubernetesClient.in_cluster(environ, directory=tmp_path)
    assert client is not None
    url = client._http.base_url
    assert (url.scheme, url.host, url.port) == ("https", host, 6443)
    await client.aclose()
