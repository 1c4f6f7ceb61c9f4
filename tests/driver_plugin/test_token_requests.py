"""KFP_TOKEN_MODE=tokenrequest: tokens that Kubernetes issues for the service's own account.

Oracle: spec DEPLOY 6.2 to 6.4 (which token a call carries, the request, renewal, what a refusal means),
Kubernetes' published schema of a TokenRequest, and the claims of a Secret's token as Kubernetes documents
them. Kubernetes and the KFP API are scripted servers.
"""

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from driver_plugin.argo.arguments import DriverCall, parse_driver_call
from driver_plugin.argo.replies import DriverResult
from driver_plugin.drivers import opening
from driver_plugin.drivers.dispatch import DriverServices
from driver_plugin.drivers.token_requests import requested_credentials
from driver_plugin.driving import BackgroundDrivers
from driver_plugin.errors import ConfigurationError
from driver_plugin.kubernetes import KubernetesClient, KubernetesError
from driver_plugin.metrics import Metrics
from driver_plugin.own_account import OwnAccount
from driver_plugin.settings import Settings
from driver_plugin.system_logs.capture import InvocationLog
from kfp_api.client import KfpApiClient
from kfp_api.errors import ApiCredentialError, ApiUnavailableError
from tests.driver_plugin.calls import WORKFLOW, root_args
from tests.kfp_api.scripted_server import Reply, ScriptedServer
from tests.kubernetes_schema import assert_valid

BASE = "pipelines.kubeflow.org"
ACCOUNT = OwnAccount(
    namespace="team-a",
    name="kfp-driver-executor-plugin",
    secret="kfp-driver-executor-plugin.service-account-token",
)
ROW = {"task_id": "t", "run_id": "r", "inputs": {}, "outputs": {}}
IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


class Kubernetes:
    """Answers every TokenRequest with a token that names its audience and number, or with its refusal."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.status: dict[str, Any] | None = None
        self.lifetime = timedelta(hours=1)
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append((request.method, request.path, body))
        if self.refusal is not None:
            return web.json_response(self.refusal[1], status=self.refusal[0])
        expires = (datetime.now(UTC) + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        token = f"{body['spec']['audiences'][0]}#{len(self.asked)}"
        status = self.status or {"token": token, "expirationTimestamp": expires}
        return web.json_response({**body, "status": status}, status=201)


@pytest.fixture
async def kubernetes() -> AsyncIterator[Kubernetes]:
    scripted = Kubernetes()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", scripted.handle)
    async with TestServer(app) as server:
        scripted.url = str(server.make_url("")).rstrip("/")
        yield scripted


@pytest.fixture
async def kfp() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest.fixture
async def client(kubernetes: Kubernetes, kfp: ScriptedServer) -> AsyncIterator[KfpApiClient]:
    async with KubernetesClient(kubernetes.url, retry_wait_seconds=0) as asked:
        credentials = requested_credentials(asked, ACCOUNT, audience_base=BASE)
        async with KfpApiClient(kfp.url, credentials=credentials) as opened:
            yield opened


def sent(kfp: ScriptedServer) -> list[str]:
    return [asked.headers["Authorization"].removeprefix("Bearer ") for asked in kfp.asked]


async def test_each_run_gets_a_token_of_its_own_and_the_cache_lookup_one_with_the_base_audience(
    kfp: ScriptedServer, client: KfpApiClient
) -> None:
    kfp.play(*[Reply(200, ROW)] * 3, Reply(200, {}))
    for run_id in ("r", "r", "other"):
        await client.get_task(run_id, "t")
    await client.find_cached_task(namespace="team-a", cache_fingerprint="f", run_id="r")
    assert sent(kfp) == [f"{BASE}/runs/r#1", f"{BASE}/runs/r#1", f"{BASE}/runs/other#2", f"{BASE}#3"]


async def test_the_request_is_a_valid_one_for_the_own_account_bound_to_its_secret(
    kubernetes: Kubernetes, kfp: ScriptedServer, client: KfpApiClient
) -> None:
    kfp.play(Reply(200, ROW))
    await client.get_task("r", "t")
    [(method, path, body)] = kubernetes.asked
    assert (method, path) == (
        "POST",
        "/api/v1/namespaces/team-a/serviceaccounts/kfp-driver-executor-plugin/token",
    )
    assert body == {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": [f"{BASE}/runs/r"],
            "expirationSeconds": 3600,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": ACCOUNT.secret},
        },
    }
    assert_valid(body)


async def test_a_token_whose_life_is_over_is_requested_anew(
    kubernetes: Kubernetes, kfp: ScriptedServer, client: KfpApiClient
) -> None:
    kubernetes.lifetime = timedelta(seconds=-1)
    kfp.play(*[Reply(200, ROW)] * 2)
    for _ in range(2):
        await client.get_task("r", "t")
    assert sent(kfp) == [f"{BASE}/runs/r#1", f"{BASE}/runs/r#2"]


async def test_a_token_that_the_kfp_api_refuses_is_requested_once_more(
    kfp: ScriptedServer, client: KfpApiClient
) -> None:
    kfp.play(Reply(401, {"code": 16, "message": "no"}), Reply(200, ROW))
    await client.get_task("r", "t")
    assert sent(kfp) == [f"{BASE}/runs/r#1", f"{BASE}/runs/r#2"]


@pytest.mark.parametrize(
    ("status", "kind"), [(403, ApiCredentialError), (404, ApiCredentialError), (503, ApiUnavailableError)]
)
async def test_a_request_that_kubernetes_refuses_fails_the_call_and_sends_nothing(
    kubernetes: Kubernetes, kfp: ScriptedServer, status: int, kind: type[Exception]
) -> None:
    kubernetes.refusal = (status, {"kind": "Status", "message": "serviceaccounts/token: no"})
    async with KubernetesClient(kubernetes.url, retry_wait_seconds=0) as asked:
        credentials = requested_credentials(asked, ACCOUNT, audience_base=BASE)
        # A Kubernetes that is down is asked again while the call has time.
        async with kfp.client(credentials=credentials, retry_deadline_seconds=0.1) as client:
            with pytest.raises(kind, match=f"no token for the KFP API: POST /api/.*: {status} service"):
                await client.get_task("r", "t")
    assert kfp.asked == []


@pytest.mark.parametrize(
    "status",
    [
        {"token": "secret-text"},
        {"token": "", "expirationTimestamp": "2026-01-01T00:00:00Z"},
        {"token": "secret-text", "expirationTimestamp": "2026-01-01T00:00:00"},
        {"token": "secret-text", "expirationTimestamp": "soon"},
    ],
)
async def test_an_answer_without_a_token_or_its_end_is_an_error_that_shows_no_token(
    kubernetes: Kubernetes, status: dict[str, Any]
) -> None:
    kubernetes.status = status
    async with KubernetesClient(kubernetes.url, retry_wait_seconds=0) as client:
        with pytest.raises(KubernetesError, match="no token with an end") as caught:
            await client.create_token("team-a", "a", audience=BASE, lifetime_seconds=3600)
    assert "secret-text" not in str(caught.value)
    assert "boundObjectRef" not in kubernetes.asked[0][2]["spec"]


def web_token(claims: object) -> str:
    parts = ({"alg": "RS256"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "signature"])


@pytest.mark.parametrize("secret", [ACCOUNT.secret, ""], ids=["token of a Secret", "projected token"])
def test_the_account_is_the_one_of_the_mounted_token(tmp_path: Path, secret: str) -> None:
    claims = {"sub": "system:serviceaccount:team-a:kfp-driver-executor-plugin"}
    if secret:
        claims["kubernetes.io/serviceaccount/secret.name"] = secret
    (tmp_path / "token").write_text(web_token(claims) + "\n")
    assert OwnAccount.read(IN_CLUSTER, directory=tmp_path) == OwnAccount(
        namespace="team-a", name="kfp-driver-executor-plugin", secret=secret
    )


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (None, "needs a JSON web token"),
        ("opaque", "needs a JSON web token"),
        ("a.é.c", "needs a JSON web token"),
        ("a.b.c", "needs a JSON web token"),
        (web_token(["list"]), "needs a JSON web token"),
        (web_token({}), "not a service account's"),
        (web_token({"sub": "system:node:n"}), "not a service account's"),
        (web_token({"sub": "system:serviceaccount:team-a"}), "not a service account's"),
    ],
)
def test_without_an_account_the_service_does_not_start(
    tmp_path: Path, token: str | None, problem: str
) -> None:
    if token is not None:
        (tmp_path / "token").write_text(token)
    with pytest.raises(ConfigurationError, match=f"^KFP_TOKEN_MODE: .*{problem}") as caught:
        OwnAccount.read(IN_CLUSTER, directory=tmp_path)
    assert token is None or token not in str(caught.value)


def test_outside_a_cluster_the_service_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match=r"^KFP_TOKEN_MODE: .* inside a cluster only"):
        BackgroundDrivers(Settings(token_mode="tokenrequest"), Metrics())


async def test_drivers_of_the_service_send_requested_tokens(
    kubernetes: Kubernetes, kfp: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read_row(_call: DriverCall, services: DriverServices, _log: InvocationLog) -> DriverResult:
        await services.client.get_task("r", "t")
        return DriverResult()

    monkeypatch.setattr(opening, "run_driver", read_row)
    monkeypatch.setattr(KubernetesClient, "in_cluster", lambda: KubernetesClient(kubernetes.url))
    monkeypatch.setattr(OwnAccount, "read", lambda: ACCOUNT)
    settings = Settings(api_url=kfp.url, token_mode="tokenrequest", token_audience_base="base.example")
    kfp.play(Reply(200, ROW))
    async with BackgroundDrivers(settings, Metrics()) as drivers:
        call = parse_driver_call(root_args(), workflow=WORKFLOW, settings=settings)
        await drivers.drive(call, InvocationLog("i"))
    assert sent(kfp) == ["base.example/runs/r#1"]
