"""Claims of a task for its cache fingerprint: spec PODSPEC 1 (step 6), 5.7 and 7.4."""

import pytest

from driver_plugin.podspec.errors import PodSpecError
from driver_plugin.podspec.names import pvc_names
from kfp_api.ir.kubernetes import KubernetesExecutorConfig
from tests.driver_plugin.podspec.examples import resolve_context

CONFIG = KubernetesExecutorConfig.parse(
    {
        "pvcMount": [
            {"componentInputParameter": "claim", "mountPath": "/a"},
            {
                "pvcNameParameter": {
                    "taskOutputParameter": {"producerTask": "createpvc", "outputParameterKey": "name"}
                },
                "mountPath": "/b",
            },
        ]
    }
)


async def test_names_are_those_of_the_mounts_and_the_workspace() -> None:
    context = resolve_context({"claim": "data"}, {"createpvc": {"name": "made"}})
    names = await pvc_names(context, CONFIG, uses_workspace=True, run_name="wf")
    assert names == ["data", "made", "wf-kfp-workspace"]


async def test_no_config_and_no_workspace_means_no_names() -> None:
    assert await pvc_names(resolve_context(), None, uses_workspace=False, run_name="") == []


async def test_workspace_without_a_run_name_is_an_error() -> None:
    with pytest.raises(PodSpecError) as caught:
        await pvc_names(resolve_context(), None, uses_workspace=True, run_name="")
    assert (
        str(caught.value)
        == 'task "train": failed to generate fingerprint: run name is required when workspace is used'
    )
