"""Who may call the service: Argo's agent token (spec DEPLOY 2.3).

The token file is compared in constant time. It is read again when the file changes, which a look at its
metadata tells. While it cannot be read, or is empty, every call is refused.
"""

import hmac
from pathlib import Path

_Signature = tuple[int, int, int]


class AgentToken:
    """The token that Argo's agent sends with every call, from the file that Argo writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signature: _Signature | None = None
        self._token = b""

    def readable(self) -> bool:
        """Whether there is a token to compare with."""
        return bool(self._current())

    def accepts(self, authorization: str | None) -> bool:
        """Whether that ``Authorization`` header carries the token."""
        token = self._current()
        given = (authorization or "").encode("utf-8", "surrogateescape")
        return bool(token) and hmac.compare_digest(given, b"Bearer " + token)

    def _current(self) -> bytes:
        try:
            status = self._path.stat()
            signature = (status.st_mtime_ns, status.st_size, status.st_ino)
            if signature != self._signature:
                self._token = self._path.read_bytes().strip()
                self._signature = signature
        except OSError:
            self._token, self._signature = b"", None
        return self._token
