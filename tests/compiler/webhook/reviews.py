"""AdmissionReviews as the API server sends them, and reading the answers."""

import base64
import json
from typing import Any

from compiler.rewriter.rewrite import RewriteOptions
from tests.compiler.json_patch import patched
from tests.compiler.pipelines import Json
from tests.compiler.rewriter.workflows import INLINE

OPTIONS = RewriteOptions(plugin=INLINE)


def admission(workflow: Any, *, operation: str = "CREATE", **fields: Any) -> Json:
    """A review of an object; on create it has no uid, and with ``generateName`` no name."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "argoproj.io", "version": "v1alpha1", "kind": "Workflow"},
            "resource": {"group": "argoproj.io", "version": "v1alpha1", "resource": "workflows"},
            "namespace": "team-a",
            "operation": operation,
            "userInfo": {"username": "system:serviceaccount:kubeflow:ml-pipeline"},
            "object": workflow,
            "oldObject": None,
            "dryRun": False,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
            **fields,
        },
    }


def response(body: bytes) -> Json:
    """The response of an answer, after checks of its envelope."""
    document: Json = json.loads(body)
    assert (document["apiVersion"], document["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert document["response"]["uid"] == "705ab4f5-6393-11e8-b7cc-42010a800002"
    assert ("patch" in document["response"]) == ("patchType" in document["response"])
    given: Json = document["response"]
    return given


def admitted(workflow: Json, given: Json) -> Json:
    """The object as the API server stores it."""
    assert given["allowed"]
    if "patch" not in given:
        return workflow
    assert given["patchType"] == "JSONPatch"
    stored: Json = patched(workflow, json.loads(base64.b64decode(given["patch"], validate=True)))
    return stored
