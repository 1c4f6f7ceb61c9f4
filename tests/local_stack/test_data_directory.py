"""The data directory in words: which option means it, and what a file system's refusal comes down to.

Oracle: the shell's quoting, the kernel's texts for ``errno``.
"""

import errno
import os
import shlex
from pathlib import Path

import pytest

from local_stack.data_directory import DataDirectory, DataDirectoryError, refusal

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("path", [".kfp-driver", "data", "my data", "/somewhere/else", "../beside"])
def test_the_option_in_a_hint_means_the_directory(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = DataDirectory.at(Path(path))
    words = shlex.split(data.option)
    assert words == [] if path == ".kfp-driver" else words[0] == "--data-dir"
    assert DataDirectory.at(Path(words[1]) if words else Path(".kfp-driver")).root.resolve() == (
        data.root.resolve()
    )


def test_a_file_in_its_place_is_called_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataDirectoryError, match="file: it is a file"),
        DataDirectory(tmp_path / "file").locked(),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FULL, "No space left on device"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), "/x"), "Read-only file system: /x"),
        (ExceptionGroup("", [ExceptionGroup("", [FULL]), FULL]), "No space left on device"),
        (ExceptionGroup("", [FULL, KeyError("a defect")]), ""),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), ""),
        (KeyError("a defect"), ""),
    ],
)
def test_what_the_file_system_refused_is_told_from_a_defect(error: BaseException, told: str) -> None:
    assert refusal(error) == told
