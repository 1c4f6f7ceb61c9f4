"""When token files are read, and which token a call gets.

Oracle: spec DEPLOY 6.2 and 6.4 (files older than 60 s are read again, an absent file means no header).
"""

import hashlib
import logging
from pathlib import Path

import pytest

from kfp_api.credentials import NoCredentials, TokenFileCredentials, TokenMode


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    run, base = tmp_path / "token", tmp_path / "base-token"
    run.write_text("run-1\n")
    base.write_text("base-1")
    return run, base


@pytest.mark.parametrize(
    ("mode", "base_audience", "token"),
    [("run", False, "run-1"), ("run", True, "base-1"), ("base", False, "base-1"), ("base", True, "base-1")],
)
async def test_token_follows_mode_and_demand(
    files: tuple[Path, Path], mode: str, base_audience: bool, token: str
) -> None:
    credentials = TokenFileCredentials(*files, mode=TokenMode(mode))
    headers = await credentials.headers(run_id="r1", base_audience=base_audience)
    assert headers == {"Authorization": f"Bearer {token}"}


async def test_run_token_stands_in_when_there_is_no_base_token(files: tuple[Path, Path]) -> None:
    for base in (None, files[0].with_name("absent")):
        credentials = TokenFileCredentials(files[0], base)
        headers = await credentials.headers(run_id=None, base_audience=True)
        assert headers == {"Authorization": "Bearer run-1"}


async def test_file_is_read_again_only_when_it_is_older_than_a_minute(files: tuple[Path, Path]) -> None:
    clock = Clock()
    credentials = TokenFileCredentials(*files, clock=clock)
    seen = []
    for clock.now, text in ((0.0, "run-1"), (60.0, "run-2"), (60.5, "run-2")):
        files[0].write_text(text)
        headers = await credentials.headers(run_id="r1", base_audience=False)
        seen.append(headers["Authorization"])
    assert seen == ["Bearer run-1", "Bearer run-1", "Bearer run-2"]


async def test_refresh_says_whether_a_token_changed(files: tuple[Path, Path]) -> None:
    credentials = TokenFileCredentials(*files)
    await credentials.headers(run_id="r1", base_audience=True)
    await credentials.headers(run_id="r1", base_audience=False)
    assert not await credentials.refresh()
    files[0].write_text("run-2")
    assert await credentials.refresh()
    headers = await credentials.headers(run_id="r1", base_audience=False)
    assert headers == {"Authorization": "Bearer run-2"}


async def test_absent_file_means_no_header_and_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    credentials = TokenFileCredentials(tmp_path / "absent", clock=clock)
    with caplog.at_level(logging.WARNING):
        for clock.now in (0.0, 100.0, 200.0):
            assert await credentials.headers(run_id="r1", base_audience=False) == {}
    assert len(caplog.records) == 1


async def test_log_identifies_a_token_without_revealing_it(
    files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await TokenFileCredentials(*files).headers(run_id="r1", base_audience=False)
    assert "run-1" not in caplog.text
    assert hashlib.sha256(b"run-1").hexdigest()[:8] in caplog.text


async def test_no_credentials_send_nothing() -> None:
    assert await NoCredentials().headers(run_id="r", base_audience=True) == {}
    assert not await NoCredentials().refresh()
