"""Who may do what in multi-user mode (spec KFP_API 9.2 to 9.4); without that mode, everybody everything.

The rules are KFP's: an identity header that the mesh vouches for, else a bearer token that Kubernetes
reviews for the base audience and, where the call concerns one run, for that run's audience; then one
SubjectAccessReview per resource. Kubernetes itself stands behind :class:`Reviews`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from local_stack.api_server.errors import PermissionDeniedError, UnauthenticatedError

Resource = Literal["runs", "artifacts", "experiments", "pipelines", "workflows"]

_READING: Final = frozenset({"get", "list"})


@dataclass(frozen=True, kw_only=True)
class ResourceAttributes:
    """What a SubjectAccessReview is asked about, in API group ``pipelines.kubeflow.org``."""

    verb: str
    resource: Resource
    namespace: str
    name: str = ""
    """Name of a run's workflow; ``""`` for the other resources."""


@dataclass(frozen=True, kw_only=True)
class TokenReviewStatus:
    """Whose token it is, and which of the requested audiences it has."""

    user: str
    audiences: frozenset[str]


class Reviews(Protocol):
    """The two questions that only Kubernetes can answer. Called on database threads; may block."""

    def token_review(self, token: str, audiences: Sequence[str]) -> TokenReviewStatus | None:
        """The status of a token; ``None`` where it is not authenticated."""
        ...

    def subject_access_review(self, user: str, attributes: ResourceAttributes) -> bool:
        """Whether the user may; group memberships do not count."""
        ...


@dataclass(frozen=True, kw_only=True)
class MultiUser:
    """Settings of multi-user mode, with KFP's defaults."""

    reviews: Reviews
    audience: str = "pipelines.kubeflow.org"
    """Base audience, ``TOKEN_REVIEW_AUDIENCE``."""

    user_header: str = "x-goog-authenticated-user-email"
    """Header with the identity, ``KUBEFLOW_USERID_HEADER``."""

    user_prefix: str = "accounts.google.com:"
    """What stands before the identity in that header, ``KUBEFLOW_USERID_PREFIX``."""

    shared_read: bool = False
    """Let every get and list pass unidentified, ``MULTIUSER_SHARED_READ``."""

    def run_audience(self, run_id: str) -> str:
        """Audience of a token that is bound to that run."""
        return f"{self.audience}/runs/{run_id}"


class Caller:
    """Whoever sent one request."""

    def __init__(self, mode: MultiUser | None, headers: Mapping[str, str]) -> None:
        self._mode = mode
        self._headers = headers
        self._users: dict[str, str] = {}

    def authorize(
        self, verb: str, resource: Resource, *, namespace: str, name: str = "", run_id: str = ""
    ) -> None:
        """Let the caller pass, or not. ``run_id`` is the run that the call concerns, if it is one.

        Raises:
            UnauthenticatedError: nobody, or a token that is not valid for this server and run.
            PermissionDeniedError: somebody who may not.
        """
        mode = self._mode
        if mode is None or (mode.shared_read and verb in _READING):
            return
        if run_id not in self._users:
            self._users[run_id] = self._identify(mode, run_id)
        user = self._users[run_id]
        attributes = ResourceAttributes(verb=verb, resource=resource, namespace=namespace, name=name)
        if not mode.reviews.subject_access_review(user, attributes):
            raise PermissionDeniedError(
                f'User "{user}" is not authorized to {verb} {resource} in namespace "{namespace}"'
            )

    def _identify(self, mode: MultiUser, run_id: str) -> str:
        header = self._headers.get(mode.user_header, "")
        if header.startswith(mode.user_prefix) and (user := header.removeprefix(mode.user_prefix)):
            return user
        scheme, _, token = self._headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise UnauthenticatedError("Request header error: there is no user identity header")
        wanted = [mode.audience, *([mode.run_audience(run_id)] if run_id else [])]
        status = mode.reviews.token_review(token.strip(), wanted)
        if status is None or status.audiences.isdisjoint(wanted):
            raise UnauthenticatedError("The bearer token is not authenticated for this server")
        return status.user


ANYBODY: Final = Caller(None, {})
"""The caller of a server without multi-user mode."""
