"""Whatever Kubernetes config an author writes: a message that names task and field, or a valid pod.

Generated configs are full of clashes: few names, few paths, all features. Oracles: the schemas that
Kubernetes publishes, and its API server's rules on unique names and paths, sources and mounts.
"""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from driver_plugin.podspec.errors import PodSpecError
from tests.driver_plugin.podspec.examples import patch_text, resolve_context
from tests.driver_plugin.podspec.executor_pod import assert_api_server_takes, executor_pod
from tests.kubernetes_schema import assert_valid

NAMES = st.sampled_from(["data", "a.b", "Upper", "kfp-launcher", "kfp-workspace", "oci-0", "x" * 70])
PATHS = st.sampled_from(
    ["/data", "/data/", "/kfp-launcher", "/kfp-workspace/x", "/.cache", "/m", "/n", "/o", ""]
)
QUANTITIES = st.sampled_from(["1Gi", "0.5G", "500m", "lots", ""])
VARIABLES = st.sampled_from(["A", "B", "NAMESPACE", "KFP_RETRY_INDEX"])
NAME_PARAMETERS = st.sampled_from(
    [
        {"runtimeValue": {"constant": "data"}},
        {"runtimeValue": {"constant": None}},
        {"runtimeValue": {"constant": 3}},
        {"componentInputParameter": "name"},
        {"componentInputParameter": "absent"},
        {"taskOutputParameter": {"producerTask": "makes", "outputParameterKey": "name"}},
    ]
)


def lists(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(st.fixed_dictionaries({}, optional=fields), max_size=2)


def keys(name: str) -> st.SearchStrategy[Any]:
    return st.lists(st.fixed_dictionaries({name: st.just("k"), "envVar": VARIABLES}), max_size=2)


CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "pvcMount": lists(
            constant=NAMES, mountPath=PATHS, subPath=st.just("s"), pvcNameParameter=NAME_PARAMETERS
        ),
        "secretAsVolume": lists(
            secretName=NAMES, mountPath=PATHS, optional=st.booleans(), secretNameParameter=NAME_PARAMETERS
        ),
        "configMapAsVolume": lists(
            configMapName=NAMES, mountPath=PATHS, configMapNameParameter=NAME_PARAMETERS
        ),
        "secretAsEnv": lists(secretName=NAMES, keyToEnv=keys("secretKey"), optional=st.booleans()),
        "configMapAsEnv": lists(configMapName=NAMES, keyToEnv=keys("configMapKey")),
        "fieldPathAsEnv": st.lists(
            st.fixed_dictionaries({"name": VARIABLES, "fieldPath": st.just("spec.nodeName")}), max_size=2
        ),
        "imagePullPolicy": st.sampled_from(["Always", "Never", "IfNotPresent", "Sometimes"]),
        "imagePullSecret": lists(secretName=NAMES, secretNameParameter=NAME_PARAMETERS),
        "genericEphemeralVolume": lists(
            volumeName=NAMES,
            mountPath=PATHS,
            size=QUANTITIES,
            accessModes=st.lists(st.sampled_from(["ReadWriteOnce", "RWX"]), min_size=1, max_size=1),
            defaultStorageClass=st.booleans(),
        ),
        "emptyDirMounts": lists(
            volumeName=NAMES, mountPath=PATHS, sizeLimit=QUANTITIES, medium=st.just("Memory")
        ),
        "nodeSelector": st.fixed_dictionaries({}, optional={"labels": st.just({"disk": "ssd"})}),
        "tolerations": lists(key=st.just("k"), operator=st.just("Exists"), tolerationSeconds=st.just(3)),
        "nodeAffinity": lists(
            matchExpressions=st.just([{"key": "zone", "operator": "In", "values": ["a"]}]),
            weight=st.integers(1, 100),
        ),
        "securityContext": st.fixed_dictionaries(
            {}, optional={"runAsUser": st.sampled_from([0, 1000]), "runAsNonRoot": st.booleans()}
        ),
        "activeDeadlineSeconds": st.integers(-1, 60),
        "initContainers": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.sampled_from(["prep", "wait", "oci-0", "", "other"]),
                    "image": st.just("busybox"),
                },
                optional={
                    "volumeMounts": lists(volumeName=NAMES, mountPath=PATHS),
                    "restartPolicy": st.sampled_from(["Always", "Never"]),
                },
            ),
            max_size=2,
        ),
    },
)
INPUTS = st.sampled_from(
    [
        {},
        {"parameterValues": {"path": "{{$.workspace_path}}/x"}},
        {"artifacts": {"m": {"artifacts": [{"uri": "oci://r/m"}]}}},
    ]
)
ADMINISTRATOR = st.fixed_dictionaries(
    {},
    optional={
        "default_run_as_user": st.sampled_from(["0", "1000"]),
        "default_run_as_non_root": st.sampled_from(["true", "false"]),
        "default_host_users": st.just("false"),
    },
)
CONTEXT = resolve_context({"name": "from-input"}, {"makes": {"name": "from-task"}})


async def patch_or_message(**given: Any) -> tuple[str, str]:
    try:
        return await patch_text(context=CONTEXT, **given), ""
    except PodSpecError as error:
        return "", str(error)


@settings(deadline=None, max_examples=70)
@given(config=CONFIGS, inputs=INPUTS, administrator=ADMINISTRATOR)
def test_any_config_gives_a_message_or_a_valid_pod(
    config: dict[str, Any], inputs: dict[str, Any], administrator: dict[str, Any]
) -> None:
    text, message = asyncio.run(patch_or_message(config=config, inputs=inputs, **administrator))
    if message:
        task, _, where = message.partition(": ")
        assert task == 'task "train"'
        assert where.startswith(tuple(config)), "the field as it is spelled in the pipeline"
        return
    pod = executor_pod(text)
    # A container without a command runs its image's entry point, which Argo looks up in the registry.
    assert_api_server_takes(pod, without_command={one["name"] for one in config.get("initContainers", ())})
    assert_valid(pod)
