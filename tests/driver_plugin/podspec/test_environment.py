"""Environment of main: spec PODSPEC 4 and 10. ``upstream`` names what KFP emits where it differs."""

import asyncio
from typing import Any

import pytest

from driver_plugin.podspec.errors import PodSpecError
from driver_plugin.settings import Settings
from tests.driver_plugin.podspec.examples import IDENTITY_ENV, RecordedLog, built_patch, main_of

SECRET = {"secretName": "db", "keyToEnv": [{"secretKey": "pw", "envVar": "X"}]}
SECRET_ENV = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "db", "key": "pw"}}}
DEFAULT_NO_PROXY = [
    "localhost",
    "127.0.0.1",
    ".svc",
    ".svc.example.org",
    "kubernetes.default.svc",
    "minio-service.kubeflow",
    "minio-service.kubeflow.svc",
    "seaweedfs.kubeflow",
    "seaweedfs.kubeflow.svc",
    "ml-pipeline.kubeflow",
    "ml-pipeline.kubeflow.svc",
]


async def env_of(**given: Any) -> list[dict[str, Any]]:
    env: list[dict[str, Any]] = main_of(await built_patch(**given))["env"]
    return env


async def test_variables_are_assembled_in_order() -> None:
    env = await env_of(
        container={"env": [{"name": "A", "value": "{{$.inputs.parameters['x']}}"}, {"name": "EMPTY"}]},
        plugin_env=[{"name": "MLFLOW_RUN_ID", "value": "r"}],
        https_proxy="http://proxy:1",
        config={"secretAsEnv": [SECRET], "fieldPathAsEnv": [{"name": "NODE", "fieldPath": "spec.nodeName"}]},
    )
    names = [variable["name"] for variable in env]
    assert names == [
        *("A", "EMPTY", "MLFLOW_RUN_ID", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"),
        *("KFP_POD_NAME", "KFP_POD_UID", "NAMESPACE", "X", "NODE"),
    ]
    assert env[:2] == [{"name": "A", "value": "{{$.inputs.parameters['x']}}"}, {"name": "EMPTY"}]


@pytest.mark.parametrize("name", ["KFP_POD_NAME", "KFP_POD_UID", "NAMESPACE"])
@pytest.mark.parametrize(
    "source",
    [
        lambda name: {"container": {"env": [{"name": name, "value": "x"}]}},
        lambda name: {"config": {"secretAsEnv": [{"keyToEnv": [{"secretKey": "k", "envVar": name}]}]}},
        lambda name: {"config": {"configMapAsEnv": [{"keyToEnv": [{"configMapKey": "k", "envVar": name}]}]}},
        lambda name: {"config": {"fieldPathAsEnv": [{"name": name, "fieldPath": "spec.nodeName"}]}},
    ],
    ids=["container", "secret", "config map", "field path"],
)
async def test_reserved_name_is_refused_from_every_source(source: Any, name: str) -> None:
    with pytest.raises(
        PodSpecError, match=f'environment variable "{name}" is reserved for KFP runtime identity'
    ):
        await built_patch(**source(name))


async def test_retry_index_is_dropped_with_a_warning() -> None:
    log = RecordedLog()
    assert (
        await env_of(container={"env": [{"name": "KFP_RETRY_INDEX", "value": "1"}]}, log=log) == IDENTITY_ENV
    )
    assert any("KFP_RETRY_INDEX" in warning for warning in log.warnings)


async def test_later_definition_replaces_the_earlier_one_in_place() -> None:
    upstream = [{"name": "X", "value": "1"}, {"name": "B", "value": "2"}, *IDENTITY_ENV, SECRET_ENV]
    ours = await env_of(
        container={"env": [{"name": "X", "value": "1"}, {"name": "B", "value": "2"}]},
        config={"secretAsEnv": [SECRET]},
    )
    assert ours == [SECRET_ENV, {"name": "B", "value": "2"}, *IDENTITY_ENV]
    assert ours != upstream


async def test_plugin_cannot_change_the_identity() -> None:
    assert await env_of(plugin_env=[{"name": "NAMESPACE", "value": "other"}]) == [
        IDENTITY_ENV[2],
        *IDENTITY_ENV[:2],
    ]


async def test_proxies_come_in_both_spellings_with_cluster_addresses_excluded() -> None:
    env = await env_of(
        http_proxy="http://p:1",
        no_proxy=" example.com , localhost,,.corp",
        settings=Settings(cluster_domain="example.org"),
    )
    exempt = ["example.com", "localhost", ".corp"]
    no_proxy = ",".join([*exempt, *(one for one in DEFAULT_NO_PROXY if one not in exempt)])
    assert env[:-3] == [
        {"name": "http_proxy", "value": "http://p:1"},
        {"name": "HTTP_PROXY", "value": "http://p:1"},
        {"name": "no_proxy", "value": no_proxy},
        {"name": "NO_PROXY", "value": no_proxy},
    ]


async def test_no_proxy_stays_as_given_when_there_is_no_proxy() -> None:
    env = await env_of(no_proxy="a, b")
    assert [one["value"] for one in env[:2]] == ["a, b", "a, b"]
    assert await env_of() == IDENTITY_ENV


async def test_proxies_of_calls_at_the_same_time_stay_with_their_calls() -> None:
    hosts = [f"http://proxy-{index}:1" for index in range(20)]
    patches = await asyncio.gather(*(built_patch(http_proxy=host) for host in hosts))
    values = [
        {one["name"]: one.get("value") for one in main_of(patch)["env"]}["http_proxy"] for patch in patches
    ]
    assert values == hosts
