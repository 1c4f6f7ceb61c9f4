"""Files that change under a running process: the certificate and the plugin profile.

Kubernetes renews both in place. A version that cannot be used is reported and the one before it stays in use:
half a rotation must not stop admission.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from compiler.errors import ProfileError
from compiler.webhook.errors import WebhookSettingsError
from compiler.webhook.metrics import WebhookMetrics

POLL_SECONDS: Final = 10.0
"""The kubelet itself takes a minute to deliver a change."""


class WatchedFiles:
    """Calls ``load`` when one of the files is another one than before.

    Args:
        name: what the files are, for logs and metrics.
        paths: the files.
        load: reads them; raises ``WebhookSettingsError`` or ``ProfileError`` where they cannot be used.
        metrics: counts what happened.
    """

    def __init__(
        self, name: str, paths: Sequence[Path], load: Callable[[], None], metrics: WebhookMetrics
    ) -> None:
        self._name = name
        self._paths = paths
        self._load = load
        self._metrics = metrics
        self._seen = self._versions()
        load()

    def check(self) -> None:
        """Read the files again if they changed; the failure of a new version is logged, not raised."""
        versions = self._versions()
        if versions == self._seen:
            return
        self._seen = versions
        logger = structlog.get_logger("webhook")
        try:
            self._load()
        except (WebhookSettingsError, ProfileError) as error:
            self._metrics.reloads.labels(self._name, "failed").inc()
            logger.warning("reload-failed", file=self._name, error=str(error), kept="the version before")
        else:
            self._metrics.reloads.labels(self._name, "done").inc()
            logger.info("reloaded", file=self._name)

    def _versions(self) -> list[tuple[int, ...]]:
        return [_version(path) for path in self._paths]


def _version(path: Path) -> tuple[int, ...]:
    """What tells one version of a file from the next, links followed; empty where there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_size, status.st_ino)


class ServingCertificate:
    """The TLS context of the server, whose certificate can be replaced while it serves.

    Connections that are open keep the certificate they began with.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self.context = _new_context()

    def load(self) -> None:
        """Take the files' present content; :class:`WebhookSettingsError` where they do not fit together."""
        trial = _new_context()
        try:
            # Into another context first: a key that does not fit would leave this one without any.
            trial.load_cert_chain(self._certificate, self._key)
            self.context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror if type(error) is not ssl.SSLError and error.strerror else str(error)
            raise WebhookSettingsError(
                f"certificate {self._certificate} with key {self._key} cannot be used: {reason}"
            ) from error


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def watch(files: Sequence[WatchedFiles], *, seconds: float = POLL_SECONDS) -> None:
    """Look for changes until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        for one in files:
            one.check()
