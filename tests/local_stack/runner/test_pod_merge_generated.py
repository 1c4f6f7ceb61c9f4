"""The merge of pod specs agrees with ``kubectl patch --local --type=strategic`` on generated cases.

One kubectl call merges one patch into several bases. The cases use what pod-spec patches of drivers and of
Argo's users hold: lists that merge and lists that do not, maps, nulls, empty values, duplicates, directives.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_stack.runner.pod_merge import merge_pod_spec

Json = dict[str, Any]
Cases = st.SearchStrategy[Json]

KUBECTL = shutil.which("kubectl")
NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["", "x", "y"])
QUANTITIES = st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["1", "2"]), max_size=2)


def entries(values: Cases, key: str, *, twice: bool = False) -> st.SearchStrategy[list[Json]]:
    """A list that merges by ``key``; ``twice`` allows an entry to come more than once."""
    return st.lists(values, max_size=3, unique_by=None if twice else lambda entry: str(entry[key]))


def some(required: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]) -> Cases:
    return st.fixed_dictionaries(required, optional=optional)


def pod_specs(*, patch: bool) -> Cases:
    """Pod specs; those of patches also delete, replace, repeat entries and leave them incomplete."""

    def clearable(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return values | st.none() if patch else values

    def deletable(values: Cases, key: str, keys: st.SearchStrategy[Any]) -> Cases:
        if not patch:
            return values
        return values | st.builds(lambda name: {key: name, "$patch": "delete"}, keys)

    def mergeable(
        values: Cases, key: str, keys: st.SearchStrategy[Any] = NAMES, *, twice: bool = patch
    ) -> st.SearchStrategy[Any]:
        return clearable(entries(deletable(values, key, keys), key, twice=twice))

    text_map = clearable(st.dictionaries(NAMES, clearable(TEXTS), max_size=2))
    env = some({"name": NAMES}, value=clearable(TEXTS))
    mount = some({"mountPath": NAMES, "name": NAMES}, subPath=TEXTS)
    port = some({"containerPort": st.sampled_from([80, 81])}, name=NAMES)
    capabilities = some({}, drop=clearable(st.lists(NAMES, max_size=2)), add=st.lists(NAMES, max_size=2))
    container = some(
        {"name": NAMES},
        image=TEXTS,
        command=clearable(st.lists(TEXTS, max_size=2)),
        args=clearable(st.lists(TEXTS, max_size=2)),
        # A base may repeat a variable.
        env=mergeable(env, "name") if patch else entries(env, "name", twice=True),
        ports=mergeable(port, "containerPort", st.sampled_from([80, 81])),
        resources=clearable(some({}, limits=clearable(QUANTITIES), requests=QUANTITIES)),
        securityContext=clearable(
            some({}, runAsUser=clearable(st.integers(0, 2)), capabilities=capabilities)
        ),
        volumeMounts=mergeable(mount, "mountPath"),
    )
    claim = st.fixed_dictionaries({"claimName": NAMES})
    volume = some({"name": NAMES}, emptyDir=clearable(st.just({})), persistentVolumeClaim=clearable(claim))
    toleration = some({}, key=NAMES, operator=st.just("Exists"))
    requirement = some({"key": NAMES, "operator": st.just("In")}, values=st.lists(TEXTS, max_size=2))
    term = some({}, matchExpressions=st.lists(requirement, max_size=2))
    required = some({}, nodeSelectorTerms=st.lists(term, max_size=2))
    affinity = some({}, requiredDuringSchedulingIgnoredDuringExecution=clearable(required))
    selector = text_map
    if patch:
        selector |= st.just({"$patch": "replace", "a": "only"})
    return some(
        {},
        activeDeadlineSeconds=clearable(st.integers(1, 2)),
        affinity=clearable(some({}, nodeAffinity=clearable(affinity))),
        # Each once: what kubectl makes of lists inside a repeated new container is no valid pod.
        containers=mergeable(container, "name", twice=False),
        hostUsers=clearable(st.booleans()),
        imagePullSecrets=mergeable(some({"name": NAMES}), "name"),
        initContainers=mergeable(container, "name", twice=False),
        nodeSelector=selector,
        tolerations=clearable(st.lists(toleration, max_size=2)),
        volumes=mergeable(volume, "name"),
    )


CASES = st.tuples(st.lists(pod_specs(patch=False), min_size=1, max_size=6), pod_specs(patch=True))


def merged_by_kubectl(bases: Iterable[Json], patch: Json, home: str) -> list[Json]:
    """What kubectl makes of each base."""
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{index}"}, "spec": base}
        for index, base in enumerate(bases)
    ]
    assert KUBECTL is not None
    done = subprocess.run(
        [
            KUBECTL,
            "patch",
            "--local",
            "--type=strategic",
            "-o",
            "json",
            "-f",
            "-",
            "-p",
            json.dumps({"spec": patch}),
        ],
        input=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"KUBECONFIG": os.devnull, "HOME": home, "PATH": os.environ["PATH"]},
    )
    decoder, position, found = json.JSONDecoder(), 0, []
    while position < len(done.stdout):
        document, position = decoder.raw_decode(done.stdout, position)
        found.append(as_read(document.get("spec", {})))
        position += len(done.stdout[position:]) - len(done.stdout[position:].lstrip())
    return found


def as_read(value: Any) -> Any:
    """What Kubernetes reads in kubectl's answer: null is unset, a directive left over is an unknown field."""
    if isinstance(value, dict):
        return {
            key: as_read(item) for key, item in value.items() if item is not None and not key.startswith("$")
        }
    return [as_read(item) for item in value] if isinstance(value, list) else value


def check(bases: list[Json], patch: Json, home: str) -> None:
    assert [merge_pod_spec(base, patch) for base in bases] == merged_by_kubectl(bases, patch, home)


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=CASES)
def test_merge_agrees_with_kubectl(
    case: tuple[list[Json], Json], tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(*case, str(tmp_path_factory.getbasetemp()))


@pytest.mark.slow
@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=CASES)
def test_merge_agrees_with_kubectl_on_many_more_cases(
    case: tuple[list[Json], Json], tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(*case, str(tmp_path_factory.getbasetemp()))
