"""Trust anchors for the user's command: the system's bundle and the operator's own authority (spec A7)."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from launcher.errors import LauncherError

VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_FILE")
"""What requests, boto3 and OpenSSL read."""

_SYSTEM_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


@contextmanager
def trust_bundle(ca_file: str, environment: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """A bundle with the operator's authority, and the environment that names it, while the block runs.

    Without ``ca_file`` there is no bundle, and the environment is as given.

    Raises:
        LauncherError: ``ca_file`` cannot be read, or the bundle cannot be written.
    """
    if not ca_file:
        yield "", environment
        return
    bundle = _write_bundle(ca_file, environment)
    try:
        yield bundle, {**environment, **dict.fromkeys(VARIABLES, bundle)}
    finally:
        Path(bundle).unlink(missing_ok=True)


def _write_bundle(ca_file: str, environment: Mapping[str, str]) -> str:
    """Path of a new read-only file with the first readable system bundle and the authority in ``ca_file``."""
    try:
        authority = Path(ca_file).read_bytes()
        descriptor, path = tempfile.mkstemp(prefix="kfp-ca-", suffix=".crt")
        with os.fdopen(descriptor, "wb") as bundle:
            bundle.write(_system_bundle(ca_file, environment))
            bundle.write(authority)
        Path(path).chmod(0o444)
    except OSError as error:
        raise LauncherError(f"failed to use the CA certificate {ca_file}: {error.strerror}") from error
    return path


def _system_bundle(ca_file: str, environment: Mapping[str, str]) -> bytes:
    named = environment.get("SSL_CERT_FILE", "")
    candidates = [named] if named and named != ca_file else []
    for candidate in (*candidates, *_SYSTEM_BUNDLES):
        try:
            content = Path(candidate).read_bytes()
        except OSError:
            continue
        return content if content.endswith(b"\n") else content + b"\n"
    return b""
