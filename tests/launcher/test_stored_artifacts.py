"""The launcher as a process, with artifacts in buckets.

Oracle: moto's S3 server holds what the task made; settings and credentials by spec LAUNCHER A19, artifacts
and logs by A6, A9 and A10.
"""

import asyncio
from collections.abc import Mapping

import pytest

from kfp_api.messages import PipelineTask, TaskState
from tests.launcher.conftest import Bench
from tests.launcher.s3_server import KEYS, S3Server


def in_cluster_store(bench: Bench, s3: S3Server, bucket: str) -> dict[str, str]:
    """MinIO as KFP installs it: the built-in settings, keys from a Secret."""
    secret = bench.directory / "secrets" / "mlpipeline-minio-artifact"
    secret.mkdir(parents=True)
    (secret / "accesskey").write_text(KEYS["AWS_ACCESS_KEY_ID"], encoding="utf-8")
    (secret / "secretkey").write_text(KEYS["AWS_SECRET_ACCESS_KEY"], encoding="utf-8")
    host, _, port = s3.endpoint.removeprefix("http://").partition(":")
    return {
        **configured(bench, f"minio://{bucket}/root"),
        "KFP_SECRETS_DIR": str(secret.parent),
        "OBJECT_STORE_HOST": host,
        "OBJECT_STORE_PORT": port,
    }


def s3_by_query(bench: Bench, s3: S3Server, bucket: str) -> dict[str, str]:
    """S3 by the query of the pipeline root, keys from the environment."""
    query = f"?endpoint={s3.endpoint}&region=us-east-1&use_path_style=true"
    return {**configured(bench, f"s3://{bucket}/root{query}"), **KEYS}


def google_cloud_storage(bench: Bench, s3: S3Server, bucket: str) -> dict[str, str]:
    """Google Cloud Storage, its S3-compatible endpoint played by moto."""
    return {**configured(bench, f"gs://{bucket}/root"), **KEYS, "KFP_GCS_ENDPOINT": s3.endpoint}


def configured(bench: Bench, root: str) -> dict[str, str]:
    directory = bench.directory / "config"
    directory.mkdir(exist_ok=True)
    (directory / "defaultPipelineRoot").write_text(root, encoding="utf-8")
    return {"KFP_LAUNCHER_CONFIG_DIR": str(directory)}


def uris(row: PipelineTask) -> dict[str, list[str | None]]:
    return {one.artifact_key: [artifact.uri for artifact in one.artifacts] for one in row.output_artifacts}


@pytest.mark.parametrize(
    ("scheme", "settings"),
    [("minio", in_cluster_store), ("s3", s3_by_query), ("gs", google_cloud_storage)],
)
async def test_artifacts_come_from_and_go_to_the_bucket(
    scheme: str, settings: object, bench: Bench, s3: S3Server
) -> None:
    bucket, task = s3.new_bucket(), await bench.task()
    assert callable(settings)
    environment: Mapping[str, str] = settings(bench, s3, bucket)
    s3.put(bucket, "root/data/a", b"1")
    s3.put(bucket, "root/data/deep/b", b"2")
    s3.put(bucket, "root/data2/c", b"3")
    root = f"{scheme}://{bucket}/root"
    data = bench.artifact("data", "system.Dataset", root)
    script = (
        f'cd {data["customPath"]} && find . -type f | sort && mkdir -p "$0/deep" && echo w > "$0/deep/w" '
        '&& echo 0.5 > "$1"'
    )
    status, output = await bench.run(
        task,
        script,
        executor_input=bench.executor_input(root, artifacts={"data": {"artifacts": [data]}}),
        environment=environment,
    )
    assert status == 0, output
    stored = s3.objects(bucket)
    assert stored["root/model/deep/w"] == b"w\n"
    assert stored["root/executor-logs-0"] == b"./a\n./deep/b\n"
    assert uris(await bench.row(task.task_id)) == {
        "model": [f"{root}/model"],
        "executor-logs": [f"{root}/executor-logs-0"],
    }


async def test_what_user_code_reports_about_an_artifact_is_merged(bench: Bench, s3: S3Server) -> None:
    bucket, task = s3.new_bucket(), await bench.task()
    root, elsewhere = f"s3://{bucket}/root", bench.directory / "elsewhere"
    document = bench.executor_input(root)
    report = (
        '{"parameterValues": {"acc": 0.25}, "artifacts": {"model": {"artifacts": [{"name": "model", '
        f'"uri": "{root}/renamed", "metadata": {{"framework": "x", "loss": NaN}}, '
        f'"custom_path": "{elsewhere}"}}]}}}}}}'
    )
    script = f"echo v > {elsewhere}; echo '{report}' > {document['outputs']['outputFile']}"
    status, output = await bench.run(
        task, script, executor_input=document, environment=s3_by_query(bench, s3, bucket)
    )
    assert status == 0, output
    assert s3.objects(bucket)["root/renamed"] == b"v\n"
    row = await bench.row(task.task_id)
    (model,) = next(one.artifacts for one in row.output_artifacts if one.artifact_key == "model")
    assert (model.uri, model.metadata) == (f"{root}/renamed", {"framework": "x", "loss": "NaN"})
    assert [(one.parameter_key, one.value) for one in row.output_parameters] == [("acc", 0.25)]


async def test_failed_task_leaves_its_log_in_the_bucket(bench: Bench, s3: S3Server) -> None:
    bucket, task = s3.new_bucket(), await bench.task()
    root = f"s3://{bucket}/root"
    status, _ = await bench.run(
        task,
        "echo no memory; exit 3",
        executor_input=bench.executor_input(root),
        environment={**s3_by_query(bench, s3, bucket), "KFP_RETRY_INDEX": "2"},
    )
    assert status == 1
    assert s3.objects(bucket) == {"root/executor-logs-2": b"no memory\n"}
    assert uris(await bench.row(task.task_id)) == {"executor-logs": [f"{root}/executor-logs-2"]}


async def test_long_log_is_uploaded_while_it_grows(bench: Bench, s3: S3Server) -> None:
    bucket, task = s3.new_bucket(), await bench.task()
    go = bench.directory / "go"
    process = await bench.start(
        task,
        f'echo first; while ! [ -e {go} ]; do sleep 0.05; done; echo last; echo w > "$0"; echo 1 > "$1"',
        executor_input=bench.executor_input(f"s3://{bucket}/root"),
        environment={**s3_by_query(bench, s3, bucket), "KFP_LOG_UPLOAD_INTERVAL": "0.1"},
    )
    await asyncio.to_thread(
        s3.client.get_waiter("object_exists").wait,
        Bucket=bucket,
        Key="root/executor-logs-0",
        WaiterConfig={"Delay": 1, "MaxAttempts": 60},
    )
    assert s3.objects(bucket) == {"root/executor-logs-0": b"first\n"}
    go.touch()
    await process.communicate()
    assert process.returncode == 0
    assert s3.objects(bucket)["root/executor-logs-0"] == b"first\nlast\n"
    assert uris(await bench.row(task.task_id))["executor-logs"] == [f"s3://{bucket}/root/executor-logs-0"]


@pytest.mark.parametrize(
    ("root", "text"),
    [
        ("s3://elsewhere/x", "outside the configured pipeline root and has no explicit provider override"),
        ("mem://b/x", '"mem://b/x/model" is not the URI of an object'),
    ],
)
async def test_store_that_cannot_work_fails_the_task_before_its_command(
    root: str, text: str, bench: Bench
) -> None:
    task, ran = await bench.task(), bench.directory / "ran"
    status, output = await bench.run(
        task,
        f"touch {ran}",
        executor_input=bench.executor_input(root),
        environment=configured(bench, "s3://mine/root"),
    )
    row = await bench.row(task.task_id)
    assert (status, row.state) == (1, TaskState.FAILED), output
    assert row.status_metadata is not None
    assert text in row.status_metadata.message
    assert not ran.exists()


async def test_log_that_no_store_takes_never_fails_the_task(bench: Bench) -> None:
    task = await bench.task()
    document = bench.executor_input()
    document["outputs"]["artifacts"]["executor-logs"]["artifacts"] = [
        bench.artifact("executor-logs", "system.Artifact", "s3://elsewhere/x")
    ]
    status, output = await bench.run(task, 'echo w > "$0"; echo 1 > "$1"', executor_input=document)
    assert status == 0, output
    assert "executor log not published" in output
    assert list(uris(await bench.row(task.task_id))) == ["model"]
