"""The OpenAPI document is true, and nothing that follows it or breaks it makes the server fail.

Oracle: schemathesis, which generates requests from the document (valid ones, and ones that violate it) and
checks every answer against it: no 5xx, documented status, content type and schema.
"""

import io
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from local_stack.api_server.app import build_app
from local_stack.api_server.config import ServerConfig
from local_stack.api_server.routes.answering import API_PREFIX, DATABASE
from local_stack.api_server.routes.openapi import openapi_document

from .conftest import SPEC, Api
from .servers import Server

METHOD_NOT_ALLOWED = {"code": 12, "message": "Method Not Allowed"}


def no_failure(context: Any, response: Any, case: Any) -> None:
    """No 5xx, except that KFP's gateway calls a wrong method 501."""
    if response.status_code == 501:
        assert response.json() == METHOD_NOT_ALLOWED
    else:
        not_a_server_error(context, response, case)


CHECKS = [no_failure, content_type_conformance, response_schema_conformance, status_code_conformance]

schema: Any = schemathesis.openapi.from_dict(openapi_document())


class Rows:
    """A server with one of everything, whose ids some of the requests carry."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ids: dict[str, str] = {}
        self.fill()

    def fill(self) -> None:
        run = self.server.post("/runs", {"display_name": "r", "pipeline_spec": SPEC})
        task_body = {"name": "t", "type": "RUNTIME", "scope_path": "root.t", "state": "RUNNING"}
        task = self.server.post(f"/runs/{run['run_id']}/tasks", task_body)
        artifact = self.server.post(
            "/artifacts",
            {
                "run_id": run["run_id"],
                "task_id": task["task_id"],
                "producer_key": "o",
                "artifact": {"name": "a", "type": "Model", "uri": "s3://b/a", "namespace": "n"},
            },
        )
        self.ids = {
            "run_id": run["run_id"],
            "task_id": task["task_id"],
            "artifact_id": artifact["artifact_id"],
            "experiment_id": run["experiment_id"],
        }


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rows]:
    server = Server(tmp_path_factory.mktemp("openapi"))
    yield Rows(server)
    assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM


def _send(case: Any, rows: Rows) -> None:
    """Call and check; what the caller names exists in the half of the cases whose first id is short."""
    for place in (case.path_parameters, case.body):
        if isinstance(place, dict):
            for name, known in rows.ids.items():
                if len(str(place.get(name, "long"))) <= 2:
                    place[name] = known
    case.call_and_validate(base_url=rows.server.ready["url"], checks=CHECKS)
    if case.method == "DELETE" or case.operation.path.endswith(":archive"):
        rows.fill()


QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
every_operation = pytest.mark.parametrize(
    "operation",
    [found.ok() for found in schema.get_all_operations()],
    ids=lambda operation: str(operation.label),
)
"""Not schemathesis' own parametrization: its items share an id, and pytest-xdist runs one item of each id."""


def search(operation: Any, rows: Rows, *, examples: int, derandomize: bool) -> None:
    """Send generated requests of an operation: as many that follow the document as ones that do not."""
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=derandomize,
            suppress_health_check=QUIET,
            database=None,
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            _send(case, rows)

        try:
            send()
        except Unsatisfiable:
            # Nothing that such an operation takes can be wrong.
            assert mode is GenerationMode.NEGATIVE


@every_operation
def test_no_generated_request_makes_the_server_fail(operation: Any, rows: Rows) -> None:
    search(operation, rows, examples=4, derandomize=True)


@pytest.mark.slow
@every_operation
def test_no_request_of_a_long_search_makes_the_server_fail(operation: Any, rows: Rows) -> None:
    search(operation, rows, examples=50, derandomize=False)


def test_the_document_lists_the_routes_that_are_served(tmp_path: Any) -> None:
    app = build_app(ServerConfig(database=tmp_path / "kfp.db"))
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method not in ("*", "HEAD")
    }
    app[DATABASE].close()
    documented = {
        (method, path) for path, methods in openapi_document()["paths"].items() for method in methods
    }
    served -= {("get", "/metrics"), ("get", f"{API_PREFIX}/openapi.json")}
    # It answers every method.
    documented.remove(("get", f"{API_PREFIX}/healthz"))
    assert documented == served


async def test_the_document_is_served(api: Api) -> None:
    assert await api.get("/openapi.json") == openapi_document()


async def test_requests_are_counted_under_labels_that_callers_cannot_invent(api: Api) -> None:
    run = await api.run()
    await api.get(f"/runs/{run}")
    await api.call("PATCH", "/runs", status=501)
    await api.get("/invented", status=404)
    async with api.client.get("/metrics") as response:
        text = await response.text()
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line for line in io.StringIO(text) if line.startswith("kfp_api_server_requests_total")]
    route = 'route="/apis/v2beta1/runs'
    assert sorted(lines) == [
        f'kfp_api_server_requests_total{{method="GET",{route}/{{run_id}}",status="200"}} 1.0\n',
        f'kfp_api_server_requests_total{{method="POST",{route}",status="200"}} 1.0\n',
        'kfp_api_server_requests_total{method="other",route="none",status="404"} 1.0\n',
        'kfp_api_server_requests_total{method="other",route="none",status="501"} 1.0\n',
    ]
