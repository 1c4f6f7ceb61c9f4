"""Where a patch differs from that of KFP's driver for the same task: upstream's value and ours, side by side.

Upstream's values are those of the contract, a text where upstream fails; the table is what an operator reads
who compares the two. Differences of claims (names of generated claims, deletions, hits) are tests of their
own among the platform operations.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pytest

from tests.driver_plugin.podspec.examples import JSON, built_patch, main_of


def _flag(name: str) -> Callable[[JSON], Any]:
    def read(patch: JSON) -> Any:
        command = main_of(patch)["command"]
        return command[command.index(name) + 1]

    return read


def _args(patch: JSON) -> Any:
    return main_of(patch)["args"]


def _user_variables(patch: JSON) -> Any:
    return [variable for variable in main_of(patch)["env"] if variable["name"] == "A"]


def _volumes(patch: JSON) -> Any:
    return patch.get("volumes")


def _parameter(name: str) -> str:
    return "{{$.inputs.parameters['" + name + "']}}"


class Difference(NamedTuple):
    """What a task is given, the place in its patch, and the two values there."""

    given: dict[str, Any]
    place: Callable[[JSON], Any]
    upstream: Any
    ours: Any


SECRET_A: Final = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
DIFFERENCES: Final = {
    "dollars of data are doubled, so that the kubelet does not eat them": Difference(
        {
            "inputs": {"parameterValues": {"pw": "pa$$word$(NAMESPACE)"}},
            "container": {"args": [_parameter("pw")]},
        },
        _args,
        ["pa$$word$(NAMESPACE)"],
        ["pa$$$$word$$(NAMESPACE)"],
    ),
    "dollars of names in the launcher's command are doubled": Difference(
        {"task_name": "cost$$"}, _flag("--task_name"), "cost$$", "cost$$$$"
    ),
    "a variable given twice is there once, and the last one counts": Difference(
        {
            "container": {"env": [{"name": "A", "value": "1"}]},
            "config": {"secretAsEnv": [{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "A"}]}]},
        },
        _user_variables,
        [{"name": "A", "value": "1"}, SECRET_A],
        [SECRET_A],
    ),
    "text around an image's placeholder stays": Difference(
        {
            "inputs": {"parameterValues": {"pipelinechannel--tag": "v1"}},
            "container": {"image": f"repo/app:{_parameter('pipelinechannel--tag')}"},
        },
        lambda patch: main_of(patch)["image"],
        "v1",
        "repo/app:v1",
    ),
    "a number is an accelerator count": Difference(
        {
            "inputs": {"parameterValues": {"pipelinechannel--n": 2}},
            "container": {
                "resources": {
                    "accelerator": {
                        "resourceType": "nvidia.com/gpu",
                        "resourceCount": _parameter("pipelinechannel--n"),
                    }
                }
            },
        },
        lambda patch: main_of(patch)["resources"],
        {},
        {"limits": {"nvidia.com/gpu": "2"}},
    ),
    "a volume gets a name that volumes can have": Difference(
        {"config": {"secretAsVolume": [{"secretName": "a.b", "mountPath": "/s"}]}},
        _volumes,
        [{"name": "a.b", "secret": {"secretName": "a.b", "optional": False}}],
        [{"name": "secret-a-b-544054e3", "secret": {"secretName": "a.b", "optional": False}}],
    ),
    "the administrator's hostUsers reaches a task without a config": Difference(
        {"default_host_users": "false"}, lambda patch: patch.get("hostUsers"), None, False
    ),
    "Concat is resolved": Difference(
        {
            "inputs": {"parameterValues": {"x": 'say "hi"'}},
            "container": {"args": ['{"Concat": ["--x=", "' + _parameter("x") + '"]}']},
        },
        _args,
        ['{"Concat": ["--x=", "say "hi""]}'],
        ['--x=say "hi"'],
    ),
    "IfPresent with an output is resolved": Difference(
        {
            "inputs": {"parameterValues": {"x": "1"}},
            "container": {
                "args": ['{"IfPresent": {"InputName": "x", "Then": ["{{$.outputs.artifacts[\'o\'].uri}}"]}}']
            },
        },
        _args,
        ['{"IfPresent": {"InputName": "x", "Then": ["{{$.outputs.artifacts[\'o\'].uri}}"]}}'],
        ["{{$.outputs.artifacts['o'].uri}}"],
    ),
    "numbers in arguments have no exponent": Difference(
        {"inputs": {"parameterValues": {"x": 0.00001}}, "container": {"args": [_parameter("x")]}},
        _args,
        ["1e-05"],
        ["0.00001"],
    ),
    "legacy memory of a million gigabytes is a quantity": Difference(
        {"container": {"resources": {"memoryLimit": 1e6}}},
        lambda patch: main_of(patch)["resources"],
        "failed to init podSpecPatch: 1e+06G",
        {"limits": {"memory": "1P"}},
    ),
    "two inputs with one model image share a modelcar": Difference(
        {"inputs": {"artifacts": {key: {"artifacts": [{"uri": "oci://r/m"}]} for key in ("a", "b")}}},
        lambda patch: [container["name"] for container in patch["containers"]],
        ["main", "oci-0", "oci-1"],
        ["main", "oci-0"],
    ),
    "a URL that happens to hold the workspace's path needs no workspace": Difference(
        {"inputs": {"parameterValues": {"url": "https://host/kfp-workspace-x"}}},
        _volumes,
        [{"name": "kfp-workspace", "persistentVolumeClaim": {"claimName": "wf-x-kfp-workspace"}}],
        None,
    ),
    "a path in a list needs the workspace": Difference(
        {"inputs": {"parameterValues": {"paths": ["/kfp-workspace/x"]}}},
        _volumes,
        None,
        [{"name": "kfp-workspace", "persistentVolumeClaim": {"claimName": "wf-x-kfp-workspace"}}],
    ),
    "a pull secret given twice is there once": Difference(
        {"config": {"imagePullSecret": [{"secretName": "s"}, {"secretName": "s"}]}},
        lambda patch: patch["imagePullSecrets"],
        [{"name": "s"}, {"name": "s"}],
        [{"name": "s"}],
    ),
    "an absent optional parameter is empty text": Difference(
        {
            "component": {
                "inputDefinitions": {"parameters": {"x": {"parameterType": "STRING", "isOptional": True}}}
            },
            "container": {"args": [f"x={_parameter('x')}"]},
        },
        _args,
        'parameter "x" not found in executor input',
        ["x="],
    ),
}


@pytest.mark.parametrize("what", DIFFERENCES)
async def test_ours_is_as_stated_and_differs_from_upstream(what: str) -> None:
    difference = DIFFERENCES[what]
    assert difference.place(await built_patch(**difference.given)) == difference.ours
    assert difference.ours != difference.upstream
