"""Tokens from TokenRequest, and tokens passed through. Oracle: spec DEPLOY 6.2 to 6.4 (audiences, renewal at
four fifths of the life, one re-request after a 401).
"""

import asyncio
from dataclasses import dataclass, field

import pytest

from kfp_api.client import KfpApiClient
from kfp_api.credentials import TOKENS_KEPT, CallerCredentials, IssuedToken, TokenRequestCredentials
from kfp_api.errors import ApiCredentialError

from .scripted_server import Reply, ScriptedServer

BASE = "pipelines.kubeflow.org"
ROW = {"task_id": "t", "run_id": "r", "inputs": {}, "outputs": {}}
REFUSAL = Reply(401, {"code": 16, "message": "no"})


@dataclass
class Kubernetes:
    """Issues tokens that name their audience and number; remembers the audiences asked for."""

    now: float = 0.0
    asked: list[str] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    async def request(self, audience: str) -> IssuedToken:
        self.asked.append(audience)
        await asyncio.sleep(0)
        return IssuedToken(token=f"{audience}#{len(self.asked)}", lifetime_seconds=3600)

    def credentials(self) -> TokenRequestCredentials:
        return TokenRequestCredentials(self.request, audience_base=BASE, clock=self.clock)


async def token(credentials: TokenRequestCredentials, run_id: str | None, *, base: bool = False) -> str:
    headers = await credentials.headers(run_id=run_id, base_audience=base)
    return headers["Authorization"].removeprefix("Bearer ")


async def test_each_run_has_its_own_audience_and_its_token_is_kept() -> None:
    kubernetes = Kubernetes()
    credentials = kubernetes.credentials()
    assert await token(credentials, "a") == f"{BASE}/runs/a#1"
    assert await token(credentials, "b") == f"{BASE}/runs/b#2"
    assert await token(credentials, "a") == f"{BASE}/runs/a#1"
    assert await token(credentials, "a", base=True) == f"{BASE}#3"
    assert await token(credentials, None) == f"{BASE}#3"
    assert len(kubernetes.asked) == 3


async def test_calls_that_come_together_share_one_request() -> None:
    kubernetes = Kubernetes()
    credentials = kubernetes.credentials()
    tokens = await asyncio.gather(*(token(credentials, "a") for _ in range(16)))
    assert set(tokens) == {f"{BASE}/runs/a#1"}


async def test_a_token_is_renewed_when_four_fifths_of_its_life_are_over() -> None:
    kubernetes = Kubernetes()
    credentials = kubernetes.credentials()
    await token(credentials, "a")
    kubernetes.now = 2879
    assert await token(credentials, "a") == f"{BASE}/runs/a#1"
    kubernetes.now = 2880
    assert await token(credentials, "a") == f"{BASE}/runs/a#2"


async def test_the_number_of_tokens_kept_is_bounded() -> None:
    kubernetes = Kubernetes()
    credentials = kubernetes.credentials()
    for number in range(TOKENS_KEPT + 1):
        await token(credentials, f"run-{number}")
    await token(credentials, "run-1")
    assert len(kubernetes.asked) == TOKENS_KEPT + 1
    await token(credentials, "run-0")
    assert len(kubernetes.asked) == TOKENS_KEPT + 2


async def test_a_refused_token_is_requested_once_more(server: ScriptedServer) -> None:
    kubernetes = Kubernetes()
    server.play(REFUSAL, Reply(200, ROW))
    async with KfpApiClient(server.url, credentials=kubernetes.credentials()) as client:
        await client.get_task("r", "t")
    sent = [asked.headers["Authorization"] for asked in server.asked]
    assert sent == [f"Bearer {BASE}/runs/r#1", f"Bearer {BASE}/runs/r#2"]


async def test_a_token_refused_twice_fails_the_call(server: ScriptedServer) -> None:
    server.play(REFUSAL, REFUSAL)
    async with KfpApiClient(server.url, credentials=Kubernetes().credentials()) as client:
        with pytest.raises(ApiCredentialError):
            await client.get_task("r", "t")
    assert len(server.asked) == 2


async def test_callers_tokens_are_passed_through_and_never_mixed(server: ScriptedServer) -> None:
    credentials = CallerCredentials()
    async with KfpApiClient(server.url, credentials=credentials) as client:

        async def serve(caller: str) -> None:
            with credentials.serving(caller):
                await client.get_task(caller, "t")

        server.play(*[Reply(200, ROW)] * 9)
        await asyncio.gather(*(serve(f"tenant-{number}") for number in range(8)))
        await client.get_task("nobody", "t")
    for asked in server.asked:
        caller = asked.path.split("/")[-3]
        expected = None if caller == "nobody" else f"Bearer {caller}"
        assert asked.headers.get("Authorization") == expected
