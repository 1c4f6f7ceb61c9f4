"""``http`` templates against a loopback server. Oracle: how Argo's agent executes them (spec LAUNCHER E4)."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from local_stack.runner.agent import PluginAgent
from local_stack.runner.engine import Engine
from local_stack.runner.errors import UnsupportedWorkflowError
from local_stack.runner.history import kept_by_retry
from local_stack.runner.http_template import execute_http
from local_stack.runner.nodes import Node, NodeResult, NodeType, Phase
from local_stack.runner.pod_build import ConfigDirectories
from local_stack.runner.workflow import load_workflow
from tests.certificates import self_signed
from tests.local_stack.runner.scripted import ScriptedPods

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _server(answer: Answer, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app, scheme="https" if tls else "http")
    await server.start_server(ssl=tls)
    try:
        yield str(server.make_url("/"))
    finally:
        await server.close()


def _saying(text: str, *, status: int = 200) -> Answer:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text, status=status)

    return answer


async def _never(_request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def _execute(secrets: Mapping[tuple[str, str], str] | None = None, **http: Any) -> NodeResult:
    known = secrets or {}
    async with asyncio.timeout(20):
        return await execute_http(http, secret=lambda name, key: known.get((name, key)))


# The request ------------------------------------------------------------------------------------------------


async def _what_arrives(**http: Any) -> tuple[str, str, list[tuple[str, str]], str]:
    """Method, path, headers and body of the request that a template makes."""
    seen: list[tuple[str, str, list[tuple[str, str]], str]] = []

    async def answer(request: web.Request) -> web.Response:
        headers = [(name.decode(), value.decode()) for name, value in request.raw_headers]
        seen.append((request.method, request.path_qs, headers, await request.text()))
        return web.Response()

    async with _server(answer) as url:
        assert (await _execute(**http | {"url": f"{url}a?b=c"})).phase is Phase.SUCCEEDED
    (only,) = seen
    return only


async def test_a_request_is_a_get_with_the_headers_of_gos_client() -> None:
    method, path, headers, body = await _what_arrives()
    assert (method, path, body) == ("GET", "/a?b=c", "")
    assert sorted(name for name, _ in headers) == ["Accept-Encoding", "Host", "User-Agent"]
    assert dict(headers)["User-Agent"] == "Go-http-client/1.1"
    assert dict(headers)["Accept-Encoding"] == "gzip"


async def test_method_body_and_headers_are_sent_as_written_and_repeated_headers_repeated() -> None:
    method, _, headers, body = await _what_arrives(
        method="PUT",
        body='{"ä": 1}',
        headers=[
            {"name": "X-A", "value": "1"},
            {"name": "X-A", "value": "2"},
            {"name": "Host", "value": "elsewhere.example"},
            {"name": "User-Agent", "value": "mine"},
        ],
    )
    assert (method, body) == ("PUT", '{"ä": 1}')
    assert [value for name, value in headers if name == "X-A"] == ["1", "2"]
    assert [value for name, value in headers if name == "Host"] == ["elsewhere.example"]
    assert [value for name, value in headers if name == "User-Agent"] == ["mine"]
    assert "Content-Type" not in dict(headers)


async def test_a_header_comes_from_a_secret() -> None:
    source = {"secretKeyRef": {"name": "creds", "key": "token"}}
    header = {"name": "Authorization", "value": "unused", "valueFrom": source}
    _, _, headers, _ = await _what_arrives(headers=[header], secrets={("creds", "token"): "Bearer s"})
    assert dict(headers)["Authorization"] == "Bearer s"


async def test_a_missing_secret_fails_the_node_even_if_it_is_optional() -> None:
    source = {"secretKeyRef": {"name": "creds", "key": "token", "optional": True}}
    result = await _execute(url="http://127.0.0.1:1", headers=[{"name": "A", "valueFrom": source}])
    assert result.phase is Phase.FAILED
    assert 'Secret "creds" has no key "token"' in result.message


# The answer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 204, 299, 304, 400, 404, 500, 503])
async def test_without_a_condition_a_status_of_the_200s_is_a_success(status: int) -> None:
    text = "" if status in (204, 304) else "text"
    async with _server(_saying(text, status=status)) as url:
        result = await _execute(url=url)
    if status < 300:
        assert result == NodeResult(phase=Phase.SUCCEEDED, result=text)
    else:
        message = f"received non-2xx response code: {status}"
        assert result == NodeResult(phase=Phase.FAILED, message=message, result=text)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("response.statusCode == 404", True),
        ("response.statusCode == 200", False),
        ("response.statusCode >= 400 && response.statusCode < 500", True),
        ('response.body contains "found"', True),
        ("response.body == 'not found'", True),
        ('response.body matches "^not.*d$" || response.statusCode == 200', True),
        ('!(response.body startsWith "not")', False),
        ('request.method == "POST" && request.body == "b"', True),
        ('response.statusCode == "404"', False),
    ],
)
async def test_a_condition_alone_decides_over_status_body_and_request(condition: str, holds: bool) -> None:
    load_workflow(_workflow({"url": "http://h", "successCondition": condition}))
    async with _server(_saying("not found", status=404)) as url:
        result = await _execute(url=url, method="POST", body="b", successCondition=condition)
    assert result.result == "not found"
    assert result.phase is (Phase.SUCCEEDED if holds else Phase.FAILED)
    assert result.message == ("" if holds else f"successCondition '{condition}' evaluated false")


async def test_a_condition_that_cannot_be_evaluated_fails_the_node_without_a_result() -> None:
    async with _server(_saying("text")) as url:
        result = await _execute(url=url, successCondition="response.nothing == 1")
    assert (result.phase, result.result) == (Phase.FAILED, None)
    assert "does not know 'response.nothing'" in result.message


async def test_a_body_that_is_not_utf_8_loses_only_its_bad_bytes() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=b"a\xffb")

    async with _server(answer) as url:
        assert (await _execute(url=url)).result == "a\ufffdb"


async def test_a_packed_answer_is_unpacked_unless_the_template_asked_for_it() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"text"), headers={"Content-Encoding": "gzip"})

    async with _server(answer) as url:
        assert (await _execute(url=url)).result == "text"
        own = [{"name": "accept-encoding", "value": "gzip"}]
        assert (await _execute(url=url, headers=own)).result != "text"


async def test_redirects_are_followed_for_ten_requests() -> None:
    async def answer(request: web.Request) -> web.Response:
        left = int(request.path.removeprefix("/"))
        return web.Response(status=302, headers={"Location": f"/{left - 1}"}) if left else web.Response()

    async with _server(answer) as url:
        assert (await _execute(url=f"{url}9")).phase is Phase.SUCCEEDED
        result = await _execute(url=f"{url}10")
    assert result.message == f'Get "{url}10": stopped after 10 redirects'


# What goes wrong --------------------------------------------------------------------------------------------


async def test_a_refused_connection_fails_in_words_that_count_as_transient() -> None:
    url = f"http://user:password@127.0.0.1:{unused_port()}/"
    result = await _execute(url=url, method="POST")
    assert result.phase is Phase.FAILED
    assert result.message == f'Post "{url.replace("password", "***")}": connection refused'


async def test_an_answer_that_takes_longer_than_timeout_seconds_fails() -> None:
    async with _server(_never) as url:
        result = await _execute(url=url, timeoutSeconds=0)
    assert result == NodeResult(phase=Phase.FAILED, message=f'Get "{url}": context deadline exceeded')


async def test_an_address_that_is_none_fails() -> None:
    result = await _execute(url="nowhere")
    assert result.phase is Phase.FAILED
    assert result.message.startswith('Get "nowhere": ')


async def test_a_connection_that_is_closed_fails() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with _server(answer) as url:
        assert (await _execute(url=url)).message == f'Get "{url}": EOF'


async def test_an_untrusted_certificate_fails_unless_verification_is_skipped(tmp_path: Path) -> None:
    key, certificate = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with _server(_saying("safe"), tls=context) as url:
        refused = await _execute(url=url)
        accepted = await _execute(url=url, insecureSkipVerify=True)
    assert refused.phase is Phase.FAILED
    assert "certificate" in refused.message
    assert accepted.result == "safe"


# In a workflow ----------------------------------------------------------------------------------------------


def _workflow(http: dict[str, Any], **template: Any) -> dict[str, Any]:
    call = {"name": "call", "http": http} | template
    return {"metadata": {"name": "w"}, "spec": {"entrypoint": "call", "templates": [call]}}


async def _run(
    document: dict[str, Any],
    *,
    config: ConfigDirectories | None = None,
    history: Mapping[str, Node] | None = None,
) -> dict[str, Node]:
    """Run a workflow without a plugin; its nodes by name."""
    secret = config.secret if config else lambda _name, _key: None
    agent = PluginAgent("http://127.0.0.1:1", workflow_metadata={}, secret=secret)
    async with agent, asyncio.timeout(20):
        engine = Engine(
            load_workflow(document),
            plugins=agent,
            pods=ScriptedPods(),
            pod_slots=asyncio.Semaphore(1),
            history=history,
        )
        await engine.run()
    return engine.nodes


async def test_a_later_task_gets_the_body_and_inputs_are_inserted(tmp_path: Path) -> None:
    (tmp_path / "creds").mkdir()
    (tmp_path / "creds" / "token").write_text("s")

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.headers['X']}:{request.path}")

    def task(name: str, value: str, **more: str) -> dict[str, Any]:
        arguments = {"parameters": [{"name": "path", "value": value}]}
        return {"name": name, "template": "call", "arguments": arguments} | more

    source = {"secretKeyRef": {"name": "creds", "key": "token"}}
    http = {
        "url": "{{inputs.parameters.path}}",
        "headers": [{"name": "X", "valueFrom": source}],
        "successCondition": 'request.url == "{{inputs.parameters.path}}"',
    }
    document = _workflow(http, inputs={"parameters": [{"name": "path"}]})
    async with _server(answer) as url:
        tasks = [
            task("a", f"{url}one"),
            task("b", f"{url}{{{{tasks.a.outputs.result}}}}", depends="a.Succeeded"),
        ]
        document["spec"]["templates"].append({"name": "both", "dag": {"tasks": tasks}})
        document["spec"]["entrypoint"] = "both"
        nodes = await _run(document, config=ConfigDirectories(tmp_path, tmp_path))
    assert [nodes[name].type for name in ("w.a", "w.b")] == [NodeType.HTTP, NodeType.HTTP]
    assert nodes["w.a"].result == "s:/one"
    assert nodes["w.b"].result == "s:/s:/one"
    assert nodes["w"].phase is Phase.SUCCEEDED


async def test_the_templates_retry_strategy_repeats_the_request() -> None:
    statuses = iter([500, 502, 200])

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=next(statuses))

    async with _server(answer) as url:
        nodes = await _run(_workflow({"url": url}, retryStrategy={"limit": "2"}))
    assert [(node.name, node.type.value, node.phase.value) for node in nodes.values()] == [
        ("w", "Retry", "Succeeded"),
        ("w(0)", "HTTP", "Failed"),
        ("w(1)", "HTTP", "Failed"),
        ("w(2)", "HTTP", "Succeeded"),
    ]


async def test_a_retry_of_the_run_sends_only_what_had_failed_again() -> None:
    requests: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        requests.append(request.path)
        return web.Response(status=500 if requests.count("/bad") == 1 else 200)

    async with _server(answer) as url:
        document = _workflow({"url": f"{url}bad"})
        document["spec"]["templates"] += [
            {"name": "good", "http": {"url": f"{url}good"}},
            {
                "name": "both",
                "dag": {
                    "tasks": [
                        {"name": "a", "template": "good"},
                        {"name": "b", "template": "call", "depends": "a"},
                    ]
                },
            },
        ]
        document["spec"]["entrypoint"] = "both"
        first = await _run(document)
        second = await _run(document, history=kept_by_retry(first))
    assert (first["w"].phase, second["w"].phase) == (Phase.FAILED, Phase.SUCCEEDED)
    assert requests == ["/good", "/bad", "/bad"]


async def test_the_templates_deadline_ends_a_request_that_hangs() -> None:
    async with _server(_never) as url:
        nodes = await _run(_workflow({"url": url}, timeout="10ms"))
    assert nodes["w"].phase is Phase.FAILED
    assert "deadline" in nodes["w"].message


@pytest.mark.parametrize(
    ("http", "path"),
    [
        ({"bodyFrom": {"bytes": "eA=="}}, "bodyFrom"),
        ({"retries": 3}, "retries"),
        ({"url": ""}, "url"),
        ({"timeoutSeconds": "5"}, "timeoutSeconds"),
        ({"insecureSkipVerify": "yes"}, "insecureSkipVerify"),
        ({"headers": [{"value": "x"}]}, "headers[0].name"),
        ({"headers": [{"name": "A", "values": ["x"]}]}, "headers[A].values"),
        (
            {"headers": [{"name": "A", "valueFrom": {"configMapKeyRef": {"key": "k"}}}]},
            "headers[A].valueFrom.configMapKeyRef",
        ),
        ({"successCondition": 'response.headers["A"][0] == "b"'}, "successCondition"),
        ({"successCondition": "response.statusCode in [200, 201]"}, "successCondition"),
        ({"successCondition": "len(response.body) > 3"}, "successCondition"),
        ({"successCondition": "response.statusCode"}, "successCondition"),
    ],
)
def test_what_is_not_executed_is_refused_by_its_path(http: dict[str, Any], path: str) -> None:
    with pytest.raises(UnsupportedWorkflowError) as caught:
        load_workflow(_workflow({"url": "http://h"} | http))
    assert caught.value.field == f"spec.templates[call].http.{path}"


def test_output_parameters_are_refused_since_a_request_has_only_a_result() -> None:
    outputs = {"parameters": [{"name": "a", "valueFrom": {"jsonPath": "$.a"}}]}
    with pytest.raises(UnsupportedWorkflowError) as caught:
        load_workflow(_workflow({"url": "http://h"}, outputs=outputs))
    assert caught.value.field == "spec.templates[call].outputs.parameters[a]"
