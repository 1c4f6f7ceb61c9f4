"""The few Kubernetes calls that drivers need, as plain REST (spec PODSPEC 12).

ConfigMaps, Secrets and Workflows are read, claims are created, read and deleted, access is reviewed, tokens
are requested; nothing is listed or watched. Every request has its own time-out. What may be repeated is
tried again after connection errors, 429 and 5xx; the creation of a claim only where the server cannot have
acted (connection refused, 429, 503), and callers use deterministic names, so that a 409 after a lost answer
is recognised. The projected token file is read again every minute. This is the only module that knows the
HTTP library's exceptions for Kubernetes.
"""

import base64
import binascii
import os
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from driver_plugin.errors import DriverError
from driver_plugin.own_account import SERVICE_ACCOUNT

_TOKEN_AGE_SECONDS: Final = 60.0
_ATTEMPTS: Final = 4
_LONGEST_WAIT_SECONDS: Final = 4.0

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500
_UNAVAILABLE: Final = 503
_ERROR: Final = 400


class KubernetesError(DriverError):
    """The Kubernetes API refused a request; the text names the request and the server's reason."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class KubernetesNotFoundError(KubernetesError):
    """404: there is no such object."""


class KubernetesConflictError(KubernetesError):
    """409: an object of that name exists already."""


class KubernetesForbiddenError(KubernetesError):
    """401 or 403: the service's account lacks the right."""


class KubernetesUnavailableError(KubernetesError):
    """No answer, 429 or 5xx after all attempts: a later call may succeed."""

    retryable = True


@dataclass(frozen=True)
class AccessReview:
    """Kubernetes' answer to the question whether somebody may do something."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class RequestedToken:
    """A token that Kubernetes issued."""

    token: str = field(repr=False)
    expires_at: datetime


class TokenFile:
    """A bearer token from a projected file, read again when its copy is a minute old."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._token = ""
        self._read_at: float | None = None

    def token(self) -> str:
        """The token; ``""`` while the file does not exist. A failing re-read keeps the old token."""
        now = self._clock()
        if self._read_at is None or now - self._read_at >= _TOKEN_AGE_SECONDS:
            try:
                self._token = self._path.read_text(encoding="ascii").strip()
            except OSError:
                return self._token
            self._read_at = now
        return self._token

    def expire(self) -> None:
        """Read the file again at the next use."""
        self._read_at = None


class KubernetesClient:
    """One per process; an async context manager.

    Args:
        base_url: address of the API server.
        token_file: file with the bearer token; ``None`` sends none.
        verify: TLS trust; ``True`` is the system's.
        timeout_seconds: limit of one attempt.
        retry_wait_seconds: scale of the jittered, growing wait between attempts.
        clock: monotonic seconds, for the age of the token.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token_file: Path | None = None,
        verify: ssl.SSLContext | bool = True,
        timeout_seconds: float = 10.0,
        retry_wait_seconds: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token = TokenFile(token_file, clock=clock) if token_file else None
        self._retry_wait_seconds = retry_wait_seconds
        # No proxy from the environment: the API server is in the cluster, and the token stays there.
        self._http = httpx.AsyncClient(
            base_url=base_url, verify=verify, timeout=timeout_seconds, trust_env=False, follow_redirects=False
        )

    @classmethod
    def in_cluster(
        cls, environ: Mapping[str, str] = os.environ, *, directory: Path = SERVICE_ACCOUNT
    ) -> Self | None:
        """The client of the pod's own service account; ``None`` outside a cluster."""
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
        token, authority = directory / "token", directory / "ca.crt"
        if not host or not token.exists():
            return None
        host = f"[{host}]" if ":" in host else host
        verify = ssl.create_default_context(cafile=authority) if authority.exists() else True
        return cls(f"https://{host}:{port}", token_file=token, verify=verify)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def get_configmap(self, namespace: str, name: str) -> dict[str, str]:
        """The ``data`` of a ConfigMap."""
        document = await self._request("GET", _core(namespace, "configmaps", name))
        return dict(document.get("data") or {})

    async def get_secret(self, namespace: str, name: str) -> dict[str, bytes]:
        """The decoded ``data`` of a Secret."""
        document = await self._request("GET", _core(namespace, "secrets", name))
        try:
            return {
                key: base64.b64decode(value, validate=True)
                for key, value in (document.get("data") or {}).items()
            }
        except (binascii.Error, TypeError) as error:
            raise KubernetesError(f'secret "{name}" holds a value that is not base64') from error

    async def create_pvc(self, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a claim; :class:`KubernetesConflictError` when one of that name exists."""
        path = f"/api/v1/namespaces/{_segment(namespace)}/persistentvolumeclaims"
        return await self._request("POST", path, body=body, repeatable=False)

    async def get_pvc(self, namespace: str, name: str) -> dict[str, Any]:
        """A claim; :class:`KubernetesNotFoundError` when there is none."""
        return await self._request("GET", _core(namespace, "persistentvolumeclaims", name))

    async def delete_pvc(self, namespace: str, name: str) -> bool:
        """Delete a claim without waiting for its end; ``False`` when there was none."""
        try:
            await self._request("DELETE", _core(namespace, "persistentvolumeclaims", name))
        except KubernetesNotFoundError:
            return False
        return True

    async def get_workflow(self, namespace: str, name: str) -> dict[str, Any]:
        """An Argo Workflow."""
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{_segment(namespace)}/workflows/{_segment(name)}"
        return await self._request("GET", path)

    async def review_access(
        self, user: str, groups: Iterable[str], *, verb: str, resource: str, namespace: str, name: str = ""
    ) -> AccessReview:
        """Whether ``user`` may do ``verb`` with a resource of the core group; an empty name means any."""
        attributes = {"namespace": namespace, "verb": verb, "resource": resource, "name": name}
        document = await self._request(
            "POST",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            body={
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {
                    "user": user,
                    "groups": list(groups),
                    "resourceAttributes": {key: value for key, value in attributes.items() if value},
                },
            },
        )
        status = document.get("status")
        if not isinstance(status, dict):
            raise KubernetesError("the answer to a SubjectAccessReview has no status")
        # Only an explicit yes is one: an authorizer that could not decide says allowed: false, too.
        reason = status.get("reason") or status.get("evaluationError") or ""
        return AccessReview(allowed=status.get("allowed") is True, reason=str(reason))

    async def create_token(
        self, namespace: str, account: str, *, audience: str, lifetime_seconds: int, secret: str = ""
    ) -> RequestedToken:
        """A token of a service account for one audience; it dies with ``secret``, if one is named."""
        spec: dict[str, Any] = {"audiences": [audience], "expirationSeconds": lifetime_seconds}
        if secret:
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Secret", "name": secret}
        document = await self._request(
            "POST",
            f"{_core(namespace, 'serviceaccounts', account)}/token",
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        )
        try:
            status = document["status"]
            token, expires = status["token"], datetime.fromisoformat(status["expirationTimestamp"])
        except (KeyError, TypeError, ValueError):
            token, expires = "", None
        if not isinstance(token, str) or not token or expires is None or expires.tzinfo is None:
            raise KubernetesError("the answer to a TokenRequest has no token with an end") from None
        return RequestedToken(token=token, expires_at=expires)

    async def _request(
        self, method: str, path: str, *, body: object = None, repeatable: bool = True
    ) -> dict[str, Any]:
        attempts = AsyncRetrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_random_exponential(multiplier=self._retry_wait_seconds, max=_LONGEST_WAIT_SECONDS),
            retry=retry_if_exception(_is_worth_another_attempt),
            reraise=True,
        )
        document: dict[str, Any] = await attempts(self._attempt, method, path, body, repeatable)
        return document

    async def _attempt(self, method: str, path: str, body: object, repeatable: bool) -> dict[str, Any]:
        token = self._token.token() if self._token else ""
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            response = await self._http.request(method, path, json=body, headers=headers)
        except httpx.TransportError as error:
            acted = not repeatable and not isinstance(error, httpx.ConnectError)
            reason = str(error) or type(error).__name__
            raise _UnansweredError(f"{method} {path}: {reason}", may_have_acted=acted) from error
        if response.status_code < _ERROR:
            document = _json_object(response)
            if document is None:
                raise KubernetesError(f"{method} {path}: the answer is not a JSON object")
            return document
        if response.status_code == _UNAUTHORIZED and self._token:
            self._token.expire()
        raise _failure(method, path, response, repeatable=repeatable)


class _UnansweredError(KubernetesUnavailableError):
    """No answer, or one that asks to come back; ``may_have_acted`` forbids to repeat the request."""

    def __init__(self, message: str, *, may_have_acted: bool, status: int | None = None) -> None:
        super().__init__(message, status=status)
        self.may_have_acted = may_have_acted


def _is_worth_another_attempt(error: BaseException) -> bool:
    return isinstance(error, _UnansweredError) and not error.may_have_acted


def _failure(method: str, path: str, response: httpx.Response, *, repeatable: bool) -> KubernetesError:
    status = response.status_code
    document = _json_object(response) or {}
    reason = document.get("message") or document.get("reason") or response.reason_phrase
    message = f"{method} {path}: {status} {reason}"
    if status == _NOT_FOUND:
        return KubernetesNotFoundError(message, status=status)
    if status == _CONFLICT:
        return KubernetesConflictError(message, status=status)
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        return KubernetesForbiddenError(message, status=status)
    if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
        acted = not repeatable and status not in (_TOO_MANY_REQUESTS, _UNAVAILABLE)
        return _UnansweredError(message, may_have_acted=acted, status=status)
    return KubernetesError(message, status=status)


def _json_object(response: httpx.Response) -> dict[str, Any] | None:
    try:
        document = response.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _core(namespace: str, resource: str, name: str) -> str:
    return f"/api/v1/namespaces/{_segment(namespace)}/{resource}/{_segment(name)}"


def _segment(name: str) -> str:
    """One quoted path segment. An empty name would turn the request into one on the collection."""
    if not name or name in {".", ".."}:
        raise KubernetesError(f'"{name}" is not the name of a Kubernetes object')
    return quote(name, safe="")
