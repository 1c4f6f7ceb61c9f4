"""Identity and access in multi-user mode. Oracle: spec KFP_API section 9 (headers, audiences, the table of
SubjectAccessReviews, which calls a run-bound token can make) and DEPLOY 6.2.

Kubernetes is played: tokens are texts that name their user and audiences, rights are a set.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from local_stack.api_server.authorization import MultiUser, ResourceAttributes, TokenReviewStatus

from .conftest import SPEC, Api, MakeApi, Wire, external_message

BASE = "pipelines.kubeflow.org"
USER_HEADER = "kubeflow-userid"


@dataclass
class Cluster:
    """Plays TokenReview and SubjectAccessReview, and remembers what was asked."""

    denied: set[tuple[str, str]] = field(default_factory=set)
    """Verbs on resources that nobody may use."""

    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def token_review(self, token: str, audiences: Sequence[str]) -> TokenReviewStatus | None:
        user, _, own = token.partition("@")
        matched = frozenset(own.split(",")) & frozenset(audiences)
        return TokenReviewStatus(user=user, audiences=matched) if matched else None

    def subject_access_review(self, user: str, attributes: ResourceAttributes) -> bool:
        self.asked.append((attributes.verb, attributes.resource, attributes.namespace))
        if user == "alice" and attributes.namespace == "team-a":
            return (attributes.verb, attributes.resource) not in self.denied
        return user == "admin"


@dataclass
class Tenant:
    """A server with a run, a task and an artifact in namespace ``team-a``."""

    api: Api
    cluster: Cluster
    experiment: str
    run: str
    task: str
    artifact: str

    def bound(self, run: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer alice@{BASE}/runs/{run or self.run}"}


def as_user(name: str) -> dict[str, str]:
    return {USER_HEADER: name}


def broad(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}@{BASE}"}


def _artifact_body(run: str, task: str, namespace: str = "team-a") -> Wire:
    artifact = {"name": "m", "type": "Model", "uri": "s3://b/m", "namespace": namespace}
    return {"run_id": run, "task_id": task, "producer_key": "m", "artifact": artifact}


async def _make_tenant(make_api: MakeApi, **mode: Any) -> Tenant:
    cluster = Cluster()
    settings: dict[str, Any] = {"user_header": USER_HEADER, "user_prefix": "", **mode}
    api = await make_api(multi_user=MultiUser(reviews=cluster, **settings))
    api.headers = as_user(settings["user_prefix"] + "admin")
    experiment = await api.post("/experiments", {"display_name": "e", "namespace": "team-a"})
    run = await api.run(experiment_id=experiment["experiment_id"])
    task = await api.task(run, state="SUCCEEDED", cache_fingerprint="f")
    artifact = await api.post("/artifacts", _artifact_body(run, task))
    api.headers = {}
    cluster.asked.clear()
    return Tenant(api, cluster, experiment["experiment_id"], run, task, artifact["artifact_id"])


@pytest.fixture
async def tenant(make_api: MakeApi) -> Tenant:
    return await _make_tenant(make_api)


Request = Callable[[Tenant], tuple[str, str, Wire | None, dict[str, str]]]


def _link(tenant: Tenant) -> Wire:
    return {
        "artifact_id": tenant.artifact,
        "task_id": tenant.task,
        "run_id": tenant.run,
        "type": "OUTPUT",
        "producer": {},
        "key": "other",
    }


# Every call: what it asks of SubjectAccessReview, and whether a run-bound token can make it.
CALLS: dict[str, tuple[list[tuple[str, str]], bool, Request]] = {
    "GetRun": ([("get", "runs")], True, lambda t: ("GET", f"/runs/{t.run}", None, {})),
    "GetTask": ([("get", "runs")], True, lambda t: ("GET", f"/runs/{t.run}/tasks/{t.task}", None, {})),
    "ListTasks": ([("get", "runs")], True, lambda t: ("GET", f"/runs/{t.run}/tasks", None, {})),
    "ListArtifactTasks by run": (
        [("get", "runs")],
        True,
        lambda t: ("GET", "/artifact_tasks", None, {"run_ids": t.run}),
    ),
    "ListArtifactTasks by task": (
        [("get", "runs")],
        True,
        lambda t: ("GET", "/artifact_tasks", None, {"task_ids": t.task}),
    ),
    "ListArtifactTasks by artifact": (
        [("get", "runs")],
        False,
        lambda t: ("GET", "/artifact_tasks", None, {"artifact_ids": t.artifact}),
    ),
    "CreateTask": (
        [("update", "runs")],
        True,
        lambda t: ("POST", f"/runs/{t.run}/tasks", {"name": "n"}, {}),
    ),
    "UpdateTask": ([("update", "runs")], True, lambda t: ("PATCH", f"/runs/{t.run}/tasks/{t.task}", {}, {})),
    "UpdateTasksBulk": (
        [("update", "runs")],
        True,
        lambda t: ("POST", f"/runs/{t.run}/tasks:batchUpdate", {"tasks": {t.task: {}}}, {}),
    ),
    "CreateArtifact": (
        [("create", "artifacts"), ("update", "runs")],
        True,
        lambda t: ("POST", "/artifacts", _artifact_body(t.run, t.task), {}),
    ),
    "CreateArtifactsBulk": (
        [("create", "artifacts"), ("update", "runs")],
        True,
        lambda t: ("POST", "/artifacts:batchCreate", {"artifacts": [_artifact_body(t.run, t.task)]}, {}),
    ),
    "CreateArtifactTask": (
        [("create", "artifacts"), ("update", "runs")],
        True,
        lambda t: ("POST", "/artifact_tasks", {"artifact_task": _link(t)}, {}),
    ),
    "CreateArtifactTasksBulk": (
        [("create", "artifacts"), ("update", "runs")],
        True,
        lambda t: ("POST", "/artifact_tasks:batchCreate", {"artifact_tasks": [_link(t)]}, {}),
    ),
    "FindCachedTask": (
        [("list", "runs")],
        False,
        lambda _: ("POST", "/tasks:findCached", {"namespace": "team-a", "cache_fingerprint": "f"}, {}),
    ),
    "ListRuns": ([("list", "runs")], False, lambda _: ("GET", "/runs", None, {"namespace": "team-a"})),
    "GetArtifact": ([("get", "artifacts")], False, lambda t: ("GET", f"/artifacts/{t.artifact}", None, {})),
    "ListArtifacts": (
        [("list", "artifacts")],
        False,
        lambda _: ("GET", "/artifacts", None, {"namespace": "team-a"}),
    ),
    "CreateRun": (
        [("create", "runs")],
        False,
        lambda t: (
            "POST",
            "/runs",
            {"display_name": "r", "pipeline_spec": SPEC, "experiment_id": t.experiment},
            {},
        ),
    ),
    "ArchiveRun": ([("archive", "runs")], True, lambda t: ("POST", f"/runs/{t.run}:archive", None, {})),
    "UnarchiveRun": ([("unarchive", "runs")], True, lambda t: ("POST", f"/runs/{t.run}:unarchive", None, {})),
    "TerminateRun": ([("terminate", "runs")], True, lambda t: ("POST", f"/runs/{t.run}:terminate", None, {})),
    "DeleteRun": ([("delete", "runs")], True, lambda t: ("DELETE", f"/runs/{t.run}", None, {})),
}


async def send(tenant: Tenant, name: str, headers: dict[str, str], *, status: int) -> Any:
    method, path, body, params = CALLS[name][2](tenant)
    return await tenant.api.call(method, path, body, params=params, headers=headers, status=status)


@pytest.mark.parametrize("name", CALLS)
async def test_every_call_asks_for_its_right(tenant: Tenant, name: str) -> None:
    rights = CALLS[name][0]
    for verb, resource in rights:
        tenant.cluster.denied = {(verb, resource)}
        refused = await send(tenant, name, as_user("alice"), status=403)
        assert external_message(refused) == (
            f'User "alice" is not authorized to {verb} {resource} in namespace "team-a"'
        )
    tenant.cluster.denied.clear()
    await send(tenant, name, as_user("mallory"), status=403)
    await send(tenant, name, {}, status=401)
    tenant.cluster.asked.clear()
    await send(tenant, name, as_user("alice"), status=200)
    assert set(tenant.cluster.asked) == {(*right, "team-a") for right in rights}


@pytest.mark.parametrize("name", CALLS)
async def test_a_base_audience_token_is_enough_for_every_call(tenant: Tenant, name: str) -> None:
    await send(tenant, name, broad("alice"), status=200)


@pytest.mark.parametrize("name", CALLS)
async def test_a_run_bound_token_works_for_the_calls_that_name_its_run(tenant: Tenant, name: str) -> None:
    await send(tenant, name, tenant.bound("another-run"), status=401)
    await send(tenant, name, tenant.bound(), status=200 if CALLS[name][1] else 401)


async def test_the_bound_run_header_lets_a_run_bound_token_look_up_the_cache(tenant: Tenant) -> None:
    bound = {**tenant.bound(), "x-kfp-bound-run-id": tenant.run}
    found = await send(tenant, "FindCachedTask", bound, status=200)
    assert found["task"]["task_id"] == tenant.task
    elsewhere = {"namespace": "team-b", "cache_fingerprint": "f"}
    error = await tenant.api.call("POST", "/tasks:findCached", elsewhere, headers=bound, status=403)
    assert external_message(error) == f"bound run {tenant.run} is not in namespace team-b"
    unknown = {**tenant.bound(), "x-kfp-bound-run-id": "nobody"}
    await send(tenant, "FindCachedTask", unknown, status=404)


async def test_the_identity_header_wins_over_the_token_and_needs_its_prefix(make_api: MakeApi) -> None:
    tenant = await _make_tenant(make_api, user_prefix="mail:")
    await send(tenant, "GetRun", as_user("alice"), status=401)
    await send(tenant, "GetRun", {**as_user("mail:mallory"), **broad("alice")}, status=403)
    await send(tenant, "GetRun", as_user("mail:alice"), status=200)


async def test_shared_read_lets_every_reader_pass(make_api: MakeApi) -> None:
    tenant = await _make_tenant(make_api, shared_read=True)
    for name, (rights, _, _) in CALLS.items():
        if {verb for verb, _ in rights} <= {"get", "list"}:
            await send(tenant, name, {}, status=200)
    await send(tenant, "UpdateTask", {}, status=401)


async def test_healthz_is_open_and_says_multi_user(tenant: Tenant) -> None:
    assert (await tenant.api.get("/healthz"))["multi_user"] is True


async def test_namespaces_are_demanded_kept_and_compared(tenant: Tenant) -> None:
    api = tenant.api
    api.headers = as_user("admin")
    for path in ("/runs", "/artifacts", "/experiments"):
        assert "namespace" in external_message(await api.get(path, status=400))
    no_namespace = {"cache_fingerprint": "f"}
    error = await api.post("/tasks:findCached", no_namespace, status=400)
    assert external_message(error) == "namespace is required in multi-user mode"
    error = await api.post("/runs", {"display_name": "r", "pipeline_spec": SPEC}, status=400)
    assert external_message(error) == "Experiment id can not be empty in multi-user mode"
    error = await api.post("/artifacts", _artifact_body(tenant.run, tenant.task, "team-b"), status=400)
    assert external_message(error) == (
        "artifact, task, and run must be in the same namespace: artifact=team-b task=team-a run=team-a"
    )
    assert (await api.get(f"/artifacts/{tenant.artifact}"))["namespace"] == "team-a"
    other = await api.post("/experiments", {"display_name": "e", "namespace": "team-b"})
    assert other["namespace"] == "team-b"
    assert (await api.get("/runs", namespace="team-b")) == {}
    assert (await api.get("/artifacts", namespace="team-b")) == {}
    elsewhere = {"namespace": "team-b", "cache_fingerprint": "f"}
    assert await api.post("/tasks:findCached", elsewhere) == {}


async def test_nobody_learns_from_a_refusal_what_exists(tenant: Tenant) -> None:
    for task in (tenant.task, "unknown"):
        await tenant.api.call(
            "GET", f"/runs/{tenant.run}/tasks/{task}", headers=as_user("mallory"), status=403
        )
