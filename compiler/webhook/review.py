"""One AdmissionReview: a request's bytes in, an answer's bytes out; no network, no clock (COMPILER 13.2).

A Workflow that is created is converted, one that is updated only completed. Whatever else arrives is allowed
as it is. The answer is small whatever the request was: a patch of the parts that change, messages of bounded
length.
"""

import base64
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

import orjson

from compiler.rewriter.errors import Refusal, RewriteRefused
from compiler.rewriter.rewrite import Result, RewriteOptions, rewrite

API_VERSION: Final = "admission.k8s.io/v1"
_GROUP: Final = "argoproj.io/"
_MOST_WARNINGS: Final = 10
_WARNING_CHARACTERS: Final = 256
_MESSAGE_CHARACTERS: Final = 1024
_UNPROCESSABLE: Final = 422


class Policy(StrEnum):
    """What becomes of a Workflow that cannot be rewritten."""

    DENY = "deny"
    ALLOW = "allow"


class Outcome(StrEnum):
    """How a review ended, as a label of metrics."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    DENIED = "denied"
    ALLOWED = "allowed"
    INVALID = "invalid"


class InvalidReviewError(ValueError):
    """The body is no AdmissionReview of version v1; the text says why."""


@dataclass(frozen=True)
class Answer:
    """The reply to a review."""

    outcome: Outcome
    body: bytes = field(repr=False)


def review(body: bytes, options: RewriteOptions, *, policy: Policy) -> Answer:
    """Answer one AdmissionReview.

    Args:
        body: the request's body.
        options: how to rewrite.
        policy: what to do with a Workflow that is refused.

    Raises:
        InvalidReviewError: the body is not an AdmissionReview v1 with a request.
    """
    request = _request(body)
    uid = request["uid"]
    workflow = _workflow(request)
    if workflow is None:
        return Answer(Outcome.UNCHANGED, _response(uid, allowed=True))
    if request["operation"] == "UPDATE":
        options = replace(options, convert=False)
    try:
        return _rewritten(uid, rewrite(workflow, options))
    except RewriteRefused as refusal:
        return _refused(uid, refusal, policy)


def _request(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidReviewError(f"the body is not JSON: {error.msg}") from error
    if not isinstance(document, dict):
        raise InvalidReviewError("the body is not an object")
    if document.get("apiVersion") != API_VERSION or document.get("kind") != "AdmissionReview":
        raise InvalidReviewError(f"the body is not an AdmissionReview of {API_VERSION}")
    request = document.get("request")
    if not isinstance(request, dict):
        raise InvalidReviewError("the AdmissionReview has no request")
    for name in ("uid", "operation"):
        if not isinstance(request.get(name), str) or not request[name]:
            raise InvalidReviewError(f"request.{name} is missing")
    return request


def _workflow(request: dict[str, Any]) -> dict[str, Any] | None:
    """The Workflow that is created or updated; ``None`` for everything that is let through."""
    workflow = request.get("object")
    if request["operation"] not in ("CREATE", "UPDATE") or not isinstance(workflow, dict):
        return None
    version = workflow.get("apiVersion")
    if workflow.get("kind") != "Workflow" or not isinstance(version, str) or request.get("subResource"):
        return None
    return workflow if version.startswith(_GROUP) else None


def _rewritten(uid: str, result: Result) -> Answer:
    warnings = [str(one) for one in result.warnings]
    if not result.changed:
        return Answer(Outcome.UNCHANGED, _response(uid, allowed=True, warnings=warnings))
    try:
        patch = orjson.dumps(result.patch)
    except orjson.JSONEncodeError as error:
        raise RewriteRefused(Refusal.MALFORMED, "a driver template is nested too deeply") from error
    body = _response(
        uid,
        allowed=True,
        warnings=warnings,
        patchType="JSONPatch",
        patch=base64.b64encode(patch).decode(),
        auditAnnotations={"rewritten-templates": str(len(result.templates))},
    )
    return Answer(Outcome.CHANGED, body)


def _refused(uid: str, refusal: RewriteRefused, policy: Policy) -> Answer:
    if policy is Policy.ALLOW:
        return Answer(Outcome.ALLOWED, _response(uid, allowed=True, warnings=[str(refusal)]))
    status = {
        "code": _UNPROCESSABLE,
        "reason": "Invalid",
        "message": _one_line(str(refusal), _MESSAGE_CHARACTERS),
    }
    return Answer(Outcome.DENIED, _response(uid, allowed=False, status=status))


def _response(uid: str, *, allowed: bool, warnings: list[str] | None = None, **fields: Any) -> bytes:
    response: dict[str, Any] = {"uid": uid, "allowed": allowed, **fields}
    if warnings:
        response["warnings"] = [_one_line(one, _WARNING_CHARACTERS) for one in warnings[:_MOST_WARNINGS]]
    return orjson.dumps({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})


def _one_line(text: str, limit: int) -> str:
    """Warnings travel in HTTP headers: printable, bounded."""
    line = "".join(character if character.isprintable() else "?" for character in text)
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
