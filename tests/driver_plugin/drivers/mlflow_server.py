"""A stand-in of MLflow's tracking server: the calls of its REST API 2.0 that the plugin makes."""

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.driver_plugin.drivers.pipelines import Json


@dataclass
class Mlflow:
    """Runs by id, and the calls that came in."""

    url: str = ""
    runs: dict[str, Json] = field(default_factory=dict)
    calls: list[tuple[str, Json]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/api/2.0/mlflow/runs/{call}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.Response:
        call, body = request.match_info["call"], await request.json()
        self.calls.append((call, body))
        self.headers = dict(request.headers)
        if self.status != 200:
            return web.json_response({}, status=self.status)
        if call == "create":
            run_id = str(uuid.uuid4())
            self.runs[run_id] = {
                "name": body["run_name"],
                **{one["key"]: one["value"] for one in body["tags"]},
            }
            return web.json_response({"run": {"info": {"run_id": run_id}}})
        if call == "search":
            key = body["filter"].rpartition("= ")[2].strip("'")
            found = [name for name, run in self.runs.items() if run["kfp.driver.task"] == key]
            return web.json_response({"runs": [{"info": {"run_id": name}} for name in found]})
        if call == "delete":
            del self.runs[body["run_id"]]
            return web.json_response({})
        self.runs[body["run_id"]].update({key: body[key] for key in body if key != "run_id"})
        return web.json_response({})

    def arguments(self, **changes: Any) -> dict[str, str]:
        """``runtime_args`` as the API server injects them."""
        config = {
            "endpoint": self.url,
            "parentRunId": "top",
            "experimentId": "7",
            "authType": "none",
            "timeout": "5s",
            "injectUserEnvVars": True,
            **changes,
        }
        return {"KFP_MLFLOW_CONFIG": json.dumps(config)}

    def named(self, name: str) -> Json:
        """The one run of that name."""
        (run,) = [run for run in self.runs.values() if run["name"] == name]
        return run

    def id_of(self, name: str) -> str:
        """The id of the one run of that name."""
        (run_id,) = [run_id for run_id, run in self.runs.items() if run["name"] == name]
        return run_id
