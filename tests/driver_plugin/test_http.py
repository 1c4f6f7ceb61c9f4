"""The door for Argo's agent. Oracle: the status table of spec DRIVER 1.3, LAUNCHER D8 and DEPLOY 2.3, 4."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from driver_plugin.argo.replies import DriverResult
from driver_plugin.http.execute import PATH
from tests.driver_plugin.calls import body, container_args, dag_args, root_args, without
from tests.driver_plugin.service import TOKEN, Stack, outputs, running_service

AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_service(tmp_path, environ={"KFP_RUN_ID": root_args()["run_id"]}) as running:
        yield running


@pytest.mark.parametrize(
    "args", [root_args(), dag_args(), container_args()], ids=["root", "dag", "container"]
)
async def test_a_call_of_each_type_succeeds(stack: Stack, args: dict[str, Any]) -> None:
    reply = await stack.call(args)

    assert reply["node"]["phase"] == "Succeeded"
    assert reply["node"]["message"].startswith("driver log: /")
    assert outputs(reply)["task-id"] == "t-1"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
async def test_a_method_other_than_post_is_405_and_never_404(stack: Stack, method: str) -> None:
    response = await stack.client.request(method, PATH, headers=AUTHORIZED)

    assert response.status == 405


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        TOKEN,
        f"Basic {TOKEN}",
        "Bearer ä",
    ],
)
async def test_a_wrong_or_missing_token_is_403(stack: Stack, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}

    response = await stack.client.post(PATH, json=body(container_args()), headers=headers)

    assert response.status == 403
    assert stack.driver.calls == []


async def test_without_a_readable_token_file_every_call_is_refused(stack: Stack, tmp_path: Path) -> None:
    assert stack.service.not_ready_because() == ""
    (tmp_path / "token").unlink()

    response = await stack.client.post(PATH, json=body(container_args()), headers=AUTHORIZED)
    assert response.status == 403
    assert "token" in stack.service.not_ready_because()

    (tmp_path / "token").write_text("")
    response = await stack.client.post(
        PATH, json=body(container_args()), headers={"Authorization": "Bearer "}
    )
    assert response.status == 403


async def test_a_token_file_that_changes_is_read_again(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-new-token\n")

    old = await stack.client.post(PATH, json=body(container_args()), headers=AUTHORIZED)
    new = await stack.client.post(
        PATH, json=body(container_args()), headers={"Authorization": "Bearer a-new-token"}
    )

    assert (old.status, new.status) == (403, 200)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b'{"template": NaN}', "not valid JSON"),
        (b"[]", "body is not a JSON object"),
        (b"null", "body is not a JSON object"),
        (b'"text"', "body is not a JSON object"),
        (b"{}", "template is missing"),
        (b'{"template": []}', "template is not a JSON object"),
        (b'{"template": {}}', "template.plugin is missing"),
        (b'{"template": {"plugin": "x"}}', "template.plugin is not a JSON object"),
        (b'{"template":' + b"[" * 65 + b"]" * 65 + b"}", "nested more than 64 levels deep"),
        (b'{"template":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not valid JSON"),
    ],
)
async def test_a_body_that_is_no_call_is_400_and_says_which(stack: Stack, data: bytes, named: str) -> None:
    response = await stack.client.post(PATH, data=data, headers=AUTHORIZED)

    assert response.status == 400
    assert named in (await response.json())["error"]


async def test_a_body_above_16_mib_is_413(stack: Stack) -> None:
    for data in (io.BytesIO(b" " * ((16 << 20) + 1)), _chunks(17)):
        response = await stack.client.post(PATH, data=data, headers=AUTHORIZED)
        assert response.status == 413
        assert "16777216" in (await response.json())["error"]


async def _chunks(mebibytes: int) -> AsyncIterator[bytes]:
    for _ in range(mebibytes):
        yield b" " * (1 << 20)


async def test_a_body_of_2_mib_is_accepted(stack: Stack) -> None:
    document = body(container_args())
    document["template"]["inputs"]["parameters"] = [{"name": "x", "value": "y" * (2 << 20)}]

    response = await stack.client.post(PATH, data=io.BytesIO(orjson.dumps(document)), headers=AUTHORIZED)

    assert (await response.json())["node"]["phase"] == "Succeeded"


async def test_repeated_keys_in_a_body_are_read_as_the_last_one(stack: Stack) -> None:
    text = orjson.dumps(body(container_args())).replace(b'{"workflow"', b'{"template":1,"workflow"')

    response = await stack.client.post(PATH, data=text, headers=AUTHORIZED)

    assert response.status == 200


@pytest.mark.parametrize("plugin", [{}, {"hello": {}}, {"hello": {"args": {"type": "DAG"}}}])
async def test_a_foreign_template_is_answered_with_an_empty_object(
    stack: Stack, plugin: dict[str, Any]
) -> None:
    response = await stack.post({"template": {"name": "x", "plugin": plugin}})

    assert response.status == 200
    assert await response.json() == {}


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (None, "args"),
        ([], "args"),
        (container_args(type="SIDEWAYS"), "unknown driver type"),
        (without(container_args(), "task_name"), "--task_name is required for CONTAINER"),
        (container_args(iteration_index="x"), "iteration_index"),
        (container_args(kubernetes_config="{"), "kubernetes_config"),
    ],
)
async def test_a_mistake_in_the_arguments_is_a_failed_node_that_names_it(
    stack: Stack, args: object, named: str
) -> None:
    reply = await stack.call(args)

    assert reply["node"]["phase"] == "Failed"
    assert reply["node"]["message"].startswith("kfp-driver: ")
    assert named in reply["node"]["message"]
    assert "requeue" not in reply
    assert stack.driver.calls == []


async def test_an_early_failure_has_a_log_under_the_calls_prefix(stack: Stack) -> None:
    args = container_args(cache_disabled="maybe")

    reply = await stack.call(args)

    uri = outputs(reply)["driver-log-uri"]
    assert uri.startswith(f"{stack.logs}/{args['run_id']}/{args['parent_task_id']}/train/")
    (text,) = stack.log_texts()
    assert 'invalid cache_disabled value "maybe"' in text.replace('\\"', '"')


@pytest.mark.parametrize(
    "document",
    [
        body(container_args(namespace="team-b")),
        body(container_args(run_id="someone-elses-run")),
        body(container_args(), name="another-workflow"),
    ],
)
async def test_a_call_for_what_the_caller_is_not_bound_to_is_403(
    stack: Stack, document: dict[str, Any]
) -> None:
    response = await stack.post(document)

    assert response.status == 403
    assert "mismatch" in (await response.json())["error"]
    assert stack.log_texts() == []


async def test_other_paths_are_404_in_json(stack: Stack) -> None:
    response = await stack.client.post("/api/v1/workflow.execute", headers=AUTHORIZED)

    assert response.status == 404
    assert await response.json() == {"error": "not found"}


async def test_no_secret_and_no_raw_argument_reaches_log_or_reply(tmp_path: Path) -> None:
    canary = "canary-4711"
    args = container_args(
        runtime_args={"KFP_MLFLOW_CONFIG": canary},
        kubernetes_config={"secretAsEnv": [{"secretName": canary}]},
        component=f"@/{canary}",
        shoe_size=canary,
    )
    async with running_service(
        tmp_path, DriverResult(task_id="t"), environ={"KFP_DRIVER_LOG_LEVEL": "DEBUG"}
    ) as stack:
        reply = await stack.call(args)
        texts = stack.log_texts()

    assert len(texts) == 1
    assert canary not in texts[0]
    assert TOKEN not in texts[0]
    assert canary not in str(reply)
