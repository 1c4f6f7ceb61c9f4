"""From what a person types to a run: its id, the beginning of one, its display name, or ``latest``."""

import re
from typing import Final

from kfp_api.client import KfpApiClient
from kfp_api.errors import ApiNotFoundError
from kfp_api.messages import Run

LATEST: Final = "latest"
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_RUNS: Final = 50
_SHORTEST_PREFIX: Final = 4
_SHOWN: Final = 8


class NoSuchRunError(Exception):
    """No run, or more than one, has that name; the text is for the user and lists what there is."""

    exit_code = 2


async def find_run(client: KfpApiClient, text: str, *, namespace: str = "") -> Run:
    """The run that ``text`` names; of several with that display name the newest.

    Raises:
        NoSuchRunError: there is none, or the ids of several begin so.
        KfpApiError: the server does not answer, or refuses.
    """
    if _UUID.fullmatch(text):
        try:
            return await client.get_run(text)
        except ApiNotFoundError:
            raise NoSuchRunError(f"there is no run {text}") from None
    runs = (await client.list_runs(namespace=namespace, sort_by="created_at desc", page_size=_RUNS)).runs
    if not runs:
        raise NoSuchRunError(f"there is no run {text!r}: there are no runs yet")
    for run in runs:
        if text in (run.display_name, LATEST):
            return run
    begun = [run for run in runs if len(text) >= _SHORTEST_PREFIX and run.run_id.startswith(text)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise NoSuchRunError(f"{text!r} means several runs:{_listed(begun)}")
    raise NoSuchRunError(f"there is no run {text!r}; the newest are:{_listed(runs)}")


def _listed(runs: list[Run]) -> str:
    return "".join(f"\n  {run.run_id}  {run.display_name}" for run in runs[:_SHOWN])
