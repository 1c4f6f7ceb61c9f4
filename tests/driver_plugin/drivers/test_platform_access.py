"""Whose rights a claim is created and deleted with: the caller's own, whoever's account the service uses.

Oracle: the rules of spec DEPLOY 3.4 for a service that many accounts call; Kubernetes is a scripted server,
asked by the real client. In the sidecar the service's account is the caller's, and Kubernetes decides alone.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from driver_plugin.argo.arguments import Caller
from driver_plugin.argo.driver_type import DriverType
from driver_plugin.kubernetes import KubernetesClient
from driver_plugin.settings import Settings
from kfp_api.messages import TaskState
from tests.driver_plugin.drivers.pipelines import Json, constant, leaf, pipeline, task
from tests.driver_plugin.drivers.stack import NAMESPACE, Stack

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
CLAIMS = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
CALLER = Caller(
    f"system:serviceaccount:{NAMESPACE}:editor", ("system:serviceaccounts", "system:authenticated")
)


@dataclass
class Server:
    """Answers reviews with ``review`` and everything else with ``status``; remembers what it was asked."""

    review: Json = field(default_factory=lambda: {"allowed": True})
    status: int = 200
    asked: list[tuple[str, str]] = field(default_factory=list)
    reviewed: list[Json] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path))
        if request.path == REVIEWS:
            self.reviewed.append((await request.json())["spec"])
            return web.json_response({"status": self.review}, status=201)
        return web.json_response({"message": "claims are forbidden"}, status=self.status)


@pytest.fixture
async def server(stack: Stack) -> AsyncIterator[Server]:
    scripted = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", scripted.handle)
    async with (
        TestServer(app) as running,
        KubernetesClient(str(running.make_url("")), retry_wait_seconds=0) as client,
    ):
        stack.services = replace(stack.services, kubernetes=client)
        yield scripted


def central(stack: Stack) -> None:
    """Let the service be one that many accounts call."""
    settings = stack.services.settings.model_copy(update={"caller_auth": "token-review"})
    stack.services = replace(stack.services, settings=settings)


def operations() -> Json:
    create: dict[str, Any] = {"access_modes": ["ReadWriteOnce"], "size": "1Gi", "pvc_name": "shared"}
    inputs = {key: "LIST" if key == "access_modes" else "STRING" for key in create}
    return pipeline(
        {
            "createpvc": task("comp-create", inputs={key: constant(value) for key, value in create.items()}),
            "deletepvc": task("comp-delete", inputs={"pvc_name": constant("shared")}),
        },
        {
            "comp-create": leaf("exec-create", inputs=inputs, outputs={"name": "STRING"}),
            "comp-delete": leaf("exec-delete", inputs={"pvc_name": "STRING"}),
        },
        images={"exec-create": "argostub/createpvc", "exec-delete": "argostub/deletepvc"},
    )


@pytest.mark.parametrize(
    ("request_line", "reviewed"),
    [
        (("POST", CLAIMS), {"verb": "create"}),
        (("DELETE", f"{CLAIMS}/shared"), {"verb": "delete", "name": "shared"}),
    ],
)
async def test_a_write_for_a_caller_is_preceded_by_a_review_of_his_rights(
    stack: Stack, server: Server, request_line: tuple[str, str], reviewed: Json
) -> None:
    central(stack)
    run = await stack.start(operations())
    await run.container(f"{reviewed['verb']}pvc", caller=CALLER)
    assert server.asked == [("POST", REVIEWS), request_line]
    assert server.reviewed == [
        {
            "user": CALLER.user,
            "groups": list(CALLER.groups),
            "resourceAttributes": {
                "namespace": NAMESPACE,
                "resource": "persistentvolumeclaims",
                **reviewed,
            },
        }
    ]


@pytest.mark.parametrize("name", ["createpvc", "deletepvc"])
async def test_a_caller_without_the_right_fails_with_the_reason_and_nothing_is_written(
    stack: Stack, server: Server, name: str
) -> None:
    server.review = {"allowed": False, "reason": "no RBAC policy matched"}
    run = await stack.start(operations())
    failure = await run.failing(DriverType.CONTAINER, name, caller=CALLER)
    assert f'task "{name}": failed to' in str(failure)
    assert f"{CALLER.user} may not" in str(failure)
    assert "no RBAC policy matched" in str(failure)
    assert (await run.row(failure.partial.task_id)).state is TaskState.FAILED
    assert server.asked == [("POST", REVIEWS)]


async def test_a_service_for_many_accounts_writes_for_nobody_it_does_not_know(
    stack: Stack, server: Server
) -> None:
    central(stack)
    run = await stack.start(operations())
    failure = await run.failing(DriverType.CONTAINER, "createpvc")
    assert "the caller is not known" in str(failure)
    assert server.asked == []


@pytest.mark.parametrize("name", ["createpvc", "deletepvc"])
async def test_in_the_sidecar_kubernetes_decides_and_its_refusal_is_the_message(
    stack: Stack, server: Server, name: str
) -> None:
    assert stack.services.settings.caller_auth == Settings().caller_auth == "agent-token"
    server.status = 403
    run = await stack.start(operations())
    failure = await run.failing(DriverType.CONTAINER, name)
    assert "403 claims are forbidden" in str(failure)
    assert (await run.row(failure.partial.task_id)).state is TaskState.FAILED
    assert len(server.asked) == 1
