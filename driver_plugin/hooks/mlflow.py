"""MLflow: one nested MLflow run per task, below the run that the API server created for the pipeline run.

Speaks MLflow's REST API 2.0 (runs/search, runs/create, runs/log-batch, runs/update, runs/delete). A task is
found again by a tag, so a call that is delivered twice has one MLflow run; of two that deliveries made at the
same moment, the one that stands on the task's row stays. Configuration, property and variables are those
of KFP's own plugin: ``KFP_MLFLOW_CONFIG``, ``plugins.mlflow.run_id``, ``MLFLOW_*``.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from driver_plugin.hooks.loading import allowed_endpoint
from driver_plugin.hooks.plugin import PluginError, TaskEnd, TaskStart
from driver_plugin.settings import Settings, parse_duration
from kfp_api.messages import TaskState

RUN_PROPERTY: Final = "plugins.mlflow.run_id"
PARENT_TAG: Final = "mlflow.parentRunId"
TASK_TAG: Final = "kfp.driver.task"
"""Tag by which a task's MLflow run is found again."""

SECRET_NAME: Final = "kfp-mlflow-credentials"  # noqa: S105 (the name of a Secret)
_LONGEST_SECONDS: Final = 10.0
_SERVICE_ACCOUNT_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_STATUSES: Final = {
    TaskState.SUCCEEDED: "FINISHED",
    TaskState.CACHED: "FINISHED",
    TaskState.SKIPPED: "KILLED",
    TaskState.FAILED: "FAILED",
}


class SecretKeys(BaseModel):
    """Keys of the Secret that holds the user's credentials."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel)

    token_key: str = ""
    username_key: str = ""
    password_key: str = ""


class MlflowConfig(BaseModel):
    """The JSON of ``KFP_MLFLOW_CONFIG``; fields that do not concern the driver are ignored."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel)

    endpoint: str = Field(min_length=1)
    parent_run_id: str = Field(min_length=1)
    experiment_id: str = Field(min_length=1)
    auth_type: Literal["none", "kubernetes", "bearer", "basic-auth"]
    workspace: str = ""
    credential_secret_ref: SecretKeys | None = None
    timeout: str = "10s"
    inject_user_env_vars: bool = False


def configure(configuration: str, *, settings: Settings, http: httpx.AsyncClient) -> "MlflowPlugin":
    """The plugin for one call.

    Raises:
        PluginError: the configuration cannot be read, or names an address that is not allowed.
    """
    try:
        config = MlflowConfig.model_validate_json(configuration)
        seconds = min(parse_duration(config.timeout), _LONGEST_SECONDS)
    except ValidationError as error:
        where = ", ".join(sorted({".".join(map(str, one["loc"])) for one in error.errors()}))
        raise PluginError(f"KFP_MLFLOW_CONFIG: these fields are missing or wrong: {where or 'all'}") from None
    except ValueError:
        raise PluginError("KFP_MLFLOW_CONFIG: timeout is not a duration") from None
    endpoint = allowed_endpoint(config.endpoint, settings)
    return MlflowPlugin(
        config, endpoint=endpoint, headers=_headers(config, settings), http=http, seconds=seconds
    )


def _headers(config: MlflowConfig, settings: Settings) -> dict[str, str]:
    """Workspace and credential: the service's own, never the run's."""
    headers = {"X-MLflow-Workspace": config.workspace} if config.workspace else {}
    match config.auth_type:
        case "kubernetes":
            try:
                token = _SERVICE_ACCOUNT_TOKEN.read_text(encoding="ascii").strip()
            except OSError:
                raise PluginError("authType kubernetes: there is no service account token") from None
            headers["Authorization"] = f"Bearer {token}"
        case "bearer":
            headers["Authorization"] = f"Bearer {settings.mlflow_token.get_secret_value()}"
        case "basic-auth":
            user, password = settings.mlflow_username, settings.mlflow_password.get_secret_value()
            credential = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {credential}"
        case "none":
            pass
    return headers


class MlflowPlugin:
    """The nested MLflow run of one task."""

    name = "mlflow"

    def __init__(
        self,
        config: MlflowConfig,
        *,
        endpoint: str,
        headers: Mapping[str, str],
        http: httpx.AsyncClient,
        seconds: float,
    ) -> None:
        self._config = config
        self._endpoint = endpoint
        self._headers = headers
        self._http = http
        self._seconds = seconds
        self._parent_run_id = config.parent_run_id
        self._run_id = ""

    def apply_properties(self, properties: Mapping[str, str]) -> None:
        """The MLflow run of the parent task, where it has one, is the parent of this task's."""
        self._parent_run_id = properties.get(RUN_PROPERTY) or self._parent_run_id

    async def start(self, task: TaskStart) -> dict[str, str]:
        """Find or create the task's run."""
        self._run_id = await self._find(task.key) or await self._create(task)
        return {RUN_PROPERTY: self._run_id}

    async def resume(self, properties: Mapping[str, str]) -> None:
        """Go on with the run that the row names, and delete the other one."""
        recorded = properties.get(RUN_PROPERTY)
        if recorded and recorded != self._run_id:
            superfluous, self._run_id = self._run_id, recorded
            await self._post("runs/delete", {"run_id": superfluous})

    async def end(self, task: TaskEnd) -> None:
        """Log parameters and metrics, and close the run."""
        if task.metrics or task.parameters:
            await self._post(
                "runs/log-batch",
                {
                    "run_id": self._run_id,
                    "params": [
                        {"key": key, "value": json.dumps(value)}
                        for key, value in sorted(task.parameters.items())
                    ],
                    "metrics": [
                        {"key": key, "value": value, "timestamp": task.end_ms, "step": 0}
                        for key, value in sorted(task.metrics.items())
                    ],
                },
            )
        await self._post(
            "runs/update", {"run_id": self._run_id, "status": _STATUSES[task.state], "end_time": task.end_ms}
        )

    def user_variables(self) -> Sequence[dict[str, Any]]:
        """What an MLflow client in the user's container needs to log into the task's run."""
        config = self._config
        if not config.inject_user_env_vars:
            return ()
        if not self._run_id:
            raise PluginError("there is no MLflow run for this task")
        texts = {
            "MLFLOW_RUN_ID": self._run_id,
            "MLFLOW_TRACKING_URI": config.endpoint,
            "MLFLOW_EXPERIMENT_ID": config.experiment_id,
        }
        if config.workspace:
            texts["MLFLOW_WORKSPACE"] = config.workspace
        if config.auth_type == "kubernetes":
            texts["MLFLOW_TRACKING_AUTH"] = "kubernetes-namespaced" if config.workspace else "kubernetes"
        return [{"name": name, "value": text} for name, text in texts.items()] + self._credentials()

    def _credentials(self) -> list[dict[str, Any]]:
        """References to the Secret in the user's namespace; the driver does not read it."""
        keys = self._config.credential_secret_ref or SecretKeys()
        wanted = {
            "bearer": {"MLFLOW_TRACKING_TOKEN": keys.token_key},
            "basic-auth": {
                "MLFLOW_TRACKING_USERNAME": keys.username_key,
                "MLFLOW_TRACKING_PASSWORD": keys.password_key,
            },
        }.get(self._config.auth_type, {})
        if not all(wanted.values()):
            raise PluginError("credentialSecretRef does not name the keys that the authType needs")
        return [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": SECRET_NAME, "key": key}}}
            for name, key in wanted.items()
        ]

    async def _find(self, key: str) -> str:
        """Id of the run that an earlier delivery of the call made, ``""`` where there is none."""
        answer = await self._post(
            "runs/search",
            {
                "experiment_ids": [self._config.experiment_id],
                "filter": f"tags.`{TASK_TAG}` = '{key}'",
                "max_results": 1,
            },
        )
        runs = answer.get("runs")
        return _run_id(runs[0]) if isinstance(runs, list) and runs else ""

    async def _create(self, task: TaskStart) -> str:
        answer = await self._post(
            "runs/create",
            {
                "experiment_id": self._config.experiment_id,
                "run_name": task.name,
                "tags": [
                    {"key": PARENT_TAG, "value": self._parent_run_id},
                    {"key": TASK_TAG, "value": task.key},
                ],
            },
        )
        return _run_id(answer.get("run"))

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"{self._endpoint}/api/2.0/mlflow/{path}"
        try:
            answer = await self._http.post(url, json=body, headers=dict(self._headers), timeout=self._seconds)
        except httpx.HTTPError as error:
            raise PluginError(f"{path}: {type(error).__name__}") from error
        if not answer.is_success:
            raise PluginError(f"{path}: HTTP {answer.status_code}")
        try:
            document = answer.json()
        except ValueError as error:
            raise PluginError(f"{path}: the answer is not JSON") from error
        return document if isinstance(document, dict) else {}


def _run_id(run: object) -> str:
    info = run.get("info") if isinstance(run, dict) else None
    run_id = info.get("run_id") if isinstance(info, dict) else None
    if not isinstance(run_id, str) or not run_id:
        raise PluginError("the answer names no run")
    return run_id
