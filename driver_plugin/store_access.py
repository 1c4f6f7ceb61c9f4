"""How the service itself reaches a namespace's object store: provider settings, and the Secret they name.

The launcher configuration says per bucket where the server is and which Secret of the namespace holds the
keys (spec PODSPEC 11.4, 11.5). Keys are kept for a minute, so that a burst of uploads reads one Secret once
and a rotated key is picked up soon. Nothing here is logged or printed: a key's ``repr`` hides it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from driver_plugin.kubernetes import KubernetesClient
from driver_plugin.podspec.errors import LauncherConfigError
from driver_plugin.podspec.launcher_config import LauncherConfigReader
from kfp_api.session_info import (
    S3Connection,
    SessionInfo,
    SessionInfoError,
    parse_bucket_path,
    read_providers,
    s3_connection,
    session_info,
)

_KEPT_SECONDS: Final = 60.0
_KEPT_SECRETS: Final = 256
_S3_PROVIDERS: Final = frozenset({"s3", "minio"})


@dataclass(frozen=True)
class StaticKeys:
    """An access key and its secret."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class S3Access:
    """Where an S3 server is, and the keys for it; without keys the client's ambient chain decides."""

    connection: S3Connection
    keys: StaticKeys | None


class StoreAccess:
    """Finds the way to the stores of namespaces; one per process.

    Args:
        launcher_config: provider settings by namespace.
        kubernetes: reads Secrets; ``None`` outside a cluster.
        object_store: ``host:port`` of the in-cluster store; empty for KFP's own.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        launcher_config: LauncherConfigReader,
        kubernetes: KubernetesClient | None,
        object_store: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._launcher_config = launcher_config
        self._kubernetes = kubernetes
        self._object_store = object_store
        self._clock = clock
        self._kept: dict[tuple[str, str], tuple[float, dict[str, bytes]]] = {}

    async def s3(self, root: str, *, namespace: str) -> S3Access:
        """The way to a root of scheme ``s3`` or ``minio``.

        Raises:
            LauncherConfigError: the root, the provider settings or the Secret cannot be used.
            KubernetesError: the Secret or the configuration cannot be read; as retryable as its cause.
        """
        connection, info = await self._connection(root, namespace)
        return S3Access(connection=connection, keys=await self._keys(info, namespace))

    async def connection(self, root: str, *, namespace: str) -> S3Connection:
        """The connection alone, for who has keys of its own; raises as :meth:`s3` does."""
        return (await self._connection(root, namespace))[0]

    async def _connection(self, root: str, namespace: str) -> tuple[S3Connection, SessionInfo]:
        config = await self._launcher_config.read(namespace)
        try:
            path = parse_bucket_path(root)
            info = session_info(root, read_providers(config.providers), object_store=self._object_store)
            if info is None or path.provider not in _S3_PROVIDERS:
                raise LauncherConfigError(f'"{root}" does not lie on an S3 server')
            connection = s3_connection(info, query=path.query)
        except SessionInfoError as error:
            raise LauncherConfigError(str(error)) from error
        return connection, info

    async def _keys(self, info: SessionInfo, namespace: str) -> StaticKeys | None:
        if info.params["fromEnv"] == "true":
            return None
        name = info.params["secretName"]
        secret = await self._secret(namespace, name)
        access_key, secret_key = (
            secret.get(info.params[key], b"").decode("utf-8", "replace").strip()
            for key in ("accessKeyKey", "secretKeyKey")
        )
        if not access_key or not secret_key:
            raise LauncherConfigError(
                f'secret "{name}" holds no "{info.params["accessKeyKey"]}" or no '
                f'"{info.params["secretKeyKey"]}", which the provider settings name'
            )
        return StaticKeys(access_key, secret_key)

    async def _secret(self, namespace: str, name: str) -> dict[str, bytes]:
        if self._kubernetes is None:
            raise LauncherConfigError(f'secret "{name}" cannot be read outside a cluster')
        now = self._clock()
        read_at, secret = self._kept.get((namespace, name), (now - _KEPT_SECONDS, {}))
        if now - read_at < _KEPT_SECONDS:
            return secret
        secret = await self._kubernetes.get_secret(namespace, name)
        if len(self._kept) >= _KEPT_SECRETS:
            self._kept.clear()
        self._kept[namespace, name] = (now, secret)
        return secret
