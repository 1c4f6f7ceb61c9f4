"""Typed calls of KFP's v2beta1 run, task and artifact API.

One client serves a whole process: a shared connection pool, opened by the first call and closed by
:meth:`KfpApiClient.aclose`. A call returns frozen messages or raises a
:class:`~kfp_api.errors.KfpApiError`; repeating, deadlines and credentials are the transport's
(:mod:`kfp_api.transport`), lost answers of creations those of :mod:`kfp_api.checked_creation`.
"""

import ssl
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Any, Self

from kfp_api import operations
from kfp_api.answers import object_of
from kfp_api.artifact_calls import ArtifactCalls
from kfp_api.credentials import Credentials
from kfp_api.run_calls import RunCalls
from kfp_api.transport import ApiCall, ApiTransport, Backoff


class KfpApiClient(RunCalls, ArtifactCalls):
    """The KFP API of one server; usable as an async context manager.

    Args:
        base_url: where the server listens, without ``/apis/v2beta1``.
        credentials: what proves who calls; nothing by default.
        allowed_hosts: hosts that may see the credential; the one of ``base_url`` by default.
        verify: trust anchors for TLS; ``True`` is the system's store.
        timeout_seconds: bound of one attempt.
        retry_deadline_seconds: bound of all attempts of one call, pauses included.
        observer: told of every attempt.
        backoff: pauses between attempts.
    """

    def __init__(
        self,
        base_url: str,
        *,
        credentials: Credentials | None = None,
        allowed_hosts: Collection[str] | None = None,
        verify: ssl.SSLContext | bool = True,
        timeout_seconds: float = 30.0,
        retry_deadline_seconds: float = 20.0,
        observer: Callable[[ApiCall], None] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        super().__init__(
            ApiTransport(
                base_url,
                credentials=credentials,
                allowed_hosts=allowed_hosts,
                verify=verify,
                timeout_seconds=timeout_seconds,
                retry_deadline_seconds=retry_deadline_seconds,
                observer=observer,
                backoff=backoff,
            )
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def healthz(self) -> dict[str, Any]:
        """The server's health and mode."""
        return object_of(await self._call(operations.HEALTHZ))
