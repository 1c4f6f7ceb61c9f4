"""Credentials for the KFP API: which token a call carries, where it comes from, when it is renewed.

The run-bound token goes with every call that names a run; the base-audience token of the same service
account only where the server demands one (spec DEPLOY 6.2, 6.4). Tokens appear in no message and no
log: a log line identifies one by the first eight hex digits of its SHA-256.
"""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

REREAD_AFTER_SECONDS: Final = 60.0

RENEWED_AFTER: Final = 0.8
"""Share of a requested token's life after which another one is requested."""

TOKENS_KEPT: Final = 256
"""Requested tokens kept at most: one for each run that is under way."""

_log = logging.getLogger(__name__)


class Credentials(Protocol):
    """Where a client gets the headers that prove who it is."""

    async def headers(self, *, run_id: str | None, base_audience: bool) -> Mapping[str, str]:
        """Headers for one call; empty where there is no credential.

        Args:
            run_id: the run that the call names, if it names one.
            base_audience: whether the server refuses run-bound tokens for this call.
        """
        ...

    async def refresh(self) -> bool:
        """Get the credential anew, after a 401; whether it may have changed."""
        ...


class NoCredentials:
    """Sends nothing: single-user servers and the embedded server's default."""

    async def headers(self, *, run_id: str | None, base_audience: bool) -> Mapping[str, str]:
        """No headers at all."""
        del run_id, base_audience
        return {}

    async def refresh(self) -> bool:
        """Nothing can change."""
        return False


class TokenMode(StrEnum):
    """Which of the two tokens is sent."""

    RUN = "run"
    """The run-bound one, and the base-audience one only where it is demanded."""
    BASE = "base"
    """The base-audience one for every call: the run boundary is lost."""


@dataclass
class _TokenFile:
    """A token file and what was read from it last."""

    path: Path | None
    token: str = ""
    read_at: float | None = None
    absence_reported: bool = False

    def read(self) -> None:
        """Read the file again; a file that is not there yields no token and is reported once."""
        if self.path is None:
            return
        try:
            token = self.path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            token = ""
            if not self.absence_reported:
                _log.warning("no KFP API token: cannot read %s: %s", self.path, type(error).__name__)
                self.absence_reported = True
        else:
            if token != self.token:
                _log.info("KFP API token read from %s: sha256 %s", self.path, token_digest(token))
            self.absence_reported = False
        self.token = token


class TokenFileCredentials:
    """Tokens from files that the kubelet rotates; read again when older than a minute."""

    def __init__(
        self,
        token_path: Path | None,
        base_token_path: Path | None = None,
        *,
        mode: TokenMode = TokenMode.RUN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run_token = _TokenFile(token_path)
        self._base_token = _TokenFile(base_token_path)
        self._mode = TokenMode(mode)
        self._clock = clock
        self._lock = asyncio.Lock()

    async def headers(self, *, run_id: str | None, base_audience: bool) -> Mapping[str, str]:
        """The ``Authorization`` header; a call that needs the base audience falls back to the run token."""
        del run_id
        wants_base = base_audience or self._mode is TokenMode.BASE
        files = (self._base_token, self._run_token) if wants_base else (self._run_token,)
        for file in files:
            if file.path is None:
                continue
            if file.read_at is None or self._clock() - file.read_at > REREAD_AFTER_SECONDS:
                await self._read(file)
            if file.token:
                return {"Authorization": f"Bearer {file.token}"}
        return {}

    async def refresh(self) -> bool:
        """Read both files now; whether a token differs from the one that was in use."""
        before = (self._run_token.token, self._base_token.token)
        await self._read(self._run_token)
        await self._read(self._base_token)
        return before != (self._run_token.token, self._base_token.token)

    async def _read(self, file: _TokenFile) -> None:
        async with self._lock:
            await asyncio.to_thread(file.read)
            file.read_at = self._clock()


@dataclass(frozen=True, kw_only=True)
class IssuedToken:
    """A token that Kubernetes made on request, and for how many seconds it is valid from now."""

    token: str
    lifetime_seconds: float


@dataclass(frozen=True, kw_only=True)
class _Minted:
    token: str
    renew_at: float


class TokenRequestCredentials:
    """Tokens that Kubernetes mints for the process's own service account, one for each run's audience.

    Renewed when four fifths of their life are over; the tokens of the runs used last are kept, no others.

    Args:
        request: asks Kubernetes (TokenRequest) for a token of one audience; what it raises is a
            :class:`~kfp_api.errors.KfpApiError`, like every failure of a call.
        audience_base: the server's base audience; a run's is ``<base>/runs/<run_id>``.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        request: Callable[[str], Awaitable[IssuedToken]],
        *,
        audience_base: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request = request
        self._audience_base = audience_base
        self._clock = clock
        self._lock = asyncio.Lock()
        self._minted: OrderedDict[str, _Minted] = OrderedDict()

    async def headers(self, *, run_id: str | None, base_audience: bool) -> Mapping[str, str]:
        """The ``Authorization`` header; a call that names no run carries the base audience."""
        bound = run_id is not None and not base_audience
        audience = f"{self._audience_base}/runs/{run_id}" if bound else self._audience_base
        token = self._valid(audience)
        if token is None:
            # Calls of the same run, which come together, share one request.
            async with self._lock:
                token = self._valid(audience) or await self._mint(audience)
        return {"Authorization": f"Bearer {token}"}

    async def refresh(self) -> bool:
        """Forget every token: the next call of each run requests its own anew."""
        self._minted.clear()
        return True

    def _valid(self, audience: str) -> str | None:
        known = self._minted.get(audience)
        if known is None or self._clock() >= known.renew_at:
            return None
        self._minted.move_to_end(audience)
        return known.token

    async def _mint(self, audience: str) -> str:
        asked_at = self._clock()
        issued = await self._request(audience)
        _log.info("KFP API token issued for %s: sha256 %s", audience, token_digest(issued.token))
        renew_at = asked_at + RENEWED_AFTER * issued.lifetime_seconds
        self._minted[audience] = _Minted(token=issued.token, renew_at=renew_at)
        self._minted.move_to_end(audience)
        while len(self._minted) > TOKENS_KEPT:
            self._minted.popitem(last=False)
        return issued.token


class CallerCredentials:
    """The token of whoever is being served, passed through: the service has no right of its own.

    Each call of the service runs :meth:`serving` around its work; outside of it nothing is sent.
    """

    def __init__(self) -> None:
        self._token: ContextVar[str] = ContextVar("caller_token", default="")

    @contextmanager
    def serving(self, token: str) -> Iterator[None]:
        """Send ``token`` with everything that this context, and tasks started in it, ask for."""
        reset = self._token.set(token)
        try:
            yield
        finally:
            self._token.reset(reset)

    async def headers(self, *, run_id: str | None, base_audience: bool) -> Mapping[str, str]:
        """The caller's ``Authorization`` header, whatever is asked."""
        del run_id, base_audience
        token = self._token.get()
        return {"Authorization": f"Bearer {token}"} if token else {}

    async def refresh(self) -> bool:
        """Nothing can change: only the caller has another token."""
        return False


def token_digest(token: str) -> str:
    """Eight hex digits that identify a token in a log without revealing it."""
    return hashlib.sha256(token.encode()).hexdigest()[:8]
