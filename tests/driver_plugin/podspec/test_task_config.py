"""TaskConfig passthrough: the table and the result object of spec PODSPEC 8."""

from typing import Any

import pytest

from driver_plugin.podspec.errors import PodSpecError
from tests.driver_plugin.podspec.examples import IDENTITY_ENV, built_patch, executor_input_of, main_of

CONFIG = {
    "pvcMount": [{"constant": "data", "mountPath": "/d"}],
    "secretAsEnv": [{"secretName": "db", "keyToEnv": [{"secretKey": "pw", "envVar": "PW"}]}],
    "nodeSelector": {"labels": {"disk": "ssd"}},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "nodeAffinity": [{"matchExpressions": [{"key": "z", "operator": "Exists"}]}],
    "emptyDirMounts": [{"volumeName": "tmp", "mountPath": "/t"}],
}
PW = {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "db", "key": "pw"}}}
CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
TEMPORARY = {"name": "tmp", "emptyDir": {}}
AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "z", "operator": "Exists"}]}]
        }
    }
}
PARTS: dict[str, dict[str, Any]] = {
    "RESOURCES": {"resources": {"limits": {"cpu": "2", "nvidia.com/gpu": "1"}}},
    "ENV": {"env": [{"name": "A", "value": "1"}, {"name": "TRACK", "value": "t"}, PW]},
    "KUBERNETES_AFFINITY": {"affinity": AFFINITY},
    "KUBERNETES_TOLERATIONS": {"tolerations": [{"key": "a", "operator": "Exists"}]},
    "KUBERNETES_NODE_SELECTOR": {"nodeSelector": {"disk": "ssd"}},
    "KUBERNETES_VOLUMES": {"volumes": [CLAIM], "volumeMounts": [{"name": "data", "mountPath": "/d"}]},
}
NOTHING: dict[str, Any] = {
    "affinity": None,
    "tolerations": None,
    "nodeSelector": None,
    "env": None,
    "volumes": None,
    "volumeMounts": None,
    "resources": {},
}


async def patch_with(passthroughs: list[dict[str, Any]], **given: Any) -> dict[str, Any]:
    container = {
        "env": [{"name": "A", "value": "1"}],
        "resources": {
            "resourceCpuLimit": "2",
            "accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "1"},
        },
    }
    return await built_patch(
        component={
            "inputDefinitions": {"parameters": {"cfg": {"parameterType": "TASK_CONFIG"}}},
            "taskConfigPassthroughs": passthroughs,
        },
        container=container | given.pop("container", {}),
        config=CONFIG,
        plugin_env=[{"name": "TRACK", "value": "t"}],
        inputs={"parameterValues": {"x": 1}},
        **given,
    )


def on_pod(patch: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What of each part the pod has."""
    main = main_of(patch)
    return {
        "RESOURCES": {"resources": main["resources"]},
        "ENV": {"env": [one for one in main["env"] if one not in IDENTITY_ENV]},
        "KUBERNETES_AFFINITY": {"affinity": patch.get("affinity")},
        "KUBERNETES_TOLERATIONS": {"tolerations": patch.get("tolerations")},
        "KUBERNETES_NODE_SELECTOR": {"nodeSelector": patch.get("nodeSelector")},
        "KUBERNETES_VOLUMES": {
            "volumes": [one for one in patch["volumes"] if one != TEMPORARY],
            "volumeMounts": [one for one in main["volumeMounts"] if one["name"] != "tmp"],
        },
    }


def empty(part: dict[str, Any]) -> bool:
    return not any(part.values())


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("listed", [None, True, False])
async def test_part_goes_where_the_table_says(part: str, listed: bool | None) -> None:
    passthroughs = [] if listed is None else [{"field": part, "applyToTask": listed}]
    patch = await patch_with(passthroughs)
    pod = on_pod(patch)
    task_config = executor_input_of(patch)["inputs"]["parameterValues"]["cfg"]
    assert task_config == (NOTHING if listed is None else NOTHING | PARTS[part])
    for other, expected in PARTS.items():
        if other == part and listed is False:
            assert empty(pod[other])
        else:
            assert pod[other] == expected
    assert [one for one in main_of(patch)["env"] if one in IDENTITY_ENV] == IDENTITY_ENV
    assert TEMPORARY in patch["volumes"]


@pytest.mark.parametrize("variables", range(1, 16))
async def test_identity_survives_whatever_the_number_of_variables(variables: int) -> None:
    env = [{"name": f"V{index}", "value": "x"} for index in range(variables)]
    patch = await patch_with([{"field": "ENV", "applyToTask": True}], container={"env": env})
    assert [one for one in main_of(patch)["env"] if one in IDENTITY_ENV] == IDENTITY_ENV
    task_config = executor_input_of(patch)["inputs"]["parameterValues"]["cfg"]
    assert not [one for one in task_config["env"] if one in IDENTITY_ENV]


async def test_configuration_is_a_value_for_placeholders() -> None:
    passthroughs = [{"field": "KUBERNETES_NODE_SELECTOR", "applyToTask": False}]
    patch = await patch_with(passthroughs, container={"args": ["{{$.inputs.parameters['cfg']}}"]})
    assert '"nodeSelector":{"disk":"ssd"}' in main_of(patch)["args"][0]


async def test_component_without_such_a_parameter_gets_none() -> None:
    patch = await built_patch(
        component={"taskConfigPassthroughs": [{"field": "ENV", "applyToTask": True}]},
        inputs={"parameterValues": {"x": 1}},
    )
    assert executor_input_of(patch)["inputs"]["parameterValues"] == {"x": 1}


async def test_passed_through_volume_inside_the_workspace_is_refused() -> None:
    with pytest.raises(PodSpecError, match="conflicts with workspace mount"):
        await built_patch(
            component={"taskConfigPassthroughs": [{"field": "KUBERNETES_VOLUMES", "applyToTask": False}]},
            config={"pvcMount": [{"constant": "p", "mountPath": "/kfp-workspace/x"}]},
            inputs={"parameterValues": {"path": "{{$.workspace_path}}/a"}},
        )
