"""PipelineSpec: what the KFP SDK compiles a pipeline to (the IR).

The models hold every field that drivers, resolver, compiler and launcher read, and those that
published packages lack. Field meanings are those of KFP's pipeline_spec; the names are its JSON names.
"""

from enum import StrEnum
from typing import Any

from pydantic import Field

from kfp_api.ir.base import IrModel
from kfp_api.wire import UNSET, Value


class ParameterType(StrEnum):
    """Declared type of a parameter."""

    UNSPECIFIED = "PARAMETER_TYPE_ENUM_UNSPECIFIED"
    NUMBER_DOUBLE = "NUMBER_DOUBLE"
    NUMBER_INTEGER = "NUMBER_INTEGER"
    STRING = "STRING"
    BOOLEAN = "BOOLEAN"
    LIST = "LIST"
    STRUCT = "STRUCT"
    TASK_FINAL_STATUS = "TASK_FINAL_STATUS"
    TASK_CONFIG = "TASK_CONFIG"


_DEPRECATED_TYPES = {
    "INT": ParameterType.NUMBER_INTEGER,
    "DOUBLE": ParameterType.NUMBER_DOUBLE,
    "STRING": ParameterType.STRING,
}


class ArtifactTypeSchema(IrModel):
    """Type of an artifact: one of title, instance schema or URI."""

    schema_title: str | None = None
    schema_uri: str | None = None
    instance_schema: str | None = None
    schema_version: str = ""


class InputParameter(IrModel):
    """Declaration of an input parameter of a component."""

    parameter_type: ParameterType = ParameterType.UNSPECIFIED
    type: str = ""
    default_value: Value = UNSET
    is_optional: bool = False
    description: str = ""
    literals: list[Value] = Field(default_factory=list)

    @property
    def declared_type(self) -> ParameterType:
        """The type, also where only the deprecated ``type`` field is given (spec RESOLVER 1.5)."""
        if self.parameter_type is ParameterType.UNSPECIFIED:
            return _DEPRECATED_TYPES.get(self.type, ParameterType.UNSPECIFIED)
        return self.parameter_type


class InputArtifact(IrModel):
    """Declaration of an input artifact of a component."""

    artifact_type: ArtifactTypeSchema | None = None
    is_artifact_list: bool = False
    is_optional: bool = False
    description: str = ""


class InputDefinitions(IrModel):
    """Inputs that a component declares."""

    parameters: dict[str, InputParameter] = Field(default_factory=dict)
    artifacts: dict[str, InputArtifact] = Field(default_factory=dict)


class OutputParameter(IrModel):
    """Declaration of an output parameter of a component."""

    parameter_type: ParameterType = ParameterType.UNSPECIFIED
    type: str = ""
    description: str = ""

    @property
    def declared_type(self) -> ParameterType:
        """The type, also where only the deprecated ``type`` field is given."""
        if self.parameter_type is ParameterType.UNSPECIFIED:
            return _DEPRECATED_TYPES.get(self.type, ParameterType.UNSPECIFIED)
        return self.parameter_type


class OutputArtifact(IrModel):
    """Declaration of an output artifact of a component."""

    artifact_type: ArtifactTypeSchema | None = None
    metadata: dict[str, Value] = Field(default_factory=dict)
    is_artifact_list: bool = False
    description: str = ""


class OutputDefinitions(IrModel):
    """Outputs that a component declares."""

    parameters: dict[str, OutputParameter] = Field(default_factory=dict)
    artifacts: dict[str, OutputArtifact] = Field(default_factory=dict)


class TaskOutputParameter(IrModel):
    """Reference to an output parameter of a sibling task."""

    producer_task: str = ""
    output_parameter_key: str = ""


class TaskOutputArtifact(IrModel):
    """Reference to an output artifact of a sibling task."""

    producer_task: str = ""
    output_artifact_key: str = ""


class TaskFinalStatus(IrModel):
    """Reference to the final status of a sibling task."""

    producer_task: str = ""


class ConstantValue(IrModel):
    """Deprecated typed constant."""

    int_value: int | None = None
    double_value: float | None = None
    string_value: str | None = None


class RuntimeValue(IrModel):
    """A value given in the spec itself."""

    constant: Value = UNSET
    constant_value: ConstantValue | None = None
    runtime_parameter: str | None = None


class InputParameterSpec(IrModel):
    """Where a task's input parameter comes from: exactly one of the sources is set."""

    task_output_parameter: TaskOutputParameter | None = None
    runtime_value: RuntimeValue | None = None
    component_input_parameter: str | None = None
    task_final_status: TaskFinalStatus | None = None
    parameter_expression_selector: str = ""


class InputArtifactSpec(IrModel):
    """Where a task's input artifact comes from."""

    task_output_artifact: TaskOutputArtifact | None = None
    component_input_artifact: str | None = None


class TaskInputs(IrModel):
    """Wired inputs of a task."""

    parameters: dict[str, InputParameterSpec] = Field(default_factory=dict)
    artifacts: dict[str, InputArtifactSpec] = Field(default_factory=dict)


class TriggerStrategy(StrEnum):
    """When a task may start."""

    UNSPECIFIED = "TRIGGER_STRATEGY_UNSPECIFIED"
    ALL_UPSTREAM_TASKS_SUCCEEDED = "ALL_UPSTREAM_TASKS_SUCCEEDED"
    ALL_UPSTREAM_TASKS_COMPLETED = "ALL_UPSTREAM_TASKS_COMPLETED"


class TriggerPolicy(IrModel):
    """Condition (CEL) and strategy of a task."""

    condition: str = ""
    strategy: TriggerStrategy = TriggerStrategy.UNSPECIFIED


class ParameterIteratorItems(IrModel):
    """Items of a parameter loop: JSON text, or the name of an input parameter."""

    raw: str | None = None
    input_parameter: str | None = None


class ParameterIterator(IrModel):
    """A loop over parameter values."""

    items: ParameterIteratorItems | None = None
    item_input: str = ""


class ArtifactIteratorItems(IrModel):
    """Items of an artifact loop."""

    input_artifact: str = ""


class ArtifactIterator(IrModel):
    """A loop over artifacts."""

    items: ArtifactIteratorItems | None = None
    item_input: str = ""


class IteratorPolicy(IrModel):
    """How many iterations may run at once; 0 is unlimited."""

    parallelism_limit: int = 0


class RetryPolicy(IrModel):
    """Retries of a task; durations are protobuf JSON text such as ``30s``."""

    max_retry_count: int = 0
    backoff_duration: str | None = None
    backoff_factor: float = 0.0
    backoff_max_duration: str | None = None


class CachingOptions(IrModel):
    """Whether a task may be served from the cache, and its custom key."""

    enable_cache: bool = False
    cache_key: str = ""


class TaskInfo(IrModel):
    """Display name of a task."""

    name: str = ""
    task_name: str = ""


class ComponentRef(IrModel):
    """The component that a task runs."""

    name: str = ""


class TaskSpec(IrModel):
    """One task of a DAG (``PipelineTaskSpec``)."""

    task_info: TaskInfo = Field(default_factory=TaskInfo)
    component_ref: ComponentRef = Field(default_factory=ComponentRef)
    inputs: TaskInputs = Field(default_factory=TaskInputs)
    dependent_tasks: list[str] = Field(default_factory=list)
    caching_options: CachingOptions = Field(default_factory=CachingOptions)
    trigger_policy: TriggerPolicy = Field(default_factory=TriggerPolicy)
    parameter_iterator: ParameterIterator | None = None
    artifact_iterator: ArtifactIterator | None = None
    iterator_policy: IteratorPolicy = Field(default_factory=IteratorPolicy)
    retry_policy: RetryPolicy | None = None

    @property
    def has_iterator(self) -> bool:
        """Whether the task is a loop head."""
        return self.parameter_iterator is not None or self.artifact_iterator is not None


class ParameterSelector(IrModel):
    """Names an output parameter of a task inside the DAG."""

    producer_subtask: str = ""
    output_parameter_key: str = ""


class ParameterSelectors(IrModel):
    """Alternatives of a one-of output, in order."""

    parameter_selectors: list[ParameterSelector] = Field(default_factory=list)


class DagOutputParameter(IrModel):
    """Where an output parameter of a DAG comes from."""

    value_from_parameter: ParameterSelector | None = None
    value_from_oneof: ParameterSelectors | None = None

    @property
    def selectors(self) -> list[ParameterSelector]:
        """The subtask outputs that may provide the value, in order of preference."""
        if self.value_from_parameter is not None:
            return [self.value_from_parameter]
        return self.value_from_oneof.parameter_selectors if self.value_from_oneof else []


class ArtifactSelector(IrModel):
    """Names an output artifact of a task inside the DAG."""

    producer_subtask: str = ""
    output_artifact_key: str = ""


class DagOutputArtifact(IrModel):
    """Where an output artifact of a DAG comes from; several selectors are alternatives."""

    artifact_selectors: list[ArtifactSelector] = Field(default_factory=list)


class DagOutputs(IrModel):
    """Outputs of a DAG and the subtasks that produce them."""

    parameters: dict[str, DagOutputParameter] = Field(default_factory=dict)
    artifacts: dict[str, DagOutputArtifact] = Field(default_factory=dict)


class DagSpec(IrModel):
    """A DAG: tasks by key, and outputs."""

    tasks: dict[str, TaskSpec] = Field(default_factory=dict)
    outputs: DagOutputs = Field(default_factory=DagOutputs)


class TaskConfigPassthrough(IrModel):
    """A part of the pod configuration that a component receives as data."""

    field: str = "NONE"
    apply_to_task: bool = False


class ComponentSpec(IrModel):
    """A component: interface, and either a DAG or an executor label."""

    input_definitions: InputDefinitions = Field(default_factory=InputDefinitions)
    output_definitions: OutputDefinitions = Field(default_factory=OutputDefinitions)
    dag: DagSpec | None = None
    executor_label: str = ""
    task_config_passthroughs: list[TaskConfigPassthrough] = Field(default_factory=list)


class AcceleratorConfig(IrModel):
    """Accelerator request; the ``resource*`` fields win over the legacy ones."""

    type: str = ""
    count: int = 0
    resource_type: str = ""
    resource_count: str = ""


class ResourceSpec(IrModel):
    """Compute resources; the text fields win over the legacy numbers (memory in gigabytes)."""

    cpu_limit: float = 0.0
    memory_limit: float = 0.0
    cpu_request: float = 0.0
    memory_request: float = 0.0
    accelerator: AcceleratorConfig | None = None
    resource_cpu_limit: str = ""
    resource_memory_limit: str = ""
    resource_cpu_request: str = ""
    resource_memory_request: str = ""


class EnvVar(IrModel):
    """A literal environment variable."""

    name: str = ""
    value: str = ""


class ContainerSpec(IrModel):
    """What the executor container runs; command and args may hold placeholders."""

    image: str = ""
    command: list[str] = Field(default_factory=list)
    args: list[str] = Field(default_factory=list)
    resources: ResourceSpec | None = None
    env: list[EnvVar] = Field(default_factory=list)


class ValueOrRuntimeParameter(IrModel):
    """A constant, or the name of an input parameter."""

    constant: Value = UNSET
    constant_value: ConstantValue | None = None
    runtime_parameter: str | None = None


class ImporterSpec(IrModel):
    """What an importer imports."""

    artifact_uri: ValueOrRuntimeParameter = Field(default_factory=ValueOrRuntimeParameter)
    type_schema: ArtifactTypeSchema = Field(default_factory=ArtifactTypeSchema)
    properties: dict[str, Any] = Field(default_factory=dict)
    custom_properties: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Value] = Field(default_factory=dict)
    reimport: bool = False
    download_to_workspace: bool = False


class ExecutorSpec(IrModel):
    """One executor of the deployment: container or importer; other kinds are not run by drivers."""

    container: ContainerSpec | None = None
    importer: ImporterSpec | None = None
    resolver: dict[str, Any] | None = None
    custom_job: dict[str, Any] | None = None


class DeploymentSpec(IrModel):
    """Executors by label."""

    executors: dict[str, ExecutorSpec] = Field(default_factory=dict)


class PipelineInfo(IrModel):
    """Name of the pipeline."""

    name: str = ""
    display_name: str = ""
    description: str = ""


class PipelineSpec(IrModel):
    """A compiled pipeline."""

    pipeline_info: PipelineInfo = Field(default_factory=PipelineInfo)
    deployment_spec: DeploymentSpec | None = None
    schema_version: str = ""
    sdk_version: str = ""
    components: dict[str, ComponentSpec] = Field(default_factory=dict)
    root: ComponentSpec | None = None
    default_pipeline_root: str = ""

    def executor(self, label: str) -> ExecutorSpec | None:
        """The executor with that label, if the deployment has one."""
        return self.deployment_spec.executors.get(label) if self.deployment_spec else None
