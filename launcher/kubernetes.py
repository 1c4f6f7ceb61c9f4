"""The three things the launcher may ask Kubernetes for, and only where nothing else answers (spec A2).

ConfigMap ``kfp-launcher``, credentials of an object store, and the node name of our own pod. Outside a
cluster there is no client and nobody misses it.
"""

import base64
import binascii
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from launcher.errors import LauncherError

if TYPE_CHECKING:
    import httpx

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT_SECONDS: Final = 10.0
_ATTEMPTS: Final = 4
_PASSING: Final = frozenset({429, 500, 502, 503, 504})


class KubernetesReadError(LauncherError):
    """Kubernetes refused or did not answer."""


class Kubernetes:
    """Reads single objects with the pod's own service account; blocking.

    Args:
        base_url: address of the API server.
        token_file: file with the bearer token, read for every request; ``None`` sends none.
        verify: TLS trust; ``True`` is the system's.
        pause_seconds: scale of the pauses between attempts.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token_file: Path | None = None,
        verify: ssl.SSLContext | bool = True,
        pause_seconds: float = 0.25,
    ) -> None:
        self._base_url = base_url
        self._token_file = token_file
        self._verify = verify
        self._pause_seconds = pause_seconds

    @classmethod
    def in_cluster(cls, environment: Mapping[str, str], *, directory: Path = _SERVICE_ACCOUNT) -> Self | None:
        """The client of this pod; ``None`` outside a cluster."""
        host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
        token, authority = directory / "token", directory / "ca.crt"
        if not host or not token.exists():
            return None
        host = f"[{host}]" if ":" in host else host
        verify = ssl.create_default_context(cafile=authority) if authority.exists() else True
        return cls(f"https://{host}:{port or 443}", token_file=token, verify=verify)

    def config_map(self, namespace: str, name: str) -> dict[str, str] | None:
        """The ``data`` of a ConfigMap; ``None`` where there is none."""
        document = self._read(namespace, "configmaps", name)
        return None if document is None else dict(document.get("data") or {})

    def secret(self, namespace: str, name: str) -> dict[str, str] | None:
        """The decoded values of a Secret; ``None`` where there is none."""
        document = self._read(namespace, "secrets", name)
        if document is None:
            return None
        try:
            return {
                key: base64.b64decode(value, validate=True).decode()
                for key, value in (document.get("data") or {}).items()
            }
        except (binascii.Error, UnicodeDecodeError) as error:
            raise KubernetesReadError(f'Secret "{name}" holds a value that is no base64 text') from error

    def pod_annotations(self, namespace: str, name: str) -> dict[str, str]:
        """The annotations of a pod; empty where there is none."""
        document = self._read(namespace, "pods", name) or {}
        return dict(document.get("metadata", {}).get("annotations") or {})

    def _read(self, namespace: str, kind: str, name: str) -> dict[str, Any] | None:
        import httpx  # noqa: PLC0415 (most launchers never ask, and loading it takes as long as a whole call)

        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/{kind}/{quote(name, safe='')}"
        retrying = Retrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_random_exponential(multiplier=self._pause_seconds, max=4),
            retry=retry_if_exception(
                lambda error: (
                    isinstance(error, httpx.TransportError)
                    or (isinstance(error, httpx.HTTPStatusError) and error.response.status_code in _PASSING)
                )
            ),
            reraise=True,
        )
        try:
            # No proxy from the environment: the API server is in the cluster, and the token stays there.
            with httpx.Client(
                base_url=self._base_url, verify=self._verify, timeout=_TIMEOUT_SECONDS, trust_env=False
            ) as client:
                return retrying(self._get, client, path)
        except (httpx.HTTPError, OSError, ValueError) as error:
            cause = str(error).partition("\n")[0]
            raise KubernetesReadError(f'failed to read {kind} "{name}" in {namespace}: {cause}') from error

    def _get(self, client: "httpx.Client", path: str) -> dict[str, Any] | None:
        headers = {}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {self._token_file.read_text(encoding='ascii').strip()}"
        answer = client.get(path, headers=headers)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        document: dict[str, Any] = answer.raise_for_status().json()
        return document
