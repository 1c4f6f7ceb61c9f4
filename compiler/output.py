"""Where commands write: whole files or nothing, standard output, pipes and devices as they are."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

STANDARD_OUTPUT: Final = "-"


def write_files(contents: Mapping[str, str]) -> None:
    """Write all texts, by file name, or leave every regular file as it was; ``-`` is standard output.

    Raises:
        OSError: one of them cannot be written; ``filename`` says which.
    """
    drafts: dict[Path, tuple[str, Path]] = {}
    try:
        for name, text in contents.items():
            if name == STANDARD_OUTPUT:
                sys.stdout.write(text)
                continue
            target = Path(name)
            if target.exists() and not target.is_file():
                target.write_text(text, encoding="utf-8")
                continue
            final = target.resolve()
            draft = final.with_name(f".{final.name}.{os.getpid()}.tmp")
            drafts[final] = (name, draft)
            draft.write_text(text, encoding="utf-8")
        for final, (_, draft) in drafts.items():
            draft.replace(final)
    except OSError as error:
        # A user gave the name of the file, not of its draft.
        named = next((name for name, draft in drafts.values() if str(draft) == error.filename), None)
        error.filename = named or error.filename
        raise
    finally:
        for _, draft in drafts.values():
            draft.unlink(missing_ok=True)
