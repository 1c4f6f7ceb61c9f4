"""The service account that this pod runs as, by its mounted token.

Argo 4.0 mounts nothing into a sidecar but the token of a Secret. It has no audience, so that the KFP API
refuses it, but with it Kubernetes issues others (:mod:`driver_plugin.drivers.token_requests`). Which account
that is, and which Secret they shall die with, the token says. Kubernetes checks it; here nothing is decided
by what it claims.
"""

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from driver_plugin.errors import ConfigurationError

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts a pod's token and the certificate of its API server."""

_SUBJECT: Final = "system:serviceaccount:"
_HOLDER_CLAIM: Final = "kubernetes.io/serviceaccount/secret.name"


@dataclass(frozen=True, kw_only=True)
class OwnAccount:
    """A service account, and the Secret that holds its token (none for a projected token)."""

    namespace: str
    name: str
    secret: str = ""

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ, *, directory: Path = SERVICE_ACCOUNT) -> Self:
        """The account of the mounted token.

        Raises:
            ConfigurationError: there is no Kubernetes to ask, or no token of a service account.
        """
        if not environ.get("KUBERNETES_SERVICE_HOST"):
            raise ConfigurationError("KFP_TOKEN_MODE: tokenrequest works inside a cluster only")
        path = directory / "token"
        try:
            claims = _claims(path.read_text(encoding="ascii").strip())
        except (OSError, ValueError):
            raise ConfigurationError(
                f"KFP_TOKEN_MODE: tokenrequest needs a JSON web token in {path}"
            ) from None
        subject, secret = str(claims.get("sub", "")), claims.get(_HOLDER_CLAIM)
        namespace, _, name = subject.removeprefix(_SUBJECT).partition(":")
        if not subject.startswith(_SUBJECT) or not namespace or not name:
            raise ConfigurationError(f"KFP_TOKEN_MODE: the token in {path} is not a service account's")
        return cls(namespace=namespace, name=name, secret=secret if isinstance(secret, str) else "")


def _claims(token: str) -> dict[str, Any]:
    """What a JSON web token claims; :class:`ValueError` where it is none."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, binascii.Error) as error:
        raise ValueError("not a JSON web token") from error
    if not isinstance(claims, dict):
        raise ValueError("not a JSON web token")  # noqa: TRY004 (the text is wrong, not a type)
    return claims
