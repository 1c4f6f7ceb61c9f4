"""Which attempt of the pod this is (spec LAUNCHER A10)."""

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from launcher.errors import LauncherError
from launcher.kubernetes import Kubernetes
from launcher.note import note

_NODE_NAME: Final = "workflows.argoproj.io/node-name"


async def retry_index(
    environment: Mapping[str, str], kubernetes: Kubernetes | None, *, namespace: str, pod_name: str
) -> int:
    """``KFP_RETRY_INDEX``, else the number in the last parentheses of the pod's node name, else 0."""
    text = environment.get("KFP_RETRY_INDEX", "")
    if text.isdecimal():
        return int(text)
    if kubernetes is None:
        return 0
    try:
        annotations = await asyncio.to_thread(kubernetes.pod_annotations, namespace, pod_name)
    except LauncherError as error:
        note(f"attempt of the pod unknown, taken for the first: {error}")
        return 0
    match = re.search(r"\((\d+)\)[^(]*$", annotations.get(_NODE_NAME, ""))
    return int(match.group(1)) if match else 0
