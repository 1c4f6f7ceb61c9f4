"""Shorter answers for callers that say so in ``Prefer`` (RFC 7240); KFP's own server does not look.

``return=minimal`` leaves out of a task row what grows with a run. ``view=child``, for one row, shows it as a
child needs it: ``view=child; iteration=7; inputs="a b"`` has no other inputs than ``a`` and ``b``, and of a
loop's items those of iteration 7. Names of inputs are percent-encoded.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from aiohttp import web

from local_stack.api_server.routes.answering import CONFIG
from local_stack.api_server.storage.child_view import ChildView

MINIMAL: Final = "return=minimal"
_CHILD: Final = re.compile(r"view=child(?:\s*;\s*iteration=(\d{1,9}))?(?:\s*;\s*inputs=\"([^\"]*)\")?")


def prefers_minimal(request: web.Request) -> bool:
    """Whether the caller can do without what grows with a run."""
    return MINIMAL in _preferences(request)


def child_view(request: web.Request) -> ChildView | None:
    """Of which child the caller wants the view, if of one."""
    for preference in _preferences(request):
        if match := _CHILD.fullmatch(preference):
            return ChildView(
                iteration_index=None if match[1] is None else int(match[1]),
                inputs=None if match[2] is None else frozenset(map(unquote, match[2].split())),
            )
    return None


def applied(answer: web.Response, preference: str) -> web.Response:
    """The answer, which says that it heeds the preference."""
    answer.headers["Preference-Applied"] = preference
    return answer


def _preferences(request: web.Request) -> Iterator[str]:
    if not request.app[CONFIG].strict_upstream:
        for preference in ",".join(request.headers.getall("Prefer", ())).split(","):
            yield preference.strip()
