"""Pipelines, versions and uploads, and runs that name a version. Oracle: spec KFP_API 7.2, 6.1 and 6.2;
`test_kfp_client.py` drives the same endpoints with the KFP SDK.
"""

import gzip
import io
import json
import tarfile
import zipfile
from typing import Any

import aiohttp
import pytest
import yaml

from local_stack.api_server.routes import pipelines as routes

from .conftest import SPEC, Api, Wire, external_message
from .servers import PREFIX

PLATFORM: Wire = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}}


def pipeline(name: str = "demo") -> Wire:
    return {**SPEC, "pipelineInfo": {"name": name}}


def as_yaml(*documents: Wire) -> bytes:
    return yaml.safe_dump_all(documents).encode()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


def tarred(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("_", "."))
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


async def upload(
    api: Api,
    content: bytes,
    filename: str = "pipeline.yaml",
    *,
    to: str = "upload",
    status: int = 200,
    **query: str,
) -> Any:
    form = aiohttp.FormData()
    form.add_field("uploadfile", content, filename=filename)
    async with api.client.post(f"{PREFIX}/pipelines/{to}", params=query, data=form) as response:
        assert response.status == status, await response.text()
        return await response.json()


async def test_an_upload_makes_a_pipeline_and_its_first_version(api: Api) -> None:
    made = await upload(
        api, as_yaml(SPEC), name="mine", display_name="Mine", description="d", tags='{"team":"a"}'
    )
    assert made == {
        "pipeline_id": made["pipeline_id"],
        "name": "mine",
        "display_name": "Mine",
        "description": "d",
        "created_at": "2026-01-01T00:00:00Z",
        "tags": {"team": "a"},
    }
    assert await api.get(f"/pipelines/{made['pipeline_id']}") == made
    assert await api.get("/pipelines/names/mine") == made
    assert await api.get("/pipelines") == {"pipelines": [made], "total_size": 1}
    [version] = (await api.get(f"/pipelines/{made['pipeline_id']}/versions"))["pipeline_versions"]
    assert version == {
        "pipeline_id": made["pipeline_id"],
        "pipeline_version_id": version["pipeline_version_id"],
        "name": "mine",
        "display_name": "Mine",
        "description": "d",
        "created_at": "2026-01-01T00:00:00Z",
        "pipeline_spec": SPEC,
        "tags": {"team": "a"},
    }
    path = f"/pipelines/{made['pipeline_id']}/versions/{version['pipeline_version_id']}"
    assert await api.get(path) == version


@pytest.mark.parametrize(
    ("filename", "content"),
    [
        ("p.yaml", as_yaml(SPEC)),
        ("p.yml", as_yaml(SPEC)),
        ("p.json", json.dumps(SPEC).encode()),
        ("p.zip", zipped(readme_txt=b"x", pipeline_yaml=as_yaml(SPEC))),
        ("without-suffix", zipped(first_yaml=as_yaml(SPEC))),
        ("p.tar.gz", tarred(other_yaml=b"a: b", pipeline_yaml=as_yaml(SPEC))),
        ("p", tarred(first_yaml=as_yaml(SPEC))),
    ],
    ids=["yaml", "yml", "json", "zip", "zip by signature", "tar", "tar by signature"],
)
async def test_every_kind_of_file_is_read(api: Api, filename: str, content: bytes) -> None:
    made = await upload(api, content, filename)
    # The file's name, where the query has none.
    assert made["name"] == filename
    [version] = (await api.get(f"/pipelines/{made['pipeline_id']}/versions"))["pipeline_versions"]
    assert version["pipeline_spec"] == SPEC


async def test_a_platform_spec_makes_the_two_level_form(api: Api) -> None:
    made = await upload(api, as_yaml(SPEC, PLATFORM))
    [version] = (await api.get(f"/pipelines/{made['pipeline_id']}/versions"))["pipeline_versions"]
    assert version["pipeline_spec"] == {"pipeline_spec": SPEC, "platform_spec": PLATFORM}


@pytest.mark.parametrize(
    ("filename", "content", "query", "message"),
    [
        ("p.yaml", b"a: b", {}, "Failed to read a pipeline spec file: not a KFP v2 pipeline"),
        ("p.yaml", b"", {}, "the file is empty"),
        ("p.txt", as_yaml(SPEC), {}, "Unexpected pipeline file format. Support .zip, .tar.gz, .json or YAML"),
        ("p.zip", zipped(notes_txt=b"x"), {}, "notes.txt is not YAML"),
        ("p.tar.gz", gzip.compress(b"no tar at all"), {}, "not a readable archive"),
        ("p.yaml", as_yaml({**SPEC, "schemaVersion": "1"}), {}, "schemaVersion must be 2.1.0"),
        ("p.yaml", as_yaml(SPEC), {"tags": "[1]"}, "Failed to parse tags query parameter"),
        ("p.yaml", as_yaml(SPEC), {"name": "n" * 129}, "name must not be longer than 128 characters"),
        ("", zipped(pipeline_yaml=as_yaml(SPEC)), {}, "it has no name"),
    ],
    ids=[
        "no pipeline",
        "empty",
        "unknown suffix",
        "zip without YAML",
        "no tar",
        "schema version",
        "tags",
        "long name",
        "no name",
    ],
)
async def test_a_bad_upload_is_refused(
    api: Api, filename: str, content: bytes, query: dict[str, str], message: str
) -> None:
    error = await upload(api, content, filename, status=400, **query)
    assert message in error["error_message"]
    assert set(error) == {"error_message", "error_details"}
    assert await api.get("/pipelines") == {}


async def test_an_upload_without_a_file_is_refused(api: Api) -> None:
    for body in (b"", b"--x--"):
        error = await api.call("POST", "/pipelines/upload", raw=body, status=400)
        assert "no multipart field uploadfile" in error["error_message"]


async def test_a_file_above_the_limit_is_413(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MAX_BYTES", 1000)
    error = await upload(api, as_yaml(SPEC) + b"#" * 1000, status=413)
    assert error["error_message"].startswith("File size too large")


async def test_names_are_unique(api: Api) -> None:
    made = await upload(api, as_yaml(SPEC), name="a")
    assert "already exists" in (await upload(api, as_yaml(SPEC), name="a", status=409))["error_message"]
    query = {"to": "upload_version", "pipelineid": made["pipeline_id"]}
    version = await upload(api, as_yaml(SPEC), name="v2", **query)
    assert version["pipeline_id"] == made["pipeline_id"]
    await upload(api, as_yaml(SPEC), name="v2", status=409, **query)
    await upload(api, as_yaml(SPEC), name="v", to="upload_version", pipelineid="nobody", status=400)
    await upload(api, as_yaml(SPEC), name="v", to="upload_version", status=400)


async def test_a_pipeline_with_versions_is_deleted_only_in_cascade(api: Api) -> None:
    pipeline_id = (await upload(api, as_yaml(SPEC)))["pipeline_id"]
    error = await api.call("DELETE", f"/pipelines/{pipeline_id}", status=400)
    assert "Set cascade=true to delete all versions" in external_message(error)
    await api.call("DELETE", f"/pipelines/{pipeline_id}", params={"cascade": "true"})
    await api.get(f"/pipelines/{pipeline_id}", status=404)
    assert await api.get(f"/pipelines/{pipeline_id}/versions") == {}
    other = (await upload(api, as_yaml(SPEC)))["pipeline_id"]
    [version] = (await api.get(f"/pipelines/{other}/versions"))["pipeline_versions"]
    path = f"/pipelines/{other}/versions/{version['pipeline_version_id']}"
    assert await api.call("DELETE", path) == {}
    await api.call("DELETE", path, status=404)
    await api.call("DELETE", f"/pipelines/{other}")


async def test_what_does_not_exist_is_404(api: Api) -> None:
    made = (await upload(api, as_yaml(SPEC), name="a"))["pipeline_id"]
    other = (await upload(api, as_yaml(SPEC), name="b"))["pipeline_id"]
    [version] = (await api.get(f"/pipelines/{made}/versions"))["pipeline_versions"]
    for path in (
        "/pipelines/nobody",
        "/pipelines/names/nobody",
        "/pipelines/nobody/versions/v",
        f"/pipelines/{made}/versions/v",
        f"/pipelines/{other}/versions/{version['pipeline_version_id']}",
    ):
        assert (await api.get(path, status=404))["code"] == 5


async def test_lists_are_filtered_sorted_and_paged(api: Api) -> None:
    for name in ("b", "a", "c"):
        await upload(api, as_yaml(SPEC), name=name)
    page = await api.get("/pipelines", sort_by="name desc", page_size="2")
    assert [found["name"] for found in page["pipelines"]] == ["c", "b"]
    rest = await api.get("/pipelines", page_token=page["next_page_token"])
    assert [found["name"] for found in rest["pipelines"]] == ["a"]
    wanted = json.dumps({"predicates": [{"key": "display_name", "operation": 1, "stringValue": "b"}]})
    assert [found["name"] for found in (await api.get("/pipelines", filter=wanted))["pipelines"]] == ["b"]


async def test_a_run_may_name_a_version_or_the_latest_of_a_pipeline(api: Api) -> None:
    made = (await upload(api, as_yaml(pipeline("one")), name="p"))["pipeline_id"]
    api.clock.now += 1
    newer = await upload(api, as_yaml(pipeline("two")), to="upload_version", name="v2", pipelineid=made)
    reference = {"pipeline_id": made, "pipeline_version_id": newer["pipeline_version_id"]}
    for sent in (reference, {"pipeline_id": made}, {"pipeline_version_id": newer["pipeline_version_id"]}):
        run = await api.post("/runs", {"display_name": "r", "pipeline_version_reference": sent})
        assert run["pipeline_version_reference"] == reference
        assert "pipeline_spec" not in run
        full = await api.get(f"/runs/{run['run_id']}", view="FULL")
        assert full["pipeline_spec"]["pipelineInfo"]["name"] == "two"
    # A run keeps what it was created with.
    await api.call("DELETE", f"/pipelines/{made}", params={"cascade": "true"})
    assert (await api.get(f"/runs/{run['run_id']}", view="FULL"))["pipeline_spec"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({}, "Pipeline  has no version"),
        ({"pipeline_id": "nobody"}, "Pipeline nobody has no version"),
        ({"pipeline_version_id": "nobody"}, "PipelineVersion nobody not found"),
        ({"pipeline_id": "other", "pipeline_version_id": "VERSION"}, "belongs to pipeline"),
    ],
)
async def test_a_bad_reference_is_refused(api: Api, reference: Wire, message: str) -> None:
    made = (await upload(api, as_yaml(SPEC)))["pipeline_id"]
    [version] = (await api.get(f"/pipelines/{made}/versions"))["pipeline_versions"]
    sent = {
        key: version["pipeline_version_id"] if value == "VERSION" else value
        for key, value in reference.items()
    }
    body = {"display_name": "r", "pipeline_version_reference": sent}
    assert message in external_message(await api.post("/runs", body, status=400))
    both = {**body, "pipeline_spec": SPEC}
    assert "not both" in external_message(await api.post("/runs", both, status=400))
