"""Each feature of a Kubernetes config: the in/out examples and null rules of spec PODSPEC 7.4 to 7.14."""

from typing import Any

import pytest

from driver_plugin.podspec.errors import PodSpecError
from tests.driver_plugin.podspec.examples import (
    IDENTITY_ENV,
    RecordedLog,
    built_patch,
    main_of,
    resolve_context,
)

CONTEXT = {
    "s": "db",
    "nothing": None,
    "number": 7,
    "empty": "",
    "selector": {"disk": "ssd"},
    "toleration": {
        "key": "b",
        "operator": "Equal",
        "value": "1",
        "effect": "NoExecute",
        "tolerationSeconds": 60,
    },
    "tolerations": [{"KEY": "x", "Operator": "Exists", "unknown": 1, "value": None}, {}],
}
OUTPUTS = {"createpvc": {"name": "claim-1"}}


def constant(value: Any) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}


def component_input(name: str) -> dict[str, Any]:
    return {"componentInputParameter": name}


async def extended(config: dict[str, Any], **given: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the config added: to the pod, and to main."""
    patch = await built_patch(config=config, context=resolve_context(CONTEXT, OUTPUTS), **given)
    main = {
        key: value
        for key, value in main_of(patch).items()
        if key not in {"name", "image", "command", "resources"}
    }
    main["env"] = [variable for variable in main["env"] if variable not in IDENTITY_ENV]
    del patch["containers"]
    return patch, {key: value for key, value in main.items() if value}


def claim(name: str) -> dict[str, Any]:
    return {"name": name, "persistentVolumeClaim": {"claimName": name}}


EXAMPLES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "empty config": ({}, {}, {}),
    "pvc from a task output": (
        {
            "pvcMount": [
                {
                    "mountPath": "/data",
                    "subPath": "models",
                    "pvcNameParameter": {
                        "taskOutputParameter": {"producerTask": "createpvc", "outputParameterKey": "name"}
                    },
                }
            ]
        },
        {"volumes": [claim("claim-1")]},
        {"volumeMounts": [{"name": "claim-1", "mountPath": "/data", "subPath": "models"}]},
    ),
    "pvc by deprecated constant": (
        {"pvcMount": [{"constant": "p", "mountPath": "/d"}]},
        {"volumes": [claim("p")]},
        {"volumeMounts": [{"name": "p", "mountPath": "/d"}]},
    ),
    "pvc by deprecated component input": (
        {"pvcMount": [{"componentInputParameter": "s", "mountPath": "/d"}]},
        {"volumes": [claim("db")]},
        {"volumeMounts": [{"name": "db", "mountPath": "/d"}]},
    ),
    "pvc by deprecated task output": (
        {
            "pvcMount": [
                {
                    "taskOutputParameter": {"producerTask": "createpvc", "outputParameterKey": "name"},
                    "mountPath": "/d",
                }
            ]
        },
        {"volumes": [claim("claim-1")]},
        {"volumeMounts": [{"name": "claim-1", "mountPath": "/d"}]},
    ),
    "pvc with both forms": (
        {"pvcMount": [{"constant": "old", "pvcNameParameter": constant("new"), "mountPath": "/d"}]},
        {"volumes": [claim("new")]},
        {"volumeMounts": [{"name": "new", "mountPath": "/d"}]},
    ),
    "pull policy": ({"imagePullPolicy": "Always"}, {}, {"imagePullPolicy": "Always"}),
    "node selector labels": (
        {"nodeSelector": {"labels": {"disk": "ssd"}}},
        {"nodeSelector": {"disk": "ssd"}},
        {},
    ),
    "node selector json wins": (
        {"nodeSelector": {"labels": {"x": "y"}, "nodeSelectorJson": component_input("selector")}},
        {"nodeSelector": {"disk": "ssd"}},
        {},
    ),
    "empty node selector": ({"nodeSelector": {"nodeSelectorJson": constant({})}}, {}, {}),
    "tolerations": (
        {
            "tolerations": [
                {"key": "a", "operator": "Exists"},
                {"tolerationJson": component_input("toleration"), "key": "ignored"},
            ]
        },
        {
            "tolerations": [
                {"key": "a", "operator": "Exists"},
                {
                    "key": "b",
                    "operator": "Equal",
                    "value": "1",
                    "effect": "NoExecute",
                    "tolerationSeconds": 60,
                },
            ]
        },
        {},
    ),
    "toleration list in any case": (
        {"tolerations": [{"tolerationJson": component_input("tolerations")}]},
        {"tolerations": [{"key": "x", "operator": "Exists"}]},
        {},
    ),
    "toleration seconds as text": (
        {"tolerations": [{"key": "a", "tolerationSeconds": "0"}]},
        {"tolerations": [{"key": "a", "tolerationSeconds": 0}]},
        {},
    ),
    "secret and config map volumes": (
        {
            "secretAsVolume": [
                {"secretNameParameter": component_input("s"), "mountPath": "/sec", "optional": True}
            ],
            "configMapAsVolume": [{"configMapName": "cm1", "mountPath": "/cm"}],
        },
        {
            "volumes": [
                {"name": "db", "secret": {"secretName": "db", "optional": True}},
                {"name": "cm1", "configMap": {"name": "cm1", "optional": False}},
            ]
        },
        {"volumeMounts": [{"name": "db", "mountPath": "/sec"}, {"name": "cm1", "mountPath": "/cm"}]},
    ),
    "secret env": (
        {
            "secretAsEnv": [
                {
                    "secretName": "db",
                    "keyToEnv": [{"secretKey": "pw", "envVar": "DB_PW"}],
                    "optional": False,
                }
            ]
        },
        {},
        {
            "env": [
                {
                    "name": "DB_PW",
                    "valueFrom": {"secretKeyRef": {"name": "db", "key": "pw", "optional": False}},
                }
            ]
        },
    ),
    "config map env": (
        {
            "configMapAsEnv": [
                {
                    "configMapNameParameter": constant("cm"),
                    "keyToEnv": [{"configMapKey": "k", "envVar": "K"}],
                }
            ]
        },
        {},
        {"env": [{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}}]},
    ),
    "image pull secrets without duplicates": (
        {
            "imagePullSecret": [
                {"secretName": "r"},
                {"secretNameParameter": component_input("s")},
                {"secretName": "r"},
            ]
        },
        {"imagePullSecrets": [{"name": "r"}, {"name": "db"}]},
        {},
    ),
    "field path": (
        {"fieldPathAsEnv": [{"name": "NODE", "fieldPath": "spec.nodeName"}]},
        {},
        {"env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]},
    ),
    "deadline": ({"activeDeadlineSeconds": "3600"}, {"activeDeadlineSeconds": 3600}, {}),
    "negative deadline": ({"activeDeadlineSeconds": -1}, {}, {}),
    "ephemeral volume": (
        {
            "genericEphemeralVolume": [
                {
                    "volumeName": "scratch",
                    "mountPath": "/s",
                    "accessModes": ["ReadWriteOnce"],
                    "size": "5Gi",
                    "storageClassName": "fast",
                    "metadata": {"labels": {"a": "b"}},
                }
            ]
        },
        {
            "volumes": [
                {
                    "name": "scratch",
                    "ephemeral": {
                        "volumeClaimTemplate": {
                            "metadata": {"labels": {"a": "b"}},
                            "spec": {
                                "accessModes": ["ReadWriteOnce"],
                                "resources": {"requests": {"storage": "5Gi"}},
                                "storageClassName": "fast",
                            },
                        }
                    },
                }
            ]
        },
        {"volumeMounts": [{"name": "scratch", "mountPath": "/s"}]},
    ),
    "ephemeral volume of the default class": (
        {
            "genericEphemeralVolume": [
                {"volumeName": "v", "mountPath": "/s", "size": "1.5Gi", "defaultStorageClass": True}
            ]
        },
        {
            "volumes": [
                {
                    "name": "v",
                    "ephemeral": {
                        "volumeClaimTemplate": {
                            "metadata": {},
                            "spec": {"resources": {"requests": {"storage": "1536Mi"}}},
                        }
                    },
                }
            ]
        },
        {"volumeMounts": [{"name": "v", "mountPath": "/s"}]},
    ),
    "empty dir": (
        {
            "emptyDirMounts": [
                {"volumeName": "shm", "mountPath": "/dev/shm", "medium": "Memory", "sizeLimit": "1Gi"},
                {"volumeName": "tmp", "mountPath": "/t"},
            ]
        },
        {
            "volumes": [
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
                {"name": "tmp", "emptyDir": {}},
            ]
        },
        {"volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "tmp", "mountPath": "/t"}]},
    ),
    "preferred node affinity": (
        {
            "nodeAffinity": [
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}], "weight": 50}
            ]
        },
        {
            "affinity": {
                "nodeAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "weight": 50,
                            "preference": {
                                "matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]
                            },
                        }
                    ]
                }
            }
        },
        {},
    ),
    "required node affinity from terms and json": (
        {
            "nodeAffinity": [
                {"matchFields": [{"key": "metadata.name", "operator": "Exists"}]},
                {
                    "nodeAffinityJson": constant(
                        {
                            "requiredDuringSchedulingIgnoredDuringExecution": {
                                "nodeSelectorTerms": [
                                    {"matchExpressions": [{"key": "k", "operator": "Exists"}]}
                                ]
                            },
                            "PreferredDuringSchedulingIgnoredDuringExecution": [{"preference": {}}],
                        }
                    )
                },
                {},
            ]
        },
        {
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchFields": [{"key": "metadata.name", "operator": "Exists"}]},
                            {"matchExpressions": [{"key": "k", "operator": "Exists"}]},
                        ]
                    },
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "preference": {}}],
                }
            }
        },
        {},
    ),
    "snake case": (
        {"config_map_as_volume": [{"config_map_name": "c", "mount_path": "/c"}]},
        {"volumes": [{"name": "c", "configMap": {"name": "c", "optional": False}}]},
        {"volumeMounts": [{"name": "c", "mountPath": "/c"}]},
    ),
    "placeholder of the run": (
        {"pvcMount": [{"pvcNameParameter": constant("{{$.pipeline_job_resource_name}}"), "mountPath": "/d"}]},
        {"volumes": [claim("wf-x")]},
        {"volumeMounts": [{"name": "wf-x", "mountPath": "/d"}]},
    ),
}


@pytest.mark.parametrize(("config", "pod", "main"), EXAMPLES.values(), ids=EXAMPLES)
async def test_feature_becomes_its_part_of_the_pod(
    config: dict[str, Any], pod: dict[str, Any], main: dict[str, Any]
) -> None:
    assert await extended(config) == (pod, main)


@pytest.mark.parametrize("null", [component_input("nothing"), component_input("absent"), constant(None)])
@pytest.mark.parametrize(
    "entry",
    [
        lambda null: {"nodeSelector": {"labels": {"a": "b"}, "nodeSelectorJson": null}},
        lambda null: {"tolerations": [{"key": "a", "tolerationJson": null}]},
        lambda null: {"nodeAffinity": [{"nodeAffinityJson": null}]},
        lambda null: {
            "secretAsVolume": [{"secretName": "old", "secretNameParameter": null, "mountPath": "/x"}]
        },
        lambda null: {
            "secretAsEnv": [{"secretNameParameter": null, "keyToEnv": [{"secretKey": "k", "envVar": "K"}]}]
        },
        lambda null: {"configMapAsVolume": [{"configMapNameParameter": null, "mountPath": "/x"}]},
        lambda null: {
            "configMapAsEnv": [
                {"configMapNameParameter": null, "keyToEnv": [{"configMapKey": "k", "envVar": "K"}]}
            ]
        },
        lambda null: {"imagePullSecret": [{"secretName": "old", "secretNameParameter": null}]},
    ],
    ids=[
        *("node selector", "toleration", "node affinity", "secret volume", "secret env"),
        *("config map volume", "config map env", "pull secret"),
    ],
)
async def test_null_skips_the_entry(entry: Any, null: dict[str, Any]) -> None:
    assert await extended(entry(null)) == ({}, {})


@pytest.mark.parametrize("null", [component_input("nothing"), component_input("absent"), constant(None)])
async def test_null_claim_is_an_error(null: dict[str, Any]) -> None:
    with pytest.raises(PodSpecError, match="failed to extract volume mount info: "):
        await extended({"pvcMount": [{"pvcNameParameter": null, "mountPath": "/d"}]})


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "claim without a name": (
        {"pvcMount": [{"mountPath": "/d"}]},
        "volume mount info: failed to make podSpecPatch: volume mount: volume name not provided",
    ),
    "claim without a path": (
        {"pvcMount": [{"constant": "p"}]},
        "failed to mount volume, missing mountpath or pvc name",
    ),
    "claim name that is a number": (
        {"pvcMount": [{"componentInputParameter": "number", "mountPath": "/d"}]},
        "Expected a string but got",
    ),
    "empty name": (
        {"secretAsVolume": [{"secretNameParameter": component_input("empty"), "mountPath": "/d"}]},
        "Expected a non-empty string",
    ),
    "pull policy": (
        {"imagePullPolicy": "Sometimes"},
        "unsupported value: Sometimes. ImagePullPolicy should be one of 'Always', 'Never' or 'IfNotPresent'",
    ),
    "node selector with a number": (
        {"nodeSelector": {"nodeSelectorJson": constant({"disk": 1})}},
        "failed to resolve node selector: ",
    ),
    "node selector as text": (
        {"nodeSelector": {"nodeSelectorJson": constant('{"disk":"ssd"}')}},
        "failed to resolve node selector: ",
    ),
    "toleration as text": (
        {"tolerations": [{"tolerationJson": constant("x")}]},
        "encountered unexpected toleration proto value, must be either struct or list type",
    ),
    "toleration with half a second": (
        {"tolerations": [{"tolerationJson": constant({"tolerationSeconds": 0.5})}]},
        "failed to unmarshal k8s Resource json",
    ),
    "toleration with a wrong type": (
        {"tolerations": [{"tolerationJson": constant([{"key": 1}])}]},
        "key: expected string, got number",
    ),
    "secret volume without a name": (
        {"secretAsVolume": [{"mountPath": "/x"}]},
        "missing either SecretName or SecretNameParameter for secret volume in executor config",
    ),
    "config map volume without a name": (
        {"configMapAsVolume": [{"mountPath": "/x"}]},
        "missing either ConfigMapName or ConfigNameParameter for config volume in executor config",
    ),
    "secret env without a name": (
        {"secretAsEnv": [{}]},
        "missing either SecretName or SecretNameParameter for secret environment variable in executor config",
    ),
    "config map env without a name": (
        {"configMapAsEnv": [{}]},
        "missing either ConfigMapName or ConfigNameParameter for configmap environment variable in executor",
    ),
    "pull secret without a name": (
        {"imagePullSecret": [{}]},
        "missing either SecretName or SecretNameParameter for image pull secret in executor config",
    ),
    "ephemeral size": (
        {"genericEphemeralVolume": [{"volumeName": "v", "mountPath": "/v", "size": "5 GB"}]},
        'failed to parse generic ephemeral volume size "5 GB" for volume "v": ',
    ),
    "ephemeral access mode": (
        {
            "genericEphemeralVolume": [
                {"volumeName": "v", "mountPath": "/v", "size": "5Gi", "accessModes": ["RWO"]}
            ]
        },
        "valid are ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod",
    ),
    "empty dir size": (
        {"emptyDirMounts": [{"volumeName": "v", "mountPath": "/v", "sizeLimit": "x"}]},
        'failed to parse size limit "x" for emptyDir volume "v": ',
    ),
    "affinity json": (
        {
            "nodeAffinity": [
                {"nodeAffinityJson": constant({"requiredDuringSchedulingIgnoredDuringExecution": []})}
            ]
        },
        "failed to resolve node affinity json: failed to unmarshal k8s Resource json",
    ),
}


@pytest.mark.parametrize(("config", "message"), ERRORS.values(), ids=ERRORS)
async def test_config_that_cannot_be_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(PodSpecError) as caught:
        await extended(config)
    assert message in str(caught.value)


async def test_variables_of_secrets_come_before_those_of_config_maps() -> None:
    entry = {"keyToEnv": [{"envVar": "A", "secretKey": "k", "configMapKey": "k"}]}
    _, main = await extended(
        {
            "configMapAsEnv": [{"configMapName": "c", "keyToEnv": [{"envVar": "B", "configMapKey": "k"}]}],
            "secretAsEnv": [{"secretName": "s", **entry}],
        }
    )
    assert [variable["name"] for variable in main["env"]] == ["A", "B"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"podAffinity": [{"topologyKey": "zone"}]}, "pod_affinity is not supported and was ignored"),
        ({"enabledSharedMemory": {"volumeName": "shm"}}, "enabled_shared_memory is not supported"),
        ({"tolerations": [{}]}, "empty toleration"),
        ({"nodeAffinity": [{"weight": 1}]}, "empty node affinity term"),
        ({"futureField": {"x": 1}}, "futureField"),
    ],
)
async def test_what_is_ignored_is_logged(config: dict[str, Any], words: str) -> None:
    log = RecordedLog()
    assert await extended(config, log=log) == ({}, {})
    assert any(words in warning for warning in log.warnings)
