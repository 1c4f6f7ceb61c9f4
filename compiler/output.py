"""Where commands write: whole files or nothing, standard output, pipes and devices as they are."""

import os
import shutil
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
    name = STANDARD_OUTPUT
    try:
        for name, text in contents.items():
            if name == STANDARD_OUTPUT:
                sys.stdout.write(text)
                sys.stdout.flush()
                continue
            target = Path(name)
            if target.exists() and not target.is_file():
                target.write_text(text, encoding="utf-8")
                continue
            final = target.resolve()
            draft = final.with_name(f".{final.name}.{os.getpid()}.tmp")
            drafts[final] = (name, draft)
            draft.write_text(text, encoding="utf-8")
            if final.exists():
                shutil.copymode(final, draft)
        for final, (name, draft) in drafts.items():  # noqa: B007 (the handler names the file)
            draft.replace(final)
    except OSError as error:
        # What the user calls it: neither the name of a draft, nor none.
        error.filename = "standard output" if name == STANDARD_OUTPUT else name
        raise
    finally:
        for _, draft in drafts.values():
            draft.unlink(missing_ok=True)
