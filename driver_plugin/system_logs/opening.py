"""Opens the store of a log root: which server, which credentials, which trust anchors (spec DEPLOY 9.2, 9.4).

The server is the one that KFP's launcher configuration names for the bucket. Credentials come from the
environment, else from the Secret that this configuration names, else from the ambient chain. All of it is
read when the first log is to be written, never at the start of the service.
"""

import asyncio
import atexit
import ssl
import tempfile
from contextlib import AsyncExitStack
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from driver_plugin.errors import DriverError
from driver_plugin.settings import Settings
from driver_plugin.system_logs.s3_store import S3LogStore, S3Target
from driver_plugin.system_logs.store import DirectoryLogStore, LogStore, LogStoreError

if TYPE_CHECKING:
    from driver_plugin.kubernetes import KubernetesClient


async def open_store(
    log_root: str, settings: Settings, *, kubernetes: "KubernetesClient | None" = None
) -> LogStore:
    """The store of a log root as :func:`~driver_plugin.system_logs.location.derive_log_root` gives it.

    Args:
        log_root: ``minio://`` or ``s3://`` with bucket and prefix, or an absolute directory.
        settings: credentials of the environment, trust anchors, where the launcher configuration lies.
        kubernetes: reads the configuration and the Secret; by default the pod's own client, if there is one.

    Raises:
        LogStoreError: the configuration or the Secret cannot be used; it may help to try again.
    """
    if log_root.startswith("/"):
        return DirectoryLogStore(Path(log_root))
    from driver_plugin.kubernetes import KubernetesClient  # noqa: PLC0415 (import budget)

    async with AsyncExitStack() as stack:
        if kubernetes is None:
            kubernetes = KubernetesClient.in_cluster()
            if kubernetes is not None:
                await stack.enter_async_context(kubernetes)
        try:
            return S3LogStore(await _target(log_root, settings, kubernetes))
        except DriverError as error:
            raise LogStoreError(f"cannot open the log store: {error}") from error


async def _target(log_root: str, settings: Settings, kubernetes: "KubernetesClient | None") -> S3Target:
    from driver_plugin.podspec.launcher_config import LauncherConfigReader  # noqa: PLC0415 (import budget)
    from driver_plugin.store_access import StoreAccess  # noqa: PLC0415 (import budget)

    configured = settings.object_store_host and settings.object_store_port
    access = StoreAccess(
        launcher_config=LauncherConfigReader(
            directory=Path(settings.launcher_config_dir), kubernetes=kubernetes
        ),
        kubernetes=kubernetes,
        object_store=f"{settings.object_store_host}:{settings.object_store_port}" if configured else "",
    )
    access_key = settings.s3_access_key.get_secret_value()
    secret_key = settings.s3_secret_key.get_secret_value()
    if (access_key and secret_key) or kubernetes is None:
        connection = await access.connection(log_root, namespace=settings.namespace)
    else:
        way = await access.s3(log_root, namespace=settings.namespace)
        connection = way.connection
        access_key = way.keys.access_key if way.keys else ""
        secret_key = way.keys.secret_key if way.keys else ""
    bucket, _, prefix = log_root.partition("://")[2].partition("/")
    return S3Target(
        bucket=bucket,
        prefix=unquote(prefix).strip("/"),
        endpoint=connection.endpoint,
        region=connection.region,
        path_style=connection.path_style,
        access_key=access_key if secret_key else "",
        secret_key=secret_key if access_key else "",
        ca_file=await asyncio.to_thread(trust_bundle, settings),
    )


def trust_bundle(settings: Settings) -> str:
    """A file with the system's trust anchors and the configured ones; empty where none are configured.

    boto3 takes one file that replaces its own anchors; configured ones are to be added (spec DEPLOY 4).
    """
    if not settings.ca_file and not settings.ca_pem:
        return ""
    system = ssl.get_default_verify_paths().cafile
    try:
        parts = [Path(path).read_text() for path in (system, settings.ca_file) if path]
        return _file_with("\n".join([*parts, settings.ca_pem]))
    except OSError as error:
        raise LogStoreError(f"cannot read trust anchors: {error.strerror}") from error


@lru_cache(maxsize=4)
def _file_with(anchors: str) -> str:
    """One file for the same anchors, however often a store is opened; it goes with the process."""
    with tempfile.NamedTemporaryFile("w", prefix="kfp-driver-ca-", suffix=".pem", delete=False) as bundle:
        bundle.write(anchors)
    atexit.register(Path(bundle.name).unlink, missing_ok=True)
    return bundle.name
