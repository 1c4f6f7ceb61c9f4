"""Where an artifact's URI lies on the executor's disk (spec LAUNCHER A6).

The SDK computes the same paths in user code, so the table is a contract. An absolute path without a scheme
maps to itself; the local stack relies on it.
"""

from typing import Final

from kfp_api.ir.executor_input import RuntimeArtifact
from launcher.errors import LauncherError

WORKSPACE_MARK: Final = "_kfp_workspace"
_MOUNTS: Final = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}
OCI: Final = "oci://"


class UnsupportedSchemeError(LauncherError):
    """The URI's scheme has no local path."""


def local_path(uri: str) -> str:
    """Local path of ``uri``.

    Raises:
        UnsupportedSchemeError: no path exists for this scheme.
        LauncherError: the path would leave its mount.
    """
    if ".." in uri.split("/") and not uri.startswith(OCI):
        raise LauncherError(f"artifact URI {uri} leaves its directory")
    for scheme, mount in _MOUNTS.items():
        if uri.startswith(scheme):
            return mount + uri.removeprefix(scheme)
    if uri.startswith(OCI):
        return f"/oci/{uri.removeprefix(OCI).replace('/', '_')}/models"
    if uri.startswith("/"):
        return uri
    raise UnsupportedSchemeError(f"failed to generate local path for URI {uri}: unsupported storage scheme")


def workspace_path(uri: str, workspace: str) -> str:
    """Path of an imported artifact inside the workspace volume.

    Raises:
        UnsupportedSchemeError: ``oci://`` images and unknown schemes never lie in a workspace.
    """
    if uri.startswith(OCI):
        raise UnsupportedSchemeError(
            f"failed to generate workspace path for URI {uri}: OCI images are mounted"
        )
    return f"{workspace}/.artifacts/{local_path(uri).lstrip('/')}"


def is_in_workspace(artifact: RuntimeArtifact) -> bool:
    """Whether an importer already placed the artifact in the workspace."""
    return artifact.metadata.get(WORKSPACE_MARK) is True


def artifact_path(artifact: RuntimeArtifact, workspace: str) -> str:
    """Local path of a runtime artifact: its custom path, its place in the workspace, or that of its URI.

    Raises:
        UnsupportedSchemeError: the URI has no local path.
    """
    if artifact.custom_path:
        return artifact.custom_path
    if is_in_workspace(artifact):
        return workspace_path(artifact.uri, workspace)
    return local_path(artifact.uri)
