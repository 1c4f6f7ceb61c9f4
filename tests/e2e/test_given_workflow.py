"""A Workflow that was compiled elsewhere, or changed by hand, runs with the pipeline that it belongs to.

Oracles: the same pipeline compiled here; the Workflows that KFP's own compiler made of KFP's fixture
pipelines (driver pods, not plugin calls).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from kfp_api.messages import PipelineTask, RuntimeState, TaskState
from tests.e2e.conftest import PROJECT, Finished, kfp_driver
from tests.e2e.pipelines import compile_to
from tests.e2e.stored import StoredRun, stored_runs

CONFORMANCE = PROJECT.parent / "shared/conformance"
PAIRS: dict[str, tuple[str, ...]] = {
    "hello_world": (),
    "if_elif_else_with_oneof_parameters": (),
    "critical/add_numbers": ("-p", "a=1", "-p", "b=2"),
    "critical/collected_parameters": (),
    "critical/flip_coin": (),
    "critical/parallel_for_after_dependency": (),
    "critical/pipeline_with_retry": (),
    "essential/pipeline_with_nested_conditions": (),
    "failing/fail_v2": (),
    "failing/pipeline_with_exit_handler": (),
}
DRAWS_LOTS = "import random"
"""In a pipeline whose components do: two runs of it need not compute the same."""


def compiled(tmp_path: Path, pipeline: Path, *options: str) -> dict[str, Any]:
    """The Workflow that our own compiler makes."""
    file = tmp_path / "workflow.yaml"
    assert kfp_driver("compile", pipeline, "-o", file, *options, cwd=tmp_path).returncode == 0
    document: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return document


def run(tmp_path: Path, pipeline: Path, workflow: dict[str, Any], *options: str) -> tuple[Finished, Path]:
    file, data = tmp_path / "changed.yaml", tmp_path / "data"
    file.write_text(yaml.safe_dump(workflow), encoding="utf-8")
    arguments = (pipeline, "--workflow", file, "--data-dir", data, *options)
    finished = kfp_driver("local", "run", *map(str, arguments), cwd=tmp_path)
    return finished, data


def ends(stored: StoredRun) -> dict[str, Any]:
    """State and outputs of every task; those of a loop's iterations in any order, as they run in any."""

    def end(row: PipelineTask) -> tuple[TaskState, list[Any]]:
        return row.state, sorted((one.to_wire() for one in row.output_parameters), key=repr)

    names = {task.name for task in stored.tasks}
    return {name: sorted(map(end, stored.rows(name)), key=repr) for name in names}


@asynccontextmanager
async def listening(calls: list[str]) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.Response:
        calls.append(await request.text())
        return web.json_response({"approved": True})

    app = web.Application()
    app.router.add_post("/approve", handle)
    async with TestServer(app) as server:
        yield str(server.make_url("/approve"))


async def test_a_changed_workflow_asks_by_http_before_it_works_and_tells_at_its_end(tmp_path: Path) -> None:
    pipeline = compile_to(tmp_path, "sums")
    workflow, calls = compiled(tmp_path, pipeline, "-p", "b=1", "-p", "a=5"), list[str]()
    async with listening(calls) as url:
        templates = workflow["spec"]["templates"]
        templates.append(
            {
                "name": "ask",
                "inputs": {"parameters": [{"name": "what"}]},
                "http": {
                    "url": url,
                    "method": "POST",
                    "body": "{{workflow.name}} {{inputs.parameters.what}}",
                    "successCondition": 'response.body contains "approved"',
                },
            }
        )
        entrypoint = next(one for one in templates if one["name"] == workflow["spec"]["entrypoint"])
        for task in entrypoint["dag"]["tasks"]:
            task["depends"] = " && ".join(filter(None, ("ask.Succeeded", task.get("depends", ""))))
        asking = {"parameters": [{"name": "what", "value": "begins"}]}
        entrypoint["dag"]["tasks"].append({"name": "ask", "template": "ask", "arguments": asking})
        ending = {"parameters": [{"name": "what", "value": "{{workflow.status}}"}]}
        workflow["spec"]["hooks"] = {"exit": {"template": "ask", "arguments": ending}}
        finished, data = await asyncio.to_thread(run, tmp_path, pipeline, workflow, "-p", "a=30")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (stored,) = await asyncio.to_thread(stored_runs, data)
    assert stored.run.state is RuntimeState.SUCCEEDED
    # b as it was compiled, a as it is given, and ten.
    assert stored.output("ROOT") == 41
    assert stored.run.runtime_config is not None
    assert stored.run.runtime_config.parameters == {"a": 30, "b": 1}
    (name,) = {path.name for path in (data / "runs").iterdir()}
    assert calls == [f"{name} begins", f"{name} Succeeded"]


@pytest.mark.slow
async def test_an_http_template_that_is_refused_fails_the_run_before_its_first_task(tmp_path: Path) -> None:
    pipeline = compile_to(tmp_path, "sums")
    workflow = compiled(tmp_path, pipeline)
    templates = workflow["spec"]["templates"]
    templates.append({"name": "ask", "http": {"url": "http://127.0.0.1:1/"}})
    entrypoint = next(one for one in templates if one["name"] == workflow["spec"]["entrypoint"])
    for task in entrypoint["dag"]["tasks"]:
        task["depends"] = " && ".join(filter(None, ("ask.Succeeded", task.get("depends", ""))))
    entrypoint["dag"]["tasks"].append({"name": "ask", "template": "ask"})
    finished, data = await asyncio.to_thread(run, tmp_path, pipeline, workflow)
    assert finished.returncode == 1
    assert "connection refused" in finished.stdout
    (stored,) = await asyncio.to_thread(stored_runs, data)
    assert (stored.run.state, stored.tasks) == (RuntimeState.FAILED, [])


@pytest.mark.slow
def test_what_has_no_effect_here_is_told_once(tmp_path: Path) -> None:
    pipeline = compile_to(tmp_path, "sums")
    workflow = compiled(tmp_path, pipeline)
    workflow["spec"] |= {"nodeSelector": {"disk": "fast"}, "ttlStrategy": {"secondsAfterCompletion": 1}}
    finished, data = run(tmp_path, pipeline, workflow, "--strict-argo", "--patch-rate", "0.3")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.count("without effect on this machine: spec.nodeSelector\n") == 1
    assert "ttlStrategy" not in finished.stdout
    assert stored_runs(data)[-1].output("ROOT") == 13


@pytest.mark.slow
def test_a_retry_repeats_the_given_workflow(tmp_path: Path) -> None:
    record, file = tmp_path / "record", tmp_path / "file"
    pipeline = compile_to(tmp_path, "flaky")
    workflow = compiled(tmp_path, pipeline, "-p", f"record={record}", "-p", f"file={file}")
    workflow["metadata"]["labels"] = {"changed": "by-hand"}
    finished, data = run(tmp_path, pipeline, workflow)
    assert finished.returncode == 1
    file.touch()
    run_id = stored_runs(data)[-1].run.run_id
    again = kfp_driver("local", "retry", run_id, "--data-dir", data, cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert '"changed": "by-hand"' in next((data / "runs").glob("*/workflow.json")).read_text()
    assert record.read_text().splitlines() == ["first"]


@pytest.mark.parametrize(
    ("document", "options", "words"),
    [
        ("- 1\n", (), "is no Kubernetes object"),
        ("a: 1\n---\nb: 2\n", (), "2 documents"),
        ("kind: CronWorkflow\n", (), "is a CronWorkflow"),
        ("kind: [\n", (), "not valid YAML"),
        (
            "kind: Workflow\nspec: {entrypoint: a, templates: [{name: a, script: {source: x}}]}\n",
            (),
            "a].script",
        ),
        (None, (), "No such file"),
        ("GOOD", ("--no-cache",), "--no-cache"),
    ],
)
def test_a_file_that_is_no_workflow_is_refused(
    document: str | None, options: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    pipeline, file = compile_to(tmp_path, "sums"), tmp_path / "w.yaml"
    good = "kind: Workflow\nspec: {entrypoint: a, templates: [{name: a, suspend: {duration: 1}}]}\n"
    if document is not None:
        file.write_text(good if document == "GOOD" else document)
    finished = kfp_driver(
        "local", "run", pipeline, "--workflow", file, "--data-dir", "data", *options, cwd=tmp_path
    )
    assert finished.returncode == 2
    assert len(finished.complaint.splitlines()) == 1, finished.complaint
    assert words in finished.complaint
    assert not (tmp_path / "data").exists()


@pytest.mark.conformance
@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_what_kfp_compiled_ends_as_what_we_compile(name: str, tmp_path: Path) -> None:
    pipeline = CONFORMANCE / f"pipelines/{name}.yaml"
    workflow = CONFORMANCE / f"workflows/{pipeline.name}"
    if not pipeline.exists() or not workflow.exists():
        pytest.skip(f"no pair {name} beside the project")
    options = ("--pip-install", "never", *PAIRS[name])
    found = []
    for number, given in enumerate(((), ("--workflow", workflow))):
        data = tmp_path / str(number)
        kfp_driver("local", "run", pipeline, *given, "--data-dir", data, *options, cwd=tmp_path)
        (stored,) = stored_runs(data)
        assert TaskState.RUNNING not in {task.state for task in stored.tasks}
        found.append((stored.run.state, ends(stored)))
    if DRAWS_LOTS not in pipeline.read_text(encoding="utf-8"):
        assert found[0] == found[1]
    assert found[0][0] is found[1][0]
