"""Artifact URIs taken apart (spec LAUNCHER A19)."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from launcher.errors import LauncherError

_OBJECT_URI: Final = re.compile(
    r"(?P<provider>gs|s3|minio)://(?P<bucket>[^/?#]+)/(?P<path>[^?]+)(?:\?.*)?", re.DOTALL
)
_RESERVED: Final = re.compile(r"%(?:3f|26|23)", re.IGNORECASE)
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9a-fA-F]{2})")


@dataclass(frozen=True)
class ObjectUri:
    """An object, or the prefix of a tree of objects, in a bucket; ``key`` is percent-decoded."""

    provider: str
    bucket: str
    key: str

    @property
    def directory(self) -> str:
        """The URI without its last segment: what decides which settings apply."""
        parent = self.key.rpartition("/")[0]
        return f"{self.provider}://{self.bucket}/{parent}" if parent else f"{self.provider}://{self.bucket}"


def parse_object_uri(uri: str) -> ObjectUri:
    """Provider, bucket and key of ``uri``; its query is dropped.

    Raises:
        LauncherError: the URI is malformed, or of a scheme without objects.
    """
    match = _OBJECT_URI.fullmatch(uri)
    if match is None:
        raise LauncherError(f'"{uri}" is not the URI of an object (gs://, s3:// or minio://, bucket, key)')
    path = match["path"]
    if _RESERVED.search(path) or _BROKEN_ESCAPE.search(path):
        raise LauncherError(f'"{uri}" has an escape in its path that no object key may hold')
    key = unquote(path).strip("/")
    if not key:
        raise LauncherError(f'"{uri}" names a bucket and no object')
    return ObjectUri(match["provider"], match["bucket"], key)
