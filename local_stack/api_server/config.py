"""Settings of the embedded server, in one place."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local_stack.api_server.authorization import MultiUser

FULL_VIEW_PAGE_SIZE = 100
"""Largest page of ListRuns with ``view=FULL`` where nothing else is configured."""


def _unix_seconds() -> int:
    return int(time.time())


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """What one server process needs to know."""

    database: Path
    """The SQLite file; created when absent."""

    token: str | None = None
    """Static bearer token that every call but healthz must carry; ``None`` asks nobody."""

    max_body_bytes: int = 64 * 1024 * 1024
    """Larger request bodies are answered with 413."""

    multi_user: MultiUser | None = None
    """Identify and authorise every call, by namespace (spec KFP_API section 9); ``None`` asks nobody."""

    strict_upstream: bool = False
    """Behave as KFP's own server where this one goes beyond it in what it does to rows: finished runs stay
    writable, a bulk update may stop half-way, a repeated link is an error, a retry forgets input links and
    driver pods, an end time outlives a restart (spec KFP_API section 14, rules 1, 2, 4, 7, 13)."""

    server_side_propagation: bool = False
    """Pass the end of a task on to its ancestors, in the transaction that writes it (spec KFP_API 10, 14).
    Clients that propagate themselves may go on doing so. Without effect with ``strict_upstream``."""

    terminal_run_enforcement: bool = True
    """Refuse writes to tasks, artifacts and links of finished runs (spec KFP_API 6.6)."""

    terminal_run_grace_seconds: int = 0
    """How long after ``finished_at`` such writes are still accepted."""

    list_runs_full_view_max_page_size: int = FULL_VIEW_PAGE_SIZE
    """Cap of ListRuns pages with ``view=FULL``; zero and less mean the default."""

    clock: Callable[[], int] = _unix_seconds
    """Unix time in whole seconds."""

    @property
    def enforces_terminal_runs(self) -> bool:
        """Whether finished runs are immutable."""
        return self.terminal_run_enforcement and not self.strict_upstream

    @property
    def propagates(self) -> bool:
        """Whether the server brings ancestors up to date."""
        return self.server_side_propagation and not self.strict_upstream

    @property
    def full_view_page_size(self) -> int:
        """The effective cap of FULL pages."""
        configured = self.list_runs_full_view_max_page_size
        return configured if configured > 0 else FULL_VIEW_PAGE_SIZE
