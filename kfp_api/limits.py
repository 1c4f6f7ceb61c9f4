"""Lengths that KFP's database keeps, checked before sending: upstream answers a bare 500 otherwise.

A display name is a label and is shortened; whatever identifies something is refused (spec KFP_API 11
rule 11, columns of section 12). Metrics that are NaN or infinite cannot travel (rule 9).
"""

import math
from typing import Final

from kfp_api.errors import ApiRequestError
from kfp_api.messages import Artifact, CreateArtifactRequest, PipelineTask

NAME_LIMIT: Final = 128
FINGERPRINT_LIMIT: Final = 255
URI_LIMIT: Final = 2048
KEY_LIMIT: Final = 191


def sendable_task(task: PipelineTask) -> PipelineTask:
    """``task`` with a display name that fits.

    Raises:
        ApiRequestError: name or fingerprint is too long.
    """
    _require(task.name, NAME_LIMIT, "task name")
    _require(task.cache_fingerprint, FINGERPRINT_LIMIT, "cache fingerprint")
    if len(task.display_name) <= NAME_LIMIT:
        return task
    return task.model_copy(update={"display_name": task.display_name[: NAME_LIMIT - 1] + "…"})


def check_artifact_request(request: CreateArtifactRequest) -> None:
    """Refuse what the server's database could not hold.

    Raises:
        ApiRequestError: names the field, its length and the limit.
    """
    artifact = request.artifact or Artifact()
    _require(artifact.name, NAME_LIMIT, "artifact name")
    _require(artifact.uri or "", URI_LIMIT, f'URI of artifact "{artifact.name}"')
    _require(request.producer_key, KEY_LIMIT, "output name")
    if artifact.number_value is not None and not math.isfinite(artifact.number_value):
        raise ApiRequestError(f'metric "{artifact.name}" is {artifact.number_value}, which cannot be stored')


def _require(text: str, limit: int, what: str) -> None:
    if len(text) > limit:
        raise ApiRequestError(f"{what} has {len(text)} characters, the KFP API keeps at most {limit}")
