"""Thirty secrets of different kinds go in through every door; none comes out where people look.

Planted in arguments, parameters, constants, conditions, API answers and the service's own credentials; looked
for in logs at level DEBUG, node messages and outputs, task rows, standard output, metrics and ``explain``.
Left out is what must carry values to do its work: inputs and outputs of rows, the pod-spec patch, and the
places of logs, which are named after tasks.
Oracle: the planted texts.
"""

import io
import itertools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from driver_plugin.system_logs import standard_output
from tests.driver_plugin.calls import root_args
from tests.driver_plugin.drivers.pipelines import Json, constant, from_parent, leaf, pipeline, task
from tests.troubleshooting.stack import AGENT_TOKEN, Driven, Stack, running

RUN_TOKEN = "run-token-cnry30"
BASE_TOKEN = "base-token-cnry31"

LOOK = {
    "jwt": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjbnJ5MDEifQ.c2lnLWNucnkwMQcnry01",
    "unsigned jwt": "eyJhbGciOiJub25lIn0.eyJjbnJ5MDIiOiJjbnJ5MDIifQcnry02",
    "aws key id": "AKIACNRY03CNRY03CNRY",
    "aws session key id": "ASIACNRY04CNRY04CNRY",
    "github token": "ghp_cnry05abcdefghijklmnopqrstuvwxyz",
    "github fine-grained token": "github_pat_cnry06abcdefghijklmn",
    "gitlab token": "glpat-cnry07abcdefghijkl",
    "slack token": "xoxb-cnry08-abcdef",
    "google api key": "AIzaSycnry09abcdefghijklmnopqrstuvw",
    "google oauth token": "ya29.cnry10abcdef",
    "openai key": "sk-cnry11abcdefghijklmn",
    "stripe key": "sk_live_cnry12abcdef",
    "hugging face token": "hf_cnry13abcdefghijklmn",
    "npm token": "npm_cnry14abcdefghijklmnopqrstuv",
    "pypi token": "pypi-cnry15abcdefghijkl",
    "docker token": "dckr_pat_cnry16abcdef",
    "sendgrid key": "SG.cnry17abc.cnry17abcdef",
    "bearer header": "Bearer cnry18abcdef",
    "basic header": "Authorization: Basic Y25yeTE5Y25yeTE5cnry19",
    "password in a URL": "https://user:cnry20@host/path",
    "token in a URL": "https://cnry21@host/path",
    "signed URL": "https://store/o?X-Amz-Signature=cnry22&x=1",
    "private key": "-----BEGIN PRIVATE KEY-----\nMIIcnry23\n-----END PRIVATE KEY-----",
    "encrypted key": "-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: AES-256-CBC,00\n\ncnry24\n",
    "connection string": "Server=db;Uid=me;Pwd=cnry25;",
    "account key": "DefaultEndpointsProtocol=https;AccountKey=cnry26==;",
    "docker configuration": '{"auths":{"registry":{"auth":"cnry27"}}}',
    "aws secret": "aws_secret_access_key=cnry28/cnry28",
    "token where an argument is cut": f"{'w' * 49} npm_cnry29abcdefghijklmnopqrstuv",
    "token where a value is cut": f"{'w' * 241} npm_cnry33abcdefghijklmnopqrstuv",
}
"""Secrets that are known by their look, under harmless names."""

NAMES: dict[str, Any] = {
    "db_password": 'cnry40 "quoted" \\ text',
    "apiKey": "cnry41-plain",
    "github_auth": "cnry42-plain",
    "tokens": ["cnry43-plain", "cnry44-plain"],
    "credentials": {"user": "cnry45-plain", "deep": {"er": ["cnry46-plain"]}},
}
"""Secrets that only their parameter's name gives away."""

CONDITION_LITERAL = "cnry47-literal"
CONSTANT = "cnry48-constant"
TYPES: dict[type, str] = {str: "STRING", list: "LIST", dict: "STRUCT"}


def parameters() -> Json:
    return {f"note_{number}": text for number, text in enumerate(LOOK.values())} | NAMES


def canary_pipeline() -> Json:
    values = parameters()
    kinds = {key: TYPES[type(value)] for key, value in values.items()}
    picky: Json = {}
    tasks: Json = {}
    for key, kind in kinds.items():
        component = leaf(f"exec-{key}", inputs={key: kind})
        # No value is allowed: the error quotes the one that came.
        component["inputDefinitions"]["parameters"][key]["literals"] = ["none"]
        picky[f"comp-{key}"] = component
        tasks[f"picky-{key}"] = task(f"comp-{key}", inputs={key: from_parent(key)})
    everything = {key: from_parent(key) for key in kinds} | {"access_key": constant(CONSTANT)}
    tasks["train"] = task("comp-train", inputs=everything, cache=True)
    tasks["guarded"] = task(
        "comp-train",
        inputs=everything,
        condition=f"inputs.parameter_values['db_password'] == '{CONDITION_LITERAL}'",
    )
    train = leaf("exec-train", inputs={**kinds, "access_key": "STRING"})
    return pipeline(tasks, {**picky, "comp-train": train}, inputs=kinds)


@pytest.fixture
def printed() -> Iterator[io.StringIO]:
    """Standard output as the service writes it."""
    stream = io.StringIO()
    standard_output.configure("DEBUG", stream)
    yield stream
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = []
    logging.getLogger().setLevel(logging.WARNING)


_KEPT = 500
"""Characters of an answer's text that the client keeps."""
_QUOTED = itertools.cycle(LOOK.values())


@web.middleware
async def indiscreet(request: web.Request, handler: Handler) -> web.StreamResponse:
    """An API that quotes the caller's credential when it refuses a lookup, and more than a client keeps."""
    if request.path.endswith("tasks:findCached"):
        secret = next(_QUOTED)
        quoted = f"no access for {request.headers.get('Authorization')}, {secret} "
        cut_within = quoted + "and " * ((_KEPT - 10 - len(quoted)) // 4) + secret
        return web.json_response({"code": 7, "message": cut_within}, status=500)
    return await handler(request)


async def everything_once(stack: Stack) -> Driven:
    """Each way in, with each secret."""
    run = await stack.start(canary_pipeline(), **parameters())
    await run.container("train")
    await run.container("guarded")
    for key in parameters():
        await run.container(f"picky-{key}")
    for text in LOOK.values():
        await run.container(text)
        await run.container("train", iteration_index=text)
        await run.container("train", kubernetes_config=text)
        await run.container("train", cache_disabled=text)
        await run.container(
            "train", http_proxy=text, ca_cert_path=text, ml_pipeline_server_address=text, pipeline_name=text
        )
    env = [{"name": "PASSWORD", "value": "cnry49-env"}]
    config = {"initContainers": [{"name": "init", "image": "i", "env": env}], "podMetadata": {"labels": {}}}
    await run.container("train", kubernetes_config=json.dumps(config))
    broken = '{"parameterValues": {"password": "cnry50-broken"'
    await stack.call(root_args(run_id=run.run_id, runtime_config=broken))
    return run


async def test_no_planted_secret_comes_out_anywhere(tmp_path: Path, printed: io.StringIO) -> None:
    (tmp_path / "run-token").write_text(RUN_TOKEN)
    (tmp_path / "base-token").write_text(BASE_TOKEN)
    async with running(
        tmp_path,
        api_door=indiscreet,
        KFP_DRIVER_LOG_LEVEL="DEBUG",
        KFP_TOKEN_MODE="run",
        KFP_TOKEN_PATH=str(tmp_path / "run-token"),
        KFP_BASE_TOKEN_PATH=str(tmp_path / "base-token"),
        KFP_DRIVER_S3_ACCESS_KEY="cnry51-access",
        KFP_DRIVER_S3_SECRET_KEY="cnry52-secret",
        HTTP_PROXY="",
    ) as stack:
        run = await everything_once(stack)
        outs: dict[str, str] = {
            f"explain {row.name[:20]}": await stack.explain(run.run_id, row.task_id)
            for row in await run.rows()
        }
        for row in await run.rows():
            shown = row.model_copy(update={"inputs": None, "outputs": None})
            outs[f"row {row.name[:20]}"] = shown.model_dump_json()
        outs["metrics"] = stack.service.metrics.exposition().decode()
        await stack.service.uploader.flush(10)
        for number, reply in enumerate(stack.replies):
            outs[f"reply {number}"] = orjson.dumps(_without_work(reply)).decode()
    logs = sorted((tmp_path / "driver-logs").rglob("*.log"))
    outs |= {path.name: path.read_text() for path in logs}
    outs["standard output"] = printed.getvalue()

    assert len(logs) > 100
    assert "input values" in outs["standard output"]
    leaks = sorted(
        f"{where}: …{text[max(0, at - 60) : at + 40]}…"
        for where, text in outs.items()
        for canary in ("cnry", "CNRY", "Y25yeTE5", AGENT_TOKEN)
        if (at := text.find(canary)) >= 0
    )
    assert not leaks, "\n".join(leaks)


def _without_work(reply: Json) -> Json:
    node, left_out = reply["node"], ("pod-spec-patch", "driver-log-uri")
    entries = [entry for entry in node["outputs"]["parameters"] if entry["name"] not in left_out]
    return {**reply, "node": {**node, "outputs": {"parameters": entries}}}


def test_there_are_at_least_thirty_kinds() -> None:
    assert len(LOOK) + len(NAMES) >= 30
