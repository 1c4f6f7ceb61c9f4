"""Workspace, TTL, deadline and the administrator's patch.

Oracle: spec COMPILER 7.2 to 7.4; canonical quantities are those of Kubernetes' documentation and of its
``resource.Quantity`` (1.5Gi is 1536Mi, 1024Mi is 1Gi, 0.5 is 500m).
"""

import json
import re
from typing import Any

import pytest

from compiler.errors import CompileError
from compiler.quantity import Quantity
from compiler.spec_patch import patch_spec
from tests.compiler.pipelines import Json, compiled, dag_tasks, pipeline, task, templates

MODES = {"accessModes": ["ReadWriteOnce"]}


def with_config(config: Json, **options: Any) -> Json:
    spec: Json = compiled(pipeline({"a": task()}, pipeline_config=config), **options)["spec"]
    return spec


def claim(config: Json, **options: Any) -> Json:
    found = with_config({"workspace": config}, **options)["volumeClaimTemplates"]
    assert [one["metadata"] for one in found] == [{"name": "kfp-workspace"}]
    spec: Json = found[0]["spec"]
    return spec


def test_workspace_patch_replaces_the_administrators_defaults() -> None:
    default = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "slow",
        "resources": {"requests": {"storage": "1Gi"}, "limits": {"storage": "9Gi"}},
    }
    patch = {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast"}
    found = claim({"size": "1.5Gi", "kubernetes": {"pvcSpecPatch": patch}}, default_workspace=default)
    assert found == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "1536Mi"}, "limits": {"storage": "9Gi"}},
    }
    assert default["storageClassName"] == "slow"


def test_workspace_without_a_kubernetes_block_is_an_empty_one_except_in_parity() -> None:
    config = {"size": "5Gi"}
    assert claim(config, default_workspace=MODES)["resources"] == {"requests": {"storage": "5Gi"}}
    parity = with_config({"workspace": config}, default_workspace=MODES, parity=True)
    assert "volumeClaimTemplates" not in parity


def test_no_workspace_makes_no_claim() -> None:
    assert "volumeClaimTemplates" not in with_config({})


WORKSPACE_ERRORS = {
    "no size": ({"kubernetes": {}}, "workspace size is required but not specified"),
    "unknown field": (
        {"size": "1Gi", "kubernetes": {"pvcSpecPatch": {"volumeMode": "Block"}}},
        "unknown fields in PVC spec patch: [volumeMode]",
    ),
    "no access modes": ({"size": "1Gi", "kubernetes": {}}, "workspace PVC spec must specify accessModes"),
    "empty class": (
        {"size": "1Gi", "kubernetes": {"pvcSpecPatch": {**MODES, "storageClassName": ""}}},
        "workspace PVC spec storageClassName must be omitted or set to a non-empty value",
    ),
    "bad size": (
        {"size": "lots", "kubernetes": {"pvcSpecPatch": MODES}},
        "invalid size value for workspace PVC: quantities must match the regular expression",
    ),
    "negative size": (
        {"size": "-1Gi", "kubernetes": {"pvcSpecPatch": MODES}},
        "negative size value for workspace PVC: -1Gi",
    ),
    "no object": ("1Gi", "pipelineConfig.workspace: expected an object"),
}


@pytest.mark.parametrize(("config", "message"), WORKSPACE_ERRORS.values(), ids=WORKSPACE_ERRORS)
def test_unusable_workspace_is_refused(config: Json, message: str) -> None:
    with pytest.raises(CompileError, match=re.escape(message)):
        with_config({"workspace": config})


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1Gi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1024Mi", "1Gi"),
        ("1000Mi", "1000Mi"),
        ("512Ki", "512Ki"),
        ("0.5Ki", "512"),
        ("1000", "1k"),
        ("1500", "1500"),
        ("1000M", "1G"),
        ("0.5", "500m"),
        ("100m", "100m"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("2E", "2E"),
        ("0", "0"),
        ("-1.5Gi", "-1536Mi"),
        ("0.1n", "1n"),
    ],
)
def test_quantity_is_written_canonically(text: str, canonical: str) -> None:
    assert str(Quantity(text)) == canonical
    assert str(Quantity(canonical)) == canonical


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1gi", "1.2.3", "1e", "٣", "0x10", "1KB"])
def test_text_that_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        Quantity(text)


def test_ttl_and_deadline_appear_where_positive() -> None:
    spec = with_config(
        {
            "resourceTtlOnCompletion": 60,
            "resource_ttl_on_success": "30",
            "resourceTtlOnFailure": 0,
            "activeDeadlineSeconds": 3600,
        }
    )
    assert spec["ttlStrategy"] == {"secondsAfterCompletion": 60, "secondsAfterSuccess": 30}
    assert spec["activeDeadlineSeconds"] == 3600


def test_ttl_and_deadline_are_absent_where_not_positive() -> None:
    spec = with_config({"resourceTtlOnCompletion": 0, "activeDeadlineSeconds": -5})
    assert "ttlStrategy" not in spec
    assert "activeDeadlineSeconds" not in spec


@pytest.mark.parametrize("seconds", ["soon", 1.5, True, [1], float("inf")])
def test_ttl_that_is_no_number_of_seconds_is_refused(seconds: object) -> None:
    with pytest.raises(CompileError, match="resourceTtlOnSuccess: expected a whole number"):
        with_config({"resourceTtlOnSuccess": seconds})


def patched(patch: object) -> Json:
    text = patch if isinstance(patch, str) else json.dumps(patch)
    return compiled(pipeline({"a": task()}), spec_patch=text)


@pytest.mark.parametrize("empty", ["", "  ", "{}", "null"])
def test_empty_spec_patch_changes_nothing(empty: str) -> None:
    assert patched(empty) == patched("")


def test_spec_patch_merges_lists_by_their_key() -> None:
    workflow = patched(
        {
            "nodeSelector": {"pool": "kfp"},
            "podMetadata": {"labels": {"team": "a"}},
            "serviceAccountName": None,
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "templates": [
                {"name": "system-container-impl", "volumes": [{"name": "gcs-scratch", "emptyDir": None}]},
                {"name": "extra", "suspend": {}},
            ],
        }
    )
    spec = workflow["spec"]
    assert spec["nodeSelector"] == {"pool": "kfp"}
    assert spec["podMetadata"]["labels"] == {"pipelines.kubeflow.org/v2_component": "true", "team": "a"}
    assert "serviceAccountName" not in spec
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    found = templates(workflow)
    assert list(found).index("extra") == list(found).index("system-container-impl") + 1
    volumes = {one["name"]: one for one in found["system-container-impl"]["volumes"]}
    assert volumes["gcs-scratch"] == {"name": "gcs-scratch"}
    assert len(volumes) == 9
    assert set(dag_tasks(workflow)) == {"a-driver", "a"}


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["b"], ["a", "b", "c"]),
        (["new"], ["new", "a", "b", "c"]),
        (["b", "new"], ["a", "b", "new", "c"]),
        (["new", "b"], ["new", "a", "b", "c"]),
        (["c", "a"], ["b", "c", "a"]),
        (["b", "b"], ["a", "b", "c"]),
    ],
    ids=str,
)
def test_merged_lists_have_kubernetes_order(names: list[str], order: list[str]) -> None:
    """The orders are those of ``kubectl patch --local`` for the same lists as volumes of a pod."""
    spec = {"volumes": [{"name": name, "emptyDir": {}} for name in "abc"]}
    patch = {"volumes": [{"name": name, "hostPath": {"path": "/"}} for name in names]}
    merged = patch_spec(spec, json.dumps(patch))["volumes"]
    assert [one["name"] for one in merged] == order
    assert all(("hostPath" in one) == (one["name"] in names) for one in merged)


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ("{", "invalid JSON in COMPILED_PIPELINE_SPEC_PATCH: "),
        ("[1]", "invalid JSON in COMPILED_PIPELINE_SPEC_PATCH: expected an object"),
        ({"$patch": "replace"}, "directive spec.$patch is not supported"),
        ({"templates": [{"$patch": "delete", "name": "x"}]}, "directive spec.templates[x].$patch"),
        ({"templates": [{"dag": {}}]}, 'an element of spec.templates has no "name"'),
    ],
)
def test_unusable_spec_patch_is_refused(patch: object, message: str) -> None:
    with pytest.raises(CompileError, match=re.escape(message)):
        patched(patch)
