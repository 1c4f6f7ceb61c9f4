"""What the calls of every resource share: one transport, and how a call becomes a request."""

from collections.abc import Mapping, Sequence
from typing import Any

from kfp_api.operations import Operation
from kfp_api.transport import ApiTransport, Request


class ApiCalls:
    """Calls over one transport."""

    def __init__(self, transport: ApiTransport) -> None:
        self._transport = transport

    async def _call(
        self,
        operation: Operation,
        *,
        run_id: str | None = None,
        named_run: str | None = None,
        parts: Mapping[str, str] | None = None,
        query: Sequence[tuple[str, str]] = (),
        body: Any = None,
    ) -> Any:
        """One call. ``run_id`` is a path part; a run that only the body names is ``named_run``."""
        path_parts = dict(parts or {}) if run_id is None else {"run_id": run_id, **(parts or {})}
        named = run_id if run_id is not None else named_run
        if body is None:
            return await self._transport.call(
                Request(operation=operation, parts=path_parts, query=query, run_id=named)
            )
        return await self._transport.call(
            Request(operation=operation, parts=path_parts, query=query, body=body, run_id=named)
        )
