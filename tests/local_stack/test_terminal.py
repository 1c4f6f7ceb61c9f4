"""A screen shows, and never decides: who stops reading, has no room or no letters for it, ends no run.

Oracle: the kernel's answers on a pipe without reader and on ``/dev/full``; Python's codecs.
"""

import io
import os
import sys

import pytest

from local_stack.terminal import Screen


def test_lines_go_on_when_nobody_reads_them_any_more(capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        screen = Screen.of(stream)
        screen.line("seen")
        assert os.read(reader, 100) == b"seen\n"
        os.close(reader)
        screen.line("unseen")
        screen.line("unseen as well")
    assert capsys.readouterr().err == ""


def test_lines_go_on_when_there_is_no_room_for_them_and_that_is_said_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with open("/dev/full", "w", encoding="utf-8") as stream:  # noqa: PTH123 (a device)
        screen = Screen.of(stream)
        screen.line("unseen")
        screen.line("unseen as well")
    assert capsys.readouterr().err == "kfp-driver: output is no longer shown: No space left on device\n"


def test_a_closed_standard_output_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    screen = Screen.of()
    screen.line("unseen")
    assert not screen.live
    screen.stream.close()


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", "?? caf? ?"), ("latin-1", "?? café ?"), ("utf-8", "├─ café ?")],
)
def test_letters_that_an_encoding_lacks_are_shown_as_question_marks(encoding: str, shown: str) -> None:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding=encoding)
    Screen.of(stream).line("├─ café \ud800")
    assert buffer.getvalue().decode(encoding) == f"{shown}\n"
