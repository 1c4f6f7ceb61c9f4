"""What the runner must remember of a run besides its nodes: one small file in the run's directory.

The KFP API owns the run; this file binds its id to a workflow name and keeps the choices that the run was
started with, so that whoever continues it continues the same run.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from kfp_api.messages import TERMINAL_RUN_STATES, Run, RuntimeState
from local_stack.data_directory import DataDirectory
from local_stack.runner.history import replace_file, sync_directory
from local_stack.runner.python_environment import PipInstall
from local_stack.runner.task_set import ARGO_PATCH_RATE, Reconciliation
from local_stack.runner.workflow import generated_name

_FILE: Final = "run.json"


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is executed. ``timeout_seconds`` counts from the run's start; ``None`` is no limit.

    ``given_workflow`` says that the run's Workflow is not compiled here, but was given when it started.
    ``patch_rate`` in seconds, ``None`` for the default of the mode.
    """

    pip_install: PipInstall = PipInstall.AUTO
    cache: bool = True
    timeout_seconds: float | None = None
    fix_retries: bool = False
    given_workflow: bool = False
    patch_rate: float | None = None
    strict_argo: bool = False

    @property
    def reconciliation(self) -> Reconciliation:
        """When and how results of drivers reach the engine; strict is as slow as Argo by default."""
        usual = ARGO_PATCH_RATE if self.strict_argo else 0.0
        rate = usual if self.patch_rate is None else self.patch_rate
        return Reconciliation(patch_rate=rate, strict=self.strict_argo)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run of this data directory.

    ``retries`` counts the user's retries of the run that its nodes on disk already know of. ``message``
    says why a run could not be executed at all.
    """

    run_id: str
    workflow_name: str
    created: datetime
    options: RunOptions = field(default_factory=RunOptions)
    retries: int = 0
    message: str = ""


class RunRecords:
    """The runs of one data directory that were executed here."""

    def __init__(self, data: DataDirectory) -> None:
        self._data = data
        self._known = {record.run_id: record for record in self._read()}

    def get(self, run_id: str) -> RunRecord | None:
        """The record of a run, if it was started here."""
        return self._known.get(run_id)

    def create(self, run_id: str, *, pipeline_name: str, options: RunOptions) -> RunRecord:
        """Give a run a workflow name and a directory."""
        prefix = pipeline_name.rsplit("/", 1)[-1] + "-"
        record = RunRecord(
            run_id=run_id,
            workflow_name=generated_name(prefix),
            created=datetime.now(UTC).replace(microsecond=0),
            options=options,
        )
        self._data.run(record.workflow_name).mkdir(parents=True)
        self.save(record)
        for directory in (self._data.root / "runs", self._data.root):
            sync_directory(directory)
        return record

    def save(self, record: RunRecord) -> None:
        """Store a new or changed record."""
        document = asdict(record) | {"created": record.created.isoformat()}
        replace_file(self._data.run(record.workflow_name) / _FILE, json.dumps(document, indent=1) + "\n")
        self._known[record.run_id] = record

    def _read(self) -> Iterator[RunRecord]:
        for path in sorted(self._data.root.glob(f"runs/*/{_FILE}")):
            document = json.loads(path.read_text(encoding="utf-8"))
            options = document.pop("options")
            yield RunRecord(
                **document
                | {
                    "created": datetime.fromisoformat(document["created"]),
                    "options": RunOptions(**options | {"pip_install": PipInstall(options["pip_install"])}),
                }
            )


def retries_of(run: Run) -> int:
    """How often the user has retried a run: each retry sets a finished run to RUNNING again."""
    states = [entry.state for entry in run.state_history]
    return sum(
        before in TERMINAL_RUN_STATES and after is RuntimeState.RUNNING for before, after in pairwise(states)
    )
