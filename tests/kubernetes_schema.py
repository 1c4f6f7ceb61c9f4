"""Kubernetes' own schemas as an oracle: an object is valid for every minor version that clusters run today.

The schemas are those that Kubernetes publishes, in their strict form: a field that a version does not know is
an error.
"""

from typing import Any, Final

import kubernetes_validate

VERSIONS: Final = ("1.30", "1.33", "1.36")


def assert_valid(document: dict[str, Any]) -> None:
    """Fail where ``document``, an object with ``apiVersion`` and ``kind``, is not valid."""
    for version in VERSIONS:
        assert kubernetes_validate.validate(document, version, strict=True) == version
