"""Long texts for people, cut where no half secret is left.

Texts of servers and users may quote credentials, and whoever shows a text filters them out by their look.
Half a credential looks like nothing, so a cut before the filter takes a whole word.
"""

import re
from typing import Final

_LAST_WORD: Final = re.compile(r"""[^\s"']*\Z""")
"""No credential that is known by its look has a space or a quotation mark in it; what is in quotation marks
and begins with a name is known by the first of them."""


def beginning(text: str, limit: int) -> str:
    """At most ``limit`` characters of a text, up to a space or quotation mark; ``…`` for what is missing."""
    return text if len(text) <= limit else _LAST_WORD.sub("", text[: limit - 1]) + "…"
