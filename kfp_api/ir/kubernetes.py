"""KubernetesExecutorConfig: what ``kfp.kubernetes`` asks of a task's pod (spec PODSPEC 7).

Field names are those of KFP's ``kubernetes_executor_config``. The models hold ``init_containers``
too, which the published package lacks; :func:`unknown_config_fields` lists what they do not hold,
because an ignored field is a feature silently lost.
"""

from pydantic import Field

from kfp_api.ir.base import IrModel, unknown_fields
from kfp_api.ir.pipeline import EnvVar, InputParameterSpec, TaskOutputParameter
from kfp_api.wire import Int64


class SecretAsVolume(IrModel):
    """A Secret mounted as files; ``secret_name_parameter`` wins over the deprecated ``secret_name``."""

    secret_name: str = ""
    mount_path: str = ""
    optional: bool | None = None
    secret_name_parameter: InputParameterSpec | None = None


class SecretKeyToEnvMap(IrModel):
    """One key of a Secret and the variable that gets it."""

    secret_key: str = ""
    env_var: str = ""


class SecretAsEnv(IrModel):
    """Keys of a Secret as environment variables."""

    secret_name: str = ""
    key_to_env: list[SecretKeyToEnvMap] = Field(default_factory=list)
    optional: bool | None = None
    secret_name_parameter: InputParameterSpec | None = None


class ConfigMapAsVolume(IrModel):
    """A ConfigMap mounted as files."""

    config_map_name: str = ""
    mount_path: str = ""
    optional: bool | None = None
    config_map_name_parameter: InputParameterSpec | None = None


class ConfigMapKeyToEnvMap(IrModel):
    """One key of a ConfigMap and the variable that gets it."""

    config_map_key: str = ""
    env_var: str = ""


class ConfigMapAsEnv(IrModel):
    """Keys of a ConfigMap as environment variables."""

    config_map_name: str = ""
    key_to_env: list[ConfigMapKeyToEnvMap] = Field(default_factory=list)
    config_map_name_parameter: InputParameterSpec | None = None
    optional: bool | None = None


class PvcMount(IrModel):
    """A mounted claim; ``pvc_name_parameter`` wins over the three deprecated references."""

    task_output_parameter: TaskOutputParameter | None = None
    constant: str | None = None
    component_input_parameter: str | None = None
    mount_path: str = ""
    pvc_name_parameter: InputParameterSpec | None = None
    sub_path: str = ""


class NodeSelector(IrModel):
    """Node labels that the pod asks for; ``node_selector_json`` wins over ``labels``."""

    labels: dict[str, str] = Field(default_factory=dict)
    node_selector_json: InputParameterSpec | None = None


class PodMetadata(IrModel):
    """Labels and annotations of a pod or volume claim."""

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class ImagePullSecret(IrModel):
    """A Secret with registry credentials."""

    secret_name: str = ""
    secret_name_parameter: InputParameterSpec | None = None


class FieldPathAsEnv(IrModel):
    """A field of the pod as an environment variable."""

    name: str = ""
    field_path: str = ""


class Toleration(IrModel):
    """A toleration; ``toleration_json`` (an object or a list of objects) wins over the flat fields."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: Int64 | None = None
    toleration_json: InputParameterSpec | None = None


class GenericEphemeralVolume(IrModel):
    """A volume that is claimed for the life of the pod."""

    volume_name: str = ""
    mount_path: str = ""
    access_modes: list[str] = Field(default_factory=list)
    size: str = ""
    default_storage_class: bool = False
    storage_class_name: str = ""
    metadata: PodMetadata | None = None


class SelectorRequirement(IrModel):
    """One requirement of a label or field selector."""

    key: str = ""
    operator: str = ""
    values: list[str] = Field(default_factory=list)


class NodeAffinityTerm(IrModel):
    """One term of node affinity: preferred when it has a weight, else required."""

    match_expressions: list[SelectorRequirement] = Field(default_factory=list)
    match_fields: list[SelectorRequirement] = Field(default_factory=list)
    weight: int | None = None
    node_affinity_json: InputParameterSpec | None = None


class PodAffinityTerm(IrModel):
    """One term of pod affinity; parsed, but not applied (spec PODSPEC 7.16)."""

    match_pod_expressions: list[SelectorRequirement] = Field(default_factory=list)
    match_pod_labels: dict[str, str] = Field(default_factory=dict)
    topology_key: str = ""
    namespaces: list[str] = Field(default_factory=list)
    match_namespace_expressions: list[SelectorRequirement] = Field(default_factory=list)
    match_namespace_labels: dict[str, str] = Field(default_factory=dict)
    weight: int | None = None
    anti: bool | None = None


class EnabledSharedMemory(IrModel):
    """Shared memory of the container; parsed, but not applied (spec PODSPEC 7.16)."""

    volume_name: str = ""
    size: str = ""


class EmptyDirMount(IrModel):
    """A scratch directory of the pod."""

    volume_name: str = ""
    mount_path: str = ""
    medium: str | None = None
    size_limit: str | None = None


class SecurityContext(IrModel):
    """Identity that user code asks for; every other security setting is the administrator's."""

    run_as_user: Int64 | None = None
    run_as_group: Int64 | None = None
    run_as_non_root: bool | None = None


class InitContainerVolumeMount(IrModel):
    """A volume of the pod, by the name that the author knows, and where it is mounted."""

    volume_name: str = ""
    mount_path: str = ""


class InitContainerResources(IrModel):
    """Resource name to Kubernetes quantity."""

    requests: dict[str, str] = Field(default_factory=dict)
    limits: dict[str, str] = Field(default_factory=dict)


class InitContainer(IrModel):
    """A container that runs before the task, or beside it with restart policy ``Always``."""

    name: str = ""
    image: str = ""
    command: list[str] = Field(default_factory=list)
    args: list[str] = Field(default_factory=list)
    env: list[EnvVar] = Field(default_factory=list)
    volume_mounts: list[InitContainerVolumeMount] = Field(default_factory=list)
    restart_policy: str | None = None
    resources: InitContainerResources = Field(default_factory=InitContainerResources)


class KubernetesExecutorConfig(IrModel):
    """Everything that ``kfp.kubernetes`` can ask of one task's pod."""

    secret_as_volume: list[SecretAsVolume] = Field(default_factory=list)
    secret_as_env: list[SecretAsEnv] = Field(default_factory=list)
    pvc_mount: list[PvcMount] = Field(default_factory=list)
    node_selector: NodeSelector | None = None
    pod_metadata: PodMetadata | None = None
    image_pull_secret: list[ImagePullSecret] = Field(default_factory=list)
    image_pull_policy: str = ""
    config_map_as_volume: list[ConfigMapAsVolume] = Field(default_factory=list)
    config_map_as_env: list[ConfigMapAsEnv] = Field(default_factory=list)
    active_deadline_seconds: Int64 = 0
    field_path_as_env: list[FieldPathAsEnv] = Field(default_factory=list)
    tolerations: list[Toleration] = Field(default_factory=list)
    generic_ephemeral_volume: list[GenericEphemeralVolume] = Field(default_factory=list)
    node_affinity: list[NodeAffinityTerm] = Field(default_factory=list)
    pod_affinity: list[PodAffinityTerm] = Field(default_factory=list)
    enabled_shared_memory: EnabledSharedMemory | None = None
    empty_dir_mounts: list[EmptyDirMount] = Field(default_factory=list)
    security_context: SecurityContext | None = None
    init_containers: list[InitContainer] = Field(default_factory=list)


def unknown_config_fields(document: object) -> list[str]:
    """Dotted paths of the fields of a ``kubernetes_config`` document that no model holds."""
    return unknown_fields(KubernetesExecutorConfig, document)
