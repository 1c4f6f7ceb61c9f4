"""The calls of KFP's v2beta1 REST API that this project makes: path, access right, repeatability.

The table is the index of spec KFP_API section 2 with what a client must know beside it: which right the
server asks for (9.3), whether a run-bound token is accepted (DEPLOY 6.2) and whether a call whose answer
was lost may be sent again as it is (KFP_API 11 rule 6).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from kfp_api.errors import ApiRequestError

API_PREFIX: Final = "/apis/v2beta1"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One remote procedure.

    Attributes:
        name: RPC name, used in messages and metrics.
        method: HTTP method.
        template: path below :data:`API_PREFIX`; names in braces are path parts.
        right: verb and resource of the server's access review, for a refusal's message.
        repeatable: whether the call is a read or idempotent, so that it may be sent again unseen.
        base_audience: whether a run-bound token is refused, so that a base-audience one is needed.
    """

    name: str
    method: str
    template: str
    right: str
    repeatable: bool
    base_audience: bool = False

    def path(self, parts: Mapping[str, str]) -> str:
        """The URL path with quoted parts.

        Raises:
            ApiRequestError: a part is empty, or is a path step that URL parsers resolve away.
        """
        for name, part in parts.items():
            if part in {"", ".", ".."}:
                raise ApiRequestError(f'KFP API {self.name}: "{part}" is not a {name.replace("_", " ")}')
        return API_PREFIX + self.template.format_map(
            {name: quote(part, safe="") for name, part in parts.items()}
        )


def _operation(
    name: str, call: str, right: str, *, repeatable: bool = True, base_audience: bool = False
) -> Operation:
    method, template = call.split(" ")
    return Operation(
        name=name,
        method=method,
        template=template,
        right=right,
        repeatable=repeatable,
        base_audience=base_audience,
    )


CREATE_RUN: Final = _operation(
    "CreateRun", "POST /runs", "create on runs", repeatable=False, base_audience=True
)
GET_RUN: Final = _operation("GetRun", "GET /runs/{run_id}", "get on runs")
LIST_RUNS: Final = _operation("ListRuns", "GET /runs", "list on runs", base_audience=True)
TERMINATE_RUN: Final = _operation(
    "TerminateRun", "POST /runs/{run_id}:terminate", "terminate on runs", repeatable=False
)
RETRY_RUN: Final = _operation("RetryRun", "POST /runs/{run_id}:retry", "retry on runs", repeatable=False)
ARCHIVE_RUN: Final = _operation("ArchiveRun", "POST /runs/{run_id}:archive", "archive on runs")
DELETE_RUN: Final = _operation("DeleteRun", "DELETE /runs/{run_id}", "delete on runs", repeatable=False)
REPORT_WORKFLOW: Final = _operation(
    "ReportWorkflow", "POST /workflows", "report on workflows", base_audience=True
)
GET_PIPELINE_VERSION: Final = _operation(
    "GetPipelineVersion",
    "GET /pipelines/{pipeline_id}/versions/{pipeline_version_id}",
    "get on pipelines",
    base_audience=True,
)

CREATE_TASK: Final = _operation("CreateTask", "POST /runs/{run_id}/tasks", "update on runs")
UPDATE_TASK: Final = _operation("UpdateTask", "PATCH /runs/{run_id}/tasks/{task_id}", "update on runs")
UPDATE_TASKS: Final = _operation("UpdateTasksBulk", "POST /runs/{run_id}/tasks:batchUpdate", "update on runs")
GET_TASK: Final = _operation("GetTask", "GET /runs/{run_id}/tasks/{task_id}", "get on runs")
LIST_TASKS: Final = _operation("ListTasks", "GET /runs/{run_id}/tasks", "get on runs")
FIND_CACHED_TASK: Final = _operation(
    "FindCachedTask", "POST /tasks:findCached", "list on runs", base_audience=True
)

_CREATES: Final = "create on artifacts and update on runs"
CREATE_ARTIFACT: Final = _operation("CreateArtifact", "POST /artifacts", _CREATES, repeatable=False)
REUSE_ARTIFACT: Final = _operation("CreateArtifact", "POST /artifacts", _CREATES)
CREATE_ARTIFACTS: Final = _operation(
    "CreateArtifactsBulk", "POST /artifacts:batchCreate", _CREATES, repeatable=False
)
GET_ARTIFACT: Final = _operation(
    "GetArtifact", "GET /artifacts/{artifact_id}", "get on artifacts", base_audience=True
)
CREATE_ARTIFACT_TASKS: Final = _operation(
    "CreateArtifactTasksBulk", "POST /artifact_tasks:batchCreate", _CREATES, repeatable=False
)
LIST_ARTIFACT_TASKS: Final = _operation("ListArtifactTasks", "GET /artifact_tasks", "get on runs")

HEALTHZ: Final = _operation("Healthz", "GET /healthz", "")
