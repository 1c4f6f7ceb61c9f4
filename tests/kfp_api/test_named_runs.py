"""What a person types for a run. Oracle: the help of the commands that take a run."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kfp_api.client import KfpApiClient
from kfp_api.messages import Run
from kfp_api.named_runs import NoSuchRunError, find_run
from tests.embedded_api import embedded_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[KfpApiClient]:
    async with embedded_api(tmp_path) as url, KfpApiClient(url) as client:
        yield client


async def test_a_run_is_named_by_its_id_a_beginning_its_name_or_as_the_latest(api: KfpApiClient) -> None:
    spec = {"pipelineInfo": {"name": "p"}, "root": {"dag": {}}, "schemaVersion": "2.1.0"}
    older = await api.create_run(Run(display_name="older", pipeline_spec=spec))
    for text in (older.run_id, older.run_id[:6], "older", "latest"):
        assert (await find_run(api, text)).run_id == older.run_id


async def test_a_name_that_nothing_has_lists_what_there_is(api: KfpApiClient) -> None:
    with pytest.raises(NoSuchRunError, match="there is no run 'nothing': there are no runs yet"):
        await find_run(api, "nothing")
    with pytest.raises(NoSuchRunError, match="there is no run 00000000-0000-0000-0000-000000000000"):
        await find_run(api, "00000000-0000-0000-0000-000000000000")
    spec = {"pipelineInfo": {"name": "p"}, "root": {"dag": {}}, "schemaVersion": "2.1.0"}
    run = await api.create_run(Run(display_name="one", pipeline_spec=spec))
    with pytest.raises(NoSuchRunError, match=f"'nothing'; the newest are:\n  {run.run_id}  one"):
        await find_run(api, "nothing")


async def test_a_beginning_that_several_ids_have_means_none_of_them(
    api: KfpApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = [Run(run_id=f"abcd{number}", display_name=f"run {number}") for number in range(2)]

    page = (await api.list_runs()).model_copy(update={"runs": twins})

    async def listed(*_arguments: object, **_options: object) -> object:
        return page

    monkeypatch.setattr(api, "list_runs", listed)
    with pytest.raises(NoSuchRunError, match="'abcd' means several runs:\n  abcd0  run 0\n  abcd1  run 1"):
        await find_run(api, "abcd")
    assert (await find_run(api, "abcd1")).display_name == "run 1"
