"""From decoded documents to IR models: finding pipeline spec and platform spec (spec RESOLVER 2.1)."""

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from kfp_api.ir.pipeline import PipelineSpec


class InvalidPipelineError(ValueError):
    """The document is not a KFP v2 pipeline; the message says what is wrong and where."""


@dataclass(frozen=True)
class Pipeline:
    """A pipeline as it was given: parsed spec, and both documents as data for re-submission.

    ``platform_document`` is ``None`` where there is no platform spec.
    """

    spec: PipelineSpec
    spec_document: dict[str, Any]
    platform_document: dict[str, Any] | None = field(default=None)

    @property
    def kubernetes(self) -> dict[str, Any]:
        """The Kubernetes part of the platform spec (``platforms.kubernetes``), or ``{}``."""
        return _member(_member(self.platform_document, "platforms"), "kubernetes")

    @property
    def kubernetes_executors(self) -> dict[str, dict[str, Any]]:
        """KubernetesExecutorConfig documents by executor label."""
        return _member(_member(self.kubernetes, "deploymentSpec", "deployment_spec"), "executors")

    @property
    def submission(self) -> dict[str, Any]:
        """The form in which a run carries its pipeline: plain spec, or both documents wrapped."""
        if self.platform_document is None:
            return self.spec_document
        return {"pipeline_spec": self.spec_document, "platform_spec": self.platform_document}


def pipeline_from_struct(document: object) -> Pipeline:
    """Read ``Run.pipeline_spec``: a plain PipelineSpec, or one wrapped together with its platform spec.

    Raises:
        InvalidPipelineError: not an object, or a field has the wrong type.
    """
    if not isinstance(document, dict):
        raise InvalidPipelineError("the pipeline spec is not an object")
    inner = document.get("pipeline_spec", document.get("pipelineSpec"))
    platform = None
    if isinstance(inner, dict):
        platform = document.get("platform_spec", document.get("platformSpec"))
        document = inner
    return Pipeline(
        spec=parse_pipeline_spec(document),
        spec_document=document,
        platform_document=platform if isinstance(platform, dict) and platform else None,
    )


def parse_pipeline_spec(document: dict[str, Any]) -> PipelineSpec:
    """Parse one PipelineSpec document; a task key with a dot is refused, scope paths could not name it.

    Raises:
        InvalidPipelineError: names the first bad field.
    """
    if not document:
        raise InvalidPipelineError("pipeline spec is empty")
    try:
        spec = PipelineSpec.parse(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidPipelineError(f"pipeline spec: {where}: {first['msg']}") from error
    components = {"root": spec.root, **spec.components}
    for name, component in components.items():
        for key in component.dag.tasks if component and component.dag else ():
            if "." in key:
                raise InvalidPipelineError(
                    f'pipeline spec: component "{name}": task name "{key}" contains a dot'
                )
    return spec


def _member(document: object, *spellings: str) -> dict[str, Any]:
    """The object under the first of ``spellings`` that is there, else ``{}``."""
    if isinstance(document, dict):
        for name in spellings:
            if isinstance(found := document.get(name), dict):
                return found
    return {}
