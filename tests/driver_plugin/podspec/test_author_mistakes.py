"""An author's mistake is answered with the task, the field and the value, in one line.

The field is spelled as in the compiled pipeline, where the author finds it.
"""

from typing import Any, Final

import pytest

from driver_plugin.podspec.errors import PodSpecError
from driver_plugin.podspec.names import pvc_names
from kfp_api.ir.kubernetes import KubernetesExecutorConfig
from tests.driver_plugin.podspec.examples import RecordedLog, built_patch, main_of, resolve_context


def parameter(name: str) -> str:
    return "{{$.inputs.parameters['" + name + "']}}"


def constant(value: Any) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}


def container(**fields: Any) -> dict[str, Any]:
    return {"container": fields}


def resources(**fields: Any) -> dict[str, Any]:
    return {"container": {"resources": fields}}


def config(**fields: Any) -> dict[str, Any]:
    return {"config": fields}


AT_D: Final = {"constant": "data", "mountPath": "/d"}
MISTAKES: Final[dict[str, tuple[dict[str, Any], str, str]]] = {
    # What the author did: what the task is given, the field and the value that the message names.
    "unknown parameter in args": (container(args=[parameter("lr")]), "container args", '"lr"'),
    "unknown parameter in command": (container(command=[parameter("lr")]), "container command", '"lr"'),
    "unknown parameter in the image": (container(image=f"r:{parameter('tag')}"), "container.image", "tag"),
    "unknown parameter as a limit": (
        resources(resourceCpuLimit=parameter("cpus")),
        "container.resources.resourceCpuLimit",
        "cpus",
    ),
    "unknown parameter as a secret": (
        config(imagePullSecret=[{"secretNameParameter": constant(parameter("pipelinechannel--x"))}]),
        "imagePullSecret[0]",
        "pipelinechannel--x",
    ),
    "cpu in words": (resources(resourceCpuLimit="two"), "container.resources.resourceCpuLimit", '"two"'),
    "memory unit that is none": (
        resources(resourceMemoryRequest="1KB"),
        "container.resources.resourceMemoryRequest",
        '"1KB"',
    ),
    "half a GPU": (
        resources(accelerator={"resourceType": "nvidia.com/gpu", "resourceCount": "0.5"}),
        "container.resources.accelerator.resourceCount",
        '"0.5"',
    ),
    "size of a volume": (
        config(genericEphemeralVolume=[{"volumeName": "v", "mountPath": "/v", "size": "big"}]),
        "genericEphemeralVolume[0]",
        '"big"',
    ),
    "size limit of an empty directory": (
        config(emptyDirMounts=[{"volumeName": "v", "mountPath": "/v", "sizeLimit": "big"}]),
        "emptyDirMounts[0]",
        '"big"',
    ),
    "quantity of an init container": (
        config(initContainers=[{"name": "i", "image": "b", "resources": {"limits": {"cpu": "x"}}}]),
        "initContainers[0]",
        'cpu="x"',
    ),
    "two claims at one path": (
        config(pvcMount=[AT_D, {"constant": "other", "mountPath": "/d"}]),
        "pvcMount[1]",
        'pvc "data" and pvc "other" are both mounted at /d',
    ),
    "the same path with a slash": (
        config(pvcMount=[AT_D, {"constant": "other", "mountPath": "/d/"}]),
        "pvcMount[1]",
        "/d/",
    ),
    "a secret over a claim": (
        config(pvcMount=[AT_D], secretAsVolume=[{"secretName": "db", "mountPath": "/d"}]),
        "secretAsVolume[0]",
        'pvc "data" and secret "db" are both mounted at /d',
    ),
    "a config map over an empty directory": (
        config(
            configMapAsVolume=[{"configMapName": "cm", "mountPath": "/d"}],
            emptyDirMounts=[{"volumeName": "tmp", "mountPath": "/d"}],
        ),
        "emptyDirMounts[0]",
        'configmap "cm" and emptyDir "tmp" are both mounted at /d',
    ),
    "a claim over the launcher": (
        config(pvcMount=[{"constant": "data", "mountPath": "/kfp-launcher/"}]),
        "pvcMount[0]",
        "/kfp-launcher/",
    ),
    "a secret over the token": (
        config(secretAsVolume=[{"secretName": "db", "mountPath": "/var/run/secrets/kfp"}]),
        "secretAsVolume[0]",
        "/var/run/secrets/kfp",
    ),
    "a secret without a path": (config(secretAsVolume=[{"secretName": "db"}]), "secretAsVolume[0]", '"db"'),
    "a volume name that is none": (
        config(emptyDirMounts=[{"volumeName": "My_Vol", "mountPath": "/v"}]),
        "emptyDirMounts[0]",
        '"My_Vol"',
    ),
    "an access mode that is none": (
        config(
            genericEphemeralVolume=[
                {"volumeName": "v", "mountPath": "/v", "size": "1Gi", "accessModes": ["RWX"]}
            ]
        ),
        "genericEphemeralVolume[0]",
        '"RWX"',
    ),
    "a reserved variable": (
        container(env=[{"name": "NAMESPACE", "value": "x"}]),
        "container.env",
        '"NAMESPACE"',
    ),
    "a reserved variable from a secret": (
        config(
            secretAsEnv=[
                {"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "A"}]},
                {"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "KFP_POD_UID"}]},
            ]
        ),
        "secretAsEnv[1]",
        '"KFP_POD_UID"',
    ),
    "a reserved variable from a config map": (
        config(
            configMapAsEnv=[
                {"configMapName": "c", "keyToEnv": [{"configMapKey": "k", "envVar": "KFP_POD_UID"}]}
            ]
        ),
        "configMapAsEnv[0]",
        '"KFP_POD_UID"',
    ),
    "a reserved variable from a field": (
        config(fieldPathAsEnv=[{"name": "KFP_POD_NAME", "fieldPath": "metadata.name"}]),
        "fieldPathAsEnv[0]",
        '"KFP_POD_NAME"',
    ),
    "a number as a secret's name": (
        config(secretAsVolume=[{"mountPath": "/s", "secretNameParameter": constant(3)}]),
        "secretAsVolume[0]",
        '{"runtimeValue":{"constant":3}}',
    ),
    "a claim from a parameter that has no value": (
        config(pvcMount=[{"mountPath": "/d", "pvcNameParameter": {"componentInputParameter": "gone"}}]),
        'pvcMount[0] at "/d"',
        '{"componentInputParameter": "gone"}',
    ),
    "no secret at all": (config(secretAsVolume=[{"mountPath": "/s"}]), "secretAsVolume[0]", "SecretName"),
    "no claim at all": (config(pvcMount=[{"mountPath": "/d"}]), 'pvcMount[0] at "/d"', "volume name"),
    "a pull policy that is none": (config(imagePullPolicy="Maybe"), "imagePullPolicy", "Maybe"),
    "a number in a node selector": (
        config(nodeSelector={"nodeSelectorJson": constant({"disk": 1})}),
        "nodeSelector",
        "disk: expected string, got number 1",
    ),
    "a toleration as text": (
        config(tolerations=[{"tolerationJson": constant("a=b")}]),
        "tolerations[0]",
        '"a=b"',
    ),
    "text as seconds of a toleration": (
        config(tolerations=[{}, {"tolerationJson": constant({"key": "a", "tolerationSeconds": "soon"})}]),
        "tolerations[1]",
        'tolerationSeconds: expected integer, got string "soon"',
    ),
    "root where it is forbidden": (
        config(securityContext={"runAsUser": 0, "runAsNonRoot": True}),
        "securityContext",
        "runAsUser=0",
    ),
    "an init container in Argo's place": (
        config(initContainers=[{"name": "wait", "image": "b"}]),
        "initContainers[0]",
        '"wait"',
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
async def test_message_names_task_field_and_value(what: str) -> None:
    given, field, value = MISTAKES[what]
    with pytest.raises(PodSpecError) as caught:
        await built_patch(**given)
    message = str(caught.value)
    assert message.startswith('task "train": ')
    assert field in message
    assert value in message
    assert "\n" not in message


async def test_message_of_a_claim_is_the_same_before_the_cache_lookup() -> None:
    given = {"pvcMount": [{"mountPath": "/d", "pvcNameParameter": constant("")}]}
    texts = []
    for attempt in (
        built_patch(config=given),
        pvc_names(
            resolve_context(), KubernetesExecutorConfig.parse(given), uses_workspace=False, run_name="wf"
        ),
    ):
        with pytest.raises(PodSpecError, match='task "train": pvcMount') as caught:
            await attempt
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


async def test_mounts_where_the_template_only_has_scratch_space_are_fine() -> None:
    mounts = [{"constant": "cache", "mountPath": path} for path in ("/.cache", "/kfp", "/kfp-launcher2")]
    patch = await built_patch(config={"pvcMount": mounts})
    assert [mount["mountPath"] for mount in main_of(patch)["volumeMounts"]] == [
        "/.cache",
        "/kfp",
        "/kfp-launcher2",
    ]


async def test_entry_that_is_skipped_for_a_null_name_is_logged_with_its_field() -> None:
    null = {"componentInputParameter": "absent"}
    log = RecordedLog()
    await built_patch(
        config={
            "secretAsVolume": [{"mountPath": "/s", "secretNameParameter": null}],
            "configMapAsEnv": [{"keyToEnv": [], "configMapNameParameter": null}],
        },
        log=log,
    )
    assert [
        ("null" in text, field in text)
        for text, field in zip(log.warnings, ("secretAsVolume[0]", "configMapAsEnv[0]"), strict=True)
    ] == [(True, True)] * 2
