"""One AdmissionReview and its answer.

Oracles: the contract of Kubernetes' admission API (v1) and the table of spec COMPILER 13.2; the rewriter for
what is admitted; an independent RFC 6902.
"""

import base64
import json
import tracemalloc
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from compiler.rewriter.rewrite import RewriteOptions, rewrite
from compiler.webhook.review import Answer, InvalidReviewError, Outcome, Policy, review
from tests.compiler.pipelines import Json, templates
from tests.compiler.rewriter.workflows import (
    CONTAINER_DRIVER,
    DAG_DRIVER,
    driver_arguments,
    driver_pods,
    options,
    submitted,
)
from tests.compiler.webhook.reviews import OPTIONS, admission, admitted, response


def answered(document: Any, *, policy: Policy = Policy.DENY, chosen: RewriteOptions = OPTIONS) -> Answer:
    return review(json.dumps(document).encode(), chosen, policy=policy)


def mlmd() -> Json:
    workflow = submitted(driver_pods())
    driver_arguments(workflow).extend(["--dag_execution_id", "1"])
    return workflow


def rewritten(workflow: Json) -> Json:
    return rewrite(workflow, OPTIONS).obj


@pytest.mark.parametrize("dry_run", [False, True])
def test_created_workflow_is_rewritten(*, dry_run: bool) -> None:
    workflow = submitted(driver_pods())
    assert "name" not in workflow["metadata"]
    answer = answered(admission(workflow, dryRun=dry_run))
    given = response(answer.body)
    assert answer.outcome is Outcome.CHANGED
    assert admitted(workflow, given) == rewritten(workflow)
    assert given["auditAnnotations"] == {"rewritten-templates": "2"}
    assert "warnings" not in given


def test_patch_is_minimal_guarded_and_in_order() -> None:
    workflow = submitted(driver_pods())
    patch = json.loads(base64.b64decode(response(answered(admission(workflow)).body)["patch"]))
    names = [template["name"] for template in workflow["spec"]["templates"]]
    indexes = [names.index("system-container-driver"), names.index(DAG_DRIVER)]
    assert [(one["op"], one["path"]) for one in patch] == [
        ("test", f"/spec/templates/{indexes[0]}/name"),
        ("replace", f"/spec/templates/{indexes[0]}"),
        ("test", f"/spec/templates/{indexes[1]}/name"),
        ("replace", f"/spec/templates/{indexes[1]}"),
        ("add", "/spec/podMetadata/annotations/sidecar.istio.io~1inject"),
        ("add", "/spec/podSpecPatch"),
        ("add", "/spec/executorPlugins"),
    ]


def test_timeout_and_retries_of_the_profile_come_with_the_patch() -> None:
    workflow = submitted(driver_pods())
    chosen = options("driverTimeout: 10m\ndriverRetry: 3")
    stored = admitted(workflow, response(answered(admission(workflow), chosen=chosen).body))
    assert stored == rewrite(workflow, chosen).obj
    for name in (DAG_DRIVER, CONTAINER_DRIVER):
        template = templates(stored)[name]
        assert (template["timeout"], template["retryStrategy"]["limit"]) == ("10m", "3")
    again = response(answered(admission(stored), chosen=options("driverRetry: 9")).body)
    assert "patch" not in again


def test_workflow_without_pod_metadata_gets_the_whole_map() -> None:
    workflow = submitted(driver_pods())
    del workflow["spec"]["podMetadata"]
    stored = admitted(workflow, response(answered(admission(workflow)).body))
    assert stored["spec"]["podMetadata"] == {"annotations": {"sidecar.istio.io/inject": "false"}}


def test_keys_are_escaped_as_json_pointers() -> None:
    workflow = submitted(driver_pods())
    chosen = options("podMetadata: {annotations: {'a/b~c': d}}")
    stored = admitted(workflow, response(answered(admission(workflow), chosen=chosen).body))
    assert stored["spec"]["podMetadata"]["annotations"]["a/b~c"] == "d"


def test_admitted_workflow_is_not_changed_again() -> None:
    workflow = rewritten(submitted(driver_pods()))
    for operation in ("CREATE", "UPDATE"):
        answer = answered(admission(workflow, operation=operation))
        assert answer.outcome is Outcome.UNCHANGED
        assert response(answer.body) == {"uid": response(answer.body)["uid"], "allowed": True}


def test_update_restores_the_plugin_and_converts_nothing() -> None:
    whole = rewritten(submitted(driver_pods()))
    stored = deepcopy(whole)
    del stored["spec"]["executorPlugins"]
    given = response(answered(admission(stored, operation="UPDATE")).body)
    assert json.dumps(admitted(stored, given)) == json.dumps(whole)
    assert given["auditAnnotations"] == {"rewritten-templates": "0"}
    for untouched in (submitted(driver_pods()), mlmd()):
        assert answered(admission(untouched, operation="UPDATE")).outcome is Outcome.UNCHANGED


@pytest.mark.parametrize(
    "document",
    [
        admission(None, operation="DELETE"),
        admission(driver_pods(), operation="CONNECT"),
        admission(None),
        admission({"apiVersion": "v1", "kind": "Pod", "spec": {}}),
        admission({"apiVersion": "other.io/v1", "kind": "Workflow", "spec": 7}),
        admission({"apiVersion": 1, "kind": "Workflow"}),
        admission({**driver_pods(), "kind": "WorkflowTemplate"}),
        admission(driver_pods(), operation="UPDATE", subResource="status"),
        admission({**driver_pods(), "metadata": {"labels": {"kfp-driver/mode": "pod"}}}),
    ],
    ids=["delete", "connect", "no object", "pod", "other group", "odd version", "template", "status", "pod"],
)  # fmt: skip
def test_what_is_not_ours_is_let_through(document: Json) -> None:
    answer = answered(document)
    assert answer.outcome is Outcome.UNCHANGED
    assert response(answer.body) == {"uid": document["request"]["uid"], "allowed": True}


def test_refused_workflow_is_denied_with_its_reason() -> None:
    answer = answered(admission(mlmd()))
    given = response(answer.body)
    assert answer.outcome is Outcome.DENIED
    assert given["allowed"] is False
    assert (given["status"]["code"], given["status"]["reason"]) == (422, "Invalid")
    assert given["status"]["message"].startswith(
        'MLMD: template "system-container-driver" calls an ML Metadata'
    )


def test_refused_workflow_is_let_through_with_a_warning_where_both_kinds_run() -> None:
    answer = answered(admission(mlmd()), policy=Policy.ALLOW)
    given = response(answer.body)
    assert answer.outcome is Outcome.ALLOWED
    assert set(given) == {"uid", "allowed", "warnings"}
    assert given["allowed"]
    (warning,) = given["warnings"]
    assert warning.startswith("MLMD: ")
    assert len(warning) == 256


def test_warnings_are_few_short_and_printable() -> None:
    workflow = submitted(driver_pods())
    templates(workflow)[DAG_DRIVER].update({f"field{number}\n\x07": "x" * 500 for number in range(30)})
    warnings = response(answered(admission(workflow)).body)["warnings"]
    assert len(warnings) == 10
    assert all(len(one) <= 256 and one.isprintable() for one in warnings)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b'{"a": "\xff"}', "the body is not JSON"),
        (b'{"a": NaN}', "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"[]", "the body is not an object"),
        (b"7", "the body is not an object"),
        (b"{}", "not an AdmissionReview of admission.k8s.io/v1"),
        (b'{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"}', "not an AdmissionReview"),
        (b'{"apiVersion": "admission.k8s.io/v1", "kind": "Pod"}', "not an AdmissionReview"),
        (b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}', "has no request"),
        (b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {}}', "request.uid"),
        (json.dumps(admission({}, uid=7)).encode(), "request.uid is missing"),
        (json.dumps(admission({}, operation="")).encode(), "request.operation is missing"),
    ],
    ids=str,
)  # fmt: skip
def test_body_that_is_no_review_is_refused_with_the_reason(body: bytes, message: str) -> None:
    with pytest.raises(InvalidReviewError, match=message):
        review(body, OPTIONS, policy=Policy.DENY)


def nested(depth: int, inside: Any = None) -> Any:
    for _ in range(depth):
        inside = {"a": [inside]}
    return inside


def deep_in_a_driver() -> Json:
    workflow = submitted(driver_pods())
    templates(workflow)[DAG_DRIVER]["metrics"] = nested(300)
    return workflow


def aliases_in_the_patch() -> Json:
    workflow = submitted(driver_pods())
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    workflow["spec"]["podSpecPatch"] = "\n".join(lines)
    return workflow


@pytest.mark.parametrize(
    ("workflow", "message"),
    [
        ({**driver_pods(), "spec": "text"}, "MALFORMED: spec: expected an object, got a text"),
        ({**driver_pods(), "spec": {"templates": {}}}, "MALFORMED: spec.templates: expected a list"),
        ({**driver_pods(), "spec": {"templates": [7]}}, "MALFORMED: spec.templates[0]: expected an object"),
        ({**driver_pods(), "metadata": []}, "MALFORMED: metadata: expected an object, got a list"),
        (deep_in_a_driver(), "MALFORMED: a driver template is nested too deeply"),
        (aliases_in_the_patch(), "POD_SPEC_PATCH: podSpecPatch cannot be read"),
    ],
    ids=["spec", "templates", "template", "metadata", "depth", "aliases"],
)  # fmt: skip
def test_hostile_workflow_is_denied_by_name(workflow: Json, message: str) -> None:
    answer = answered(admission(workflow))
    assert answer.outcome is Outcome.DENIED
    assert response(answer.body)["status"]["message"].startswith(message)
    assert len(answer.body) < 2000


def test_depth_outside_of_drivers_is_none_of_our_business() -> None:
    workflow = submitted(driver_pods())
    workflow["spec"]["arguments"]["deep"] = nested(400)
    assert answered(admission(workflow)).outcome is Outcome.CHANGED


def megabytes(workflow: Json, size: int) -> Json:
    """Grow a Workflow with templates that are no drivers, as large pipelines do."""
    filler = {"name": "t", "container": {"image": "i", "args": ["--flag", "x" * 200]}, "inputs": {}}
    count = size * 2**20 // len(json.dumps(filler))
    workflow["spec"]["templates"] += [{**filler, "name": f"t{number}"} for number in range(count)]
    return workflow


def dense(workflow: Json, size: int) -> Json:
    """The same with as many objects for its bytes as JSON allows."""
    workflow["spec"]["arguments"]["filler"] = [[] for _ in range(size * 2**20 // 4)]
    return workflow


@pytest.mark.parametrize("grown", [megabytes, dense])
def test_memory_is_a_small_multiple_of_the_request(grown: Callable[[Json, int], Json]) -> None:
    body = json.dumps(admission(grown(submitted(driver_pods()), 5))).encode()
    assert 5 * 2**20 < len(body) < 8 * 2**20
    tracemalloc.start()
    try:
        answer = review(body, OPTIONS, policy=Policy.DENY)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.outcome is Outcome.CHANGED
    assert len(answer.body) < 32 * 1024
    assert peak < 40 * len(body)
