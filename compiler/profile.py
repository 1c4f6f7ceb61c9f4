"""The plugin profile: what a workflow says about the driver's sidecar (spec DEPLOY 13.3).

One YAML document, kept by the operator in the ConfigMap ``kfp-driver-plugin-profile`` and read alike by
``kfp-driver compile``, ``kfp-driver rewrite`` and ``kfp-driver webhook``. Every key has a default, an
unknown key is an error, and a profile that Argo would refuse in a workflow is refused here.
"""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from compiler.errors import ProfileError
from compiler.yaml_text import YamlTextError, read_documents

_MAX_BYTES: Final = 1024 * 1024
"""A ConfigMap cannot be larger."""

_KEY: Final = "profile.yaml"
"""Key of the profile in its ConfigMap."""

_SHORTEST_TOKEN: Final = 600
"""Seconds; Kubernetes mints no token that lives shorter."""

_MOST_RETRIES: Final = 100
"""Far more than Argo gets to within the ten minutes that it goes on repeating."""

_DURATION: Final = re.compile(r"(?=.*[1-9])(?:[0-9]{1,6}h)?(?:[0-9]{1,6}m)?(?:[0-9]{1,6}s)?")
"""The durations of Argo that people write; it takes a bare number for a mistake."""

_WRITTEN_BY_KEYS: Final = {
    "KFP_RUN_ID": "the run's id is written for each workflow",
    "NAMESPACE": "the pod's namespace is written for each workflow",
    "KFP_TOKEN_AUDIENCE_BASE": "use the key audienceBase",
    "KFP_CA_FILE": "use the key caConfigMap",
    "KFP_DRIVER_CENTRAL_URL": "use the key centralURL",
}


class _ProfileModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, strict=True)


class Resources(_ProfileModel):
    """Compute resources of the sidecar; Argo demands both halves."""

    requests: dict[str, str] = Field(min_length=1)
    limits: dict[str, str] = Field(min_length=1)

    @field_validator("requests", "limits", mode="before")
    @classmethod
    def _quantities(cls, value: object) -> object:
        """YAML reads ``cpu: 1`` as a number; it is a quantity."""
        if isinstance(value, dict):
            return {key: str(one) if isinstance(one, int | float) else one for key, one in value.items()}
        return value


class CaConfigMap(_ProfileModel):
    """The ConfigMap that holds extra trust anchors, and its key."""

    name: str = Field(min_length=1)
    key: str = "ca.crt"


class PodMetadata(_ProfileModel):
    """Metadata of all pods of a workflow: the only way to Argo's agent pod."""

    annotations: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)


class PluginProfile(_ProfileModel):
    """The sidecar and how workflows get it. Names in Python, camelCase keys in YAML."""

    mode: Literal["serve", "forward"] = "serve"
    """The driver itself in the sidecar, or a forwarder to the central service."""

    image: str = Field(default_factory=lambda: f"kfp-central-driver:{version('kfp-central-driver')}")
    """Image of the sidecar."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the image is pulled."""

    resources: Resources | None = None
    """Compute resources; by default those of the mode."""

    env: tuple[dict[str, Any], ...] = ()
    """Further environment of the sidecar, as in a core/v1 Container."""

    ca_config_map: CaConfigMap | None = None
    """Extra trust anchors for the sidecar's own connections."""

    audience_base: str = Field("pipelines.kubeflow.org", min_length=1)
    """Audience base of its tokens; must equal the API server's ``TOKEN_REVIEW_AUDIENCE``."""

    token_expiration_seconds: int = Field(7200, ge=_SHORTEST_TOKEN)
    """Life time of its tokens; the kubelet renews them."""

    central_url: str = Field("", alias="centralURL")
    """Address of the central service; required by mode ``forward``."""

    pod_metadata: PodMetadata = PodMetadata(annotations={"sidecar.istio.io/inject": "false"})
    """Metadata that every workflow's pods get unless the workflow has the key already."""

    default_mode: Literal["plugin", "pod"] = "plugin"
    """What becomes of workflows without the label ``kfp-driver/mode``: rewritten, or left on driver pods."""

    driver_timeout: str = ""
    """Timeout of every driver template, such as ``10m``; empty for none. Argo applies it while the call is
    pending, and not where a retry strategy stands beside it."""

    driver_retry: int = Field(0, ge=0, le=_MOST_RETRIES)
    """How often Argo repeats a driver call after an infrastructure failure; 0 for never."""

    args_version: str = "1"
    """Version of the plugin arguments; written only when it is not 1."""

    @classmethod
    def parse(cls, text: str, *, source: str = "profile") -> Self:
        """Read a profile from YAML text: itself, or the ConfigMap that holds it.

        Raises:
            ProfileError: names the source, the key and what is wrong with it.
        """
        document = _document(text, source)
        if isinstance(document, dict) and document.get("kind") == "ConfigMap":
            document = _profile_of(document, source)
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise ProfileError(f"{source}: {_first_problem(error)}") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a profile file; :class:`ProfileError` as for :meth:`parse`, or when it cannot be read."""
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise ProfileError(f"{path}: cannot be read: {error.strerror or error}") from error
        if len(data) > _MAX_BYTES:
            raise ProfileError(f"{path}: larger than 1 MiB")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ProfileError(f"{path}: not UTF-8 text") from error
        return cls.parse(text, source=str(path))

    @field_validator("args_version", mode="before")
    @classmethod
    def _version_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("driver_timeout", mode="before")
    @classmethod
    def _duration(cls, value: object) -> object:
        if value != "" and not (isinstance(value, str) and _DURATION.fullmatch(value)):
            raise ValueError("expected a duration with unit, such as 90s, 10m or 1h30m")
        return value

    @field_validator("env", mode="before")
    @classmethod
    def _environment(cls, value: object) -> object:
        if not isinstance(value, list):
            raise ValueError("expected a list of environment variables")  # noqa: TRY004 (pydantic's contract)
        for number, one in enumerate(value):
            name = one.get("name") if isinstance(one, dict) else None
            if not isinstance(name, str) or not name:
                raise ValueError(f"entry {number} has no name")
            if name in _WRITTEN_BY_KEYS:
                raise ValueError(f"{name} cannot be set here: {_WRITTEN_BY_KEYS[name]}")
            if extra := sorted(set(one) - {"name", "value", "valueFrom"}):
                raise ValueError(f"{name} has unknown fields: {', '.join(map(str, extra))}")
            if not isinstance(one.get("value", ""), str):
                raise ValueError(f"{name}: the value is not a text; quote it")  # noqa: TRY004
        return tuple(value)

    @model_validator(mode="after")
    def _forwarder_has_a_target(self) -> Self:
        if self.mode == "forward" and not self.central_url.startswith("https://"):
            raise ValueError("mode forward needs centralURL, an https:// address")
        return self


def _document(text: str, source: str) -> object:
    try:
        documents = read_documents(text, max_nodes=10_000)
    except YamlTextError as error:
        raise ProfileError(f"{source}: not valid YAML: {error}") from error
    if len(documents) > 1:
        raise ProfileError(f"{source}: holds more than one document")
    return documents[0] if documents else {}


def _profile_of(config_map: dict[str, Any], source: str) -> object:
    data = config_map.get("data")
    text = data.get(_KEY) if isinstance(data, dict) else None
    if not isinstance(text, str):
        raise ProfileError(f"{source}: the ConfigMap has no key {_KEY}")
    return _document(text, f"{source}: {_KEY}")


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {where}"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{where}: {reason}" if where else reason
