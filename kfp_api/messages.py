"""Messages of KFP's v2beta1 run, task and artifact API (spec KFP_API section 3).

The same frozen models serve the client, the embedded server and the tests. Python attributes are
the wire names. A field whose default is ``None`` has presence; the wire form is built by
:mod:`kfp_api.wire`. Sparse updates are ordinary :class:`PipelineTask` objects with only the
changed fields given: an untouched field is absent on the wire and left alone by the server.
"""

from typing import Any, ClassVar

from pydantic import Field, JsonValue

from kfp_api.wire import EPOCH, UNSET, Int64, Timestamp, Value, WireEnum, WireMessage


class TaskState(WireEnum):
    """State of a task row. There is neither PENDING nor CANCELED."""

    RUNTIME_STATE_UNSPECIFIED = "RUNTIME_STATE_UNSPECIFIED", 0
    RUNNING = "RUNNING", 1
    SUCCEEDED = "SUCCEEDED", 2
    SKIPPED = "SKIPPED", 3
    FAILED = "FAILED", 4
    CACHED = "CACHED", 5


PRESERVED_STATES = frozenset({TaskState.SUCCEEDED, TaskState.SKIPPED, TaskState.CACHED})
"""States whose work is done: a retry of the run keeps such rows."""

TERMINAL_STATES = PRESERVED_STATES | {TaskState.FAILED}


class TaskType(WireEnum):
    """Kind of a task row."""

    TASK_TYPE_UNSPECIFIED = "TASK_TYPE_UNSPECIFIED", 0
    ROOT = "ROOT", 1
    RUNTIME = "RUNTIME", 2
    CONDITION_BRANCH = "CONDITION_BRANCH", 3
    CONDITION = "CONDITION", 4
    LOOP = "LOOP", 5
    EXIT_HANDLER = "EXIT_HANDLER", 6
    IMPORTER = "IMPORTER", 7
    DAG = "DAG", 8


class TaskPodType(WireEnum):
    """Role of a pod recorded on a task row."""

    UNSPECIFIED = "UNSPECIFIED", 0
    DRIVER = "DRIVER", 1
    EXECUTOR = "EXECUTOR", 2


class IOType(WireEnum):
    """Where an input came from, or what kind of output it is (spec RESOLVER 1.4)."""

    UNSPECIFIED = "UNSPECIFIED", 0
    COMPONENT_DEFAULT_INPUT = "COMPONENT_DEFAULT_INPUT", 1
    TASK_OUTPUT_INPUT = "TASK_OUTPUT_INPUT", 2
    COMPONENT_INPUT = "COMPONENT_INPUT", 3
    RUNTIME_VALUE_INPUT = "RUNTIME_VALUE_INPUT", 4
    COLLECTED_INPUTS = "COLLECTED_INPUTS", 5
    ITERATOR_INPUT = "ITERATOR_INPUT", 6
    ITERATOR_INPUT_RAW = "ITERATOR_INPUT_RAW", 7
    ITERATOR_OUTPUT = "ITERATOR_OUTPUT", 8
    OUTPUT = "OUTPUT", 9
    ONE_OF_OUTPUT = "ONE_OF_OUTPUT", 10
    TASK_FINAL_STATUS_OUTPUT = "TASK_FINAL_STATUS_OUTPUT", 11


OUTPUT_LINK_TYPES = frozenset(
    {IOType.OUTPUT, IOType.ITERATOR_OUTPUT, IOType.ONE_OF_OUTPUT, IOType.TASK_FINAL_STATUS_OUTPUT}
)
"""Link types that hydrate into ``outputs.artifacts``; all others are inputs (spec KFP_API 1.5)."""


class ArtifactType(WireEnum):
    """Kind of an artifact; the mixed case is the wire's."""

    TYPE_UNSPECIFIED = "TYPE_UNSPECIFIED", 0
    Artifact = "Artifact", 1
    Model = "Model", 2
    Dataset = "Dataset", 3
    HTML = "HTML", 4
    Markdown = "Markdown", 5
    Metric = "Metric", 6
    ClassificationMetric = "ClassificationMetric", 7
    SlicedClassificationMetric = "SlicedClassificationMetric", 8


class RuntimeState(WireEnum):
    """State of a run; its numbers differ from :class:`TaskState`."""

    RUNTIME_STATE_UNSPECIFIED = "RUNTIME_STATE_UNSPECIFIED", 0
    PENDING = "PENDING", 1
    RUNNING = "RUNNING", 2
    SUCCEEDED = "SUCCEEDED", 3
    SKIPPED = "SKIPPED", 4
    FAILED = "FAILED", 5
    CANCELING = "CANCELING", 6
    CANCELED = "CANCELED", 7
    PAUSED = "PAUSED", 8


TERMINAL_RUN_STATES = frozenset(
    {RuntimeState.SUCCEEDED, RuntimeState.SKIPPED, RuntimeState.FAILED, RuntimeState.CANCELED}
)


class StorageState(WireEnum):
    """Whether a run or experiment is archived."""

    STORAGE_STATE_UNSPECIFIED = "STORAGE_STATE_UNSPECIFIED", 0
    AVAILABLE = "AVAILABLE", 1
    ARCHIVED = "ARCHIVED", 2


class ViewMode(WireEnum):
    """How much of a run GetRun and ListRuns answer."""

    DEFAULT = "DEFAULT", 0
    FULL = "FULL", 1


class IOProducer(WireMessage):
    """Which task an input or output came from, and in which iteration."""

    INT64_FIELDS: ClassVar[frozenset[str]] = frozenset({"iteration"})

    task_name: str = ""
    iteration: Int64 | None = None


class IOParameter(WireMessage):
    """One parameter of a task; ``value`` may be ``None`` (JSON null) or :data:`~kfp_api.wire.UNSET`."""

    value: Value = UNSET
    type: IOType = IOType.UNSPECIFIED
    parameter_key: str = ""
    producer: IOProducer | None = None


class Artifact(WireMessage):
    """A stored artifact. A ``Metric`` holds one scalar: its name, and ``number_value``."""

    artifact_id: str = ""
    name: str = ""
    description: str = ""
    type: ArtifactType = ArtifactType.TYPE_UNSPECIFIED
    uri: str | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    number_value: float | None = None
    created_at: Timestamp | None = None
    namespace: str = ""


class IOArtifact(WireMessage):
    """Artifacts of a task under one key: read-only, built by the server from artifact links."""

    artifacts: list[Artifact] = Field(default_factory=list)
    type: IOType = IOType.UNSPECIFIED
    artifact_key: str = ""
    producer: IOProducer | None = None


class InputOutputs(WireMessage):
    """Inputs or outputs of a task."""

    parameters: list[IOParameter] = Field(default_factory=list)
    artifacts: list[IOArtifact] = Field(default_factory=list)


class TaskPod(WireMessage):
    """A pod that worked on a task."""

    name: str = ""
    uid: str = ""
    type: TaskPodType = TaskPodType.UNSPECIFIED


class StatusMetadata(WireMessage):
    """Message and properties of a task row; the server replaces it whole (decision: send all of it)."""

    message: str = ""
    custom_properties: dict[str, JsonValue] = Field(default_factory=dict)


class TaskStatus(WireMessage):
    """One entry of a state history."""

    update_time: Timestamp | None = None
    state: TaskState = TaskState.RUNTIME_STATE_UNSPECIFIED
    error: dict[str, JsonValue] | None = None


class TypeAttributes(WireMessage):
    """What a task's type adds: position in a loop, size of a loop, importer behaviour."""

    INT64_FIELDS: ClassVar[frozenset[str]] = frozenset({"iteration_index", "iteration_count"})

    iteration_index: Int64 | None = None
    iteration_count: Int64 | None = None
    download_to_workspace: bool | None = None


class ChildTask(WireMessage):
    """A direct child, as listed on its parent."""

    task_id: str = ""
    name: str = ""


class PipelineTask(WireMessage):
    """A task row (spec KFP_API 3.1); as the body of an update, a sparse patch."""

    name: str = ""
    display_name: str = ""
    task_id: str = ""
    run_id: str = ""
    pods: list[TaskPod] = Field(default_factory=list)
    cache_fingerprint: str = ""
    create_time: Timestamp | None = None
    end_time: Timestamp | None = None
    state: TaskState = TaskState.RUNTIME_STATE_UNSPECIFIED
    status_metadata: StatusMetadata | None = None
    state_history: list[TaskStatus] = Field(default_factory=list)
    type: TaskType = TaskType.TASK_TYPE_UNSPECIFIED
    type_attributes: TypeAttributes | None = None
    parent_task_id: str | None = None
    child_tasks: list[ChildTask] = Field(default_factory=list)
    inputs: InputOutputs | None = None
    outputs: InputOutputs | None = None
    scope_path: str = ""

    @property
    def iteration_index(self) -> int | None:
        """Index of the loop iteration this row belongs to; ``None`` outside loops."""
        return self.type_attributes.iteration_index if self.type_attributes else None

    @property
    def iteration_count(self) -> int | None:
        """Number of iterations of a loop head; ``None`` for every other row."""
        return self.type_attributes.iteration_count if self.type_attributes else None

    @property
    def input_parameters(self) -> list[IOParameter]:
        """Resolved input parameters, in stored order."""
        return self.inputs.parameters if self.inputs else []

    @property
    def input_artifacts(self) -> list[IOArtifact]:
        """Resolved input artifacts, grouped by the server."""
        return self.inputs.artifacts if self.inputs else []

    @property
    def output_parameters(self) -> list[IOParameter]:
        """Own or propagated output parameters, in stored order."""
        return self.outputs.parameters if self.outputs else []

    @property
    def output_artifacts(self) -> list[IOArtifact]:
        """Own or propagated output artifacts, grouped by the server."""
        return self.outputs.artifacts if self.outputs else []

    @property
    def custom_properties(self) -> dict[str, JsonValue]:
        """Custom properties of the row, empty when there are none."""
        return self.status_metadata.custom_properties if self.status_metadata else {}


class ArtifactTask(WireMessage):
    """The stored link between an artifact and a task."""

    id: str = ""
    artifact_id: str = ""
    run_id: str = ""
    task_id: str = ""
    type: IOType = IOType.UNSPECIFIED
    producer: IOProducer | None = None
    key: str = ""

    @property
    def identity(self) -> tuple[str, str, IOType, int, str]:
        """What makes two links the same: artifact, task, type, iteration or -1, key (spec KFP_API 5.5)."""
        iteration = (
            -1 if self.producer is None or self.producer.iteration is None else self.producer.iteration
        )
        return (self.artifact_id, self.task_id, self.type, iteration, self.key)


class CreateArtifactRequest(WireMessage):
    """Create an artifact together with its output link."""

    INT64_FIELDS: ClassVar[frozenset[str]] = frozenset({"iteration_index"})

    artifact: Artifact | None = None
    run_id: str = ""
    task_id: str = ""
    producer_key: str = ""
    iteration_index: Int64 | None = None
    reuse_if_exists: bool = False


class PipelineVersionReference(WireMessage):
    """A stored pipeline version."""

    pipeline_id: str = ""
    pipeline_version_id: str = ""


class RuntimeConfig(WireMessage):
    """Parameters and pipeline root of a run."""

    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    pipeline_root: str = ""


class RunStatus(WireMessage):
    """One entry of a run's state history."""

    update_time: Timestamp | None = None
    state: RuntimeState = RuntimeState.RUNTIME_STATE_UNSPECIFIED
    error: dict[str, JsonValue] | None = None


class Run(WireMessage):
    """A run (spec KFP_API 3.3)."""

    experiment_id: str = ""
    run_id: str = ""
    display_name: str = ""
    storage_state: StorageState = StorageState.STORAGE_STATE_UNSPECIFIED
    description: str = ""
    pipeline_spec: dict[str, Any] | None = None
    pipeline_version_id: str = ""
    pipeline_version_reference: PipelineVersionReference | None = None
    runtime_config: RuntimeConfig | None = None
    service_account: str = ""
    created_at: Timestamp | None = None
    scheduled_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    state: RuntimeState = RuntimeState.RUNTIME_STATE_UNSPECIFIED
    error: dict[str, JsonValue] | None = None
    recurring_run_id: str = ""
    state_history: list[RunStatus] = Field(default_factory=list)
    plugins_input: dict[str, JsonValue] = Field(default_factory=dict)
    plugins_output: dict[str, JsonValue] = Field(default_factory=dict)
    task_count: int = 0
    tasks: list[PipelineTask] = Field(default_factory=list)

    @property
    def is_finished(self) -> bool:
        """Whether the run ended; ``finished_at`` of a running one is the epoch."""
        return self.state in TERMINAL_RUN_STATES or self.finished_at not in (None, EPOCH)


class Experiment(WireMessage):
    """A group of runs."""

    experiment_id: str = ""
    display_name: str = ""
    description: str = ""
    created_at: Timestamp | None = None
    namespace: str = ""
    storage_state: StorageState = StorageState.STORAGE_STATE_UNSPECIFIED
    last_run_created_at: Timestamp | None = None


class Pipeline(WireMessage):
    """A stored pipeline: a name for its versions."""

    pipeline_id: str = ""
    display_name: str = ""
    name: str = ""
    description: str = ""
    created_at: Timestamp | None = None
    namespace: str = ""
    tags: dict[str, str] = Field(default_factory=dict)


class PipelineVersion(WireMessage):
    """A stored pipeline version, with its spec."""

    pipeline_id: str = ""
    pipeline_version_id: str = ""
    display_name: str = ""
    name: str = ""
    description: str = ""
    created_at: Timestamp | None = None
    package_url: dict[str, JsonValue] | None = None
    pipeline_spec: dict[str, Any] | None = None
    tags: dict[str, str] = Field(default_factory=dict)
