"""The launcher's command line. Oracle: Go's ``flag`` syntax and the texts of spec LAUNCHER A2 and G."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import flags
from launcher.__main__ import main
from launcher.errors import FlagError, HelpRequestedError, LauncherError

CONTAINER_FLAGS = {
    "executor_type": "container",
    "pipeline_name": "demo",
    "run_id": "r1",
    "namespace": "ns",
    "pod_name": "pod",
    "pod_uid": "uid",
    "log_level": "1",
    "publish_logs": "true",
    "ca_cert_path": "",
    "task_id": "t1",
    "parent_task_id": "p1",
    "executor_input": "{}",
    "ml_pipeline_server_address": "localhost",
    "ml_pipeline_server_port": "8888",
    "fingerprint": "",
    "task_name": "train",
}


def command_line(**changes: str | None) -> list[str]:
    given = {**CONTAINER_FLAGS, **changes}
    arguments = ["--cache_disabled=false", "--ml_pipeline_tls_enabled=false"]
    for name, value in given.items():
        if value is not None:
            arguments += [f"--{name}", value]
    return [*arguments, "--", "python", "-c", "pass"]


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--cache_disabled=false"], "cache_disabled", "false"),
        (["-cache_disabled"], "cache_disabled", "true"),
        (["--ca_cert_path", ""], "ca_cert_path", ""),
        (["--iteration_index", "-1"], "iteration_index", "-1"),
        (["--iteration_index=3"], "iteration_index", "3"),
        (["--task_name="], "task_name", ""),
        (["--fingerprint", "--odd"], "fingerprint", "--odd"),
        (["-v", "4", "--run_id", "r"], "run_id", "r"),
    ],
)
def test_value_is_taken_as_go_takes_it(arguments: list[str], name: str, value: str) -> None:
    line = flags.parse(arguments)
    assert line.values[name] == value
    assert name in line.given


def test_boolean_never_consumes_the_next_token() -> None:
    line = flags.parse(["--cache_disabled", "false", "--run_id", "r"])
    assert line.is_true("cache_disabled")
    assert line.command == ("false", "--run_id", "r")


def test_everything_behind_the_double_dash_belongs_to_the_user() -> None:
    line = flags.parse(["--run_id", "r", "--", "echo", "--run_id", "other", "--"])
    assert line.values["run_id"] == "r"
    assert line.command == ("echo", "--run_id", "other", "--")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nonsense", "1"], "flag provided but not defined: -nonsense"),
        (["--cache_disabled=perhaps"], 'invalid boolean value "perhaps"'),
        (["--run_id"], "flag needs an argument: -run_id"),
        (["--iteration_index", "one"], 'invalid value "one" for flag -iteration_index: parse error'),
        (["--iteration_index=9223372036854775808"], "for flag -iteration_index: value out of range"),
        (["--iteration_index=x", "--iteration_index=1"], 'invalid value "x"'),
        (["---run_id", "r"], "bad flag syntax: ---run_id"),
        (["--=r"], "bad flag syntax: --=r"),
    ],
)
def test_wrong_flag_ends_with_status_2(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FlagError, match=text):
        flags.parse(arguments)
    assert main(arguments) == 2
    assert text in capsys.readouterr().err


def test_missing_pod_name_ends_with_status_1_and_names_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command_line(pod_name=None)) == 1
    assert "--pod_name is required for container executor but was not provided" in capsys.readouterr().err


REQUIRED = [
    flag.name for flag in flags.FLAGS if "container" in flag.required_for and flag.name != "executor_type"
]


@pytest.mark.parametrize("name", REQUIRED)
def test_every_required_flag_is_checked(name: str) -> None:
    arguments = [one for one in command_line(**{name: None}) if not one.startswith(f"--{name}=")]
    with pytest.raises(LauncherError, match=f"--{name} is required for container executor"):
        flags.check_required(flags.parse(arguments))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"namespace": ""}, "argument --namespace must be specified"),
        ({"parent_task_id": ""}, "parent task id is nil or empty"),
        ({"executor_type": "resolver"}, 'unsupported executor type "resolver"'),
    ],
)
def test_empty_values_that_cannot_work_are_refused(changes: dict[str, str], text: str) -> None:
    with pytest.raises(LauncherError, match=text):
        flags.check_required(flags.parse(command_line(**changes)))


def test_container_without_command_is_refused() -> None:
    with pytest.raises(LauncherError, match="command and arguments are empty"):
        flags.check_required(flags.parse(command_line()[:-3]))


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["--run_id", "r", "-help", "--nonsense"]])
def test_help_lists_every_flag_wherever_it_is_asked_for(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert all(f"--{flag.name}" in shown for flag in flags.FLAGS)


def test_copy_needs_no_other_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, target = tmp_path / "program", tmp_path / "launch"
    program.write_text("the launcher", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [str(program), "--copy", str(target)])
    assert main() == 0
    assert target.read_text(encoding="utf-8") == "the launcher"
    assert target.stat().st_mode & 0o777 == 0o555


def test_help_of_the_users_command_is_the_users() -> None:
    assert flags.parse(["--", "echo", "--help"]).command == ("echo", "--help")


@pytest.mark.parametrize(
    ("text", "index"),
    [("7", 7), ("+7", 7), ("0x1F", 31), ("010", 8), ("0b1_1", 3), ("-1", None), ("-0x1", None), ("0", 0)],
)
def test_index_is_an_integer_of_go(text: str, index: int | None) -> None:
    assert flags.parse([f"--iteration_index={text}"]).iteration_index == index


TEXTS = [flag.name for flag in flags.FLAGS if not flag.boolean and flag.name != "iteration_index"]
any_text = st.text().filter(lambda text: not text.startswith("@/tmp/argo_arg_"))


@given(
    values=st.dictionaries(st.sampled_from(TEXTS), any_text),
    joined=st.booleans(),
    command=st.lists(any_text),
)
def test_any_value_and_any_command_arrive_as_they_are(
    values: dict[str, str], joined: bool, command: list[str]
) -> None:
    arguments = []
    for name, value in values.items():
        arguments += [f"--{name}={value}"] if joined else [f"--{name}", value]
    line = flags.parse([*arguments, "--", *command])
    assert {name: line.values[name] for name in values} == values
    assert line.given == values.keys()
    assert list(line.command) == command


@given(st.lists(st.text(alphabet="-=hx1t ", max_size=6) | st.sampled_from(["--run_id", "-v", "--copy="])))
def test_any_command_line_is_parsed_or_refused(arguments: list[str]) -> None:
    try:
        command = flags.parse(arguments).command
    except (FlagError, HelpRequestedError):
        return
    assert list(command) == arguments[len(arguments) - len(command) :]


def test_moved_argument_may_hold_any_bytes() -> None:
    moved = Path("/tmp/argo_arg_987654322.txt")
    moved.write_bytes(b"\xff\x00text")
    try:
        (argument,) = flags.parse(["--", f"@{moved}"]).command
    finally:
        moved.unlink()
    assert os.fsencode(argument) == b"\xff\x00text"


def test_argument_that_argo_moved_to_a_file_is_read_back() -> None:
    moved = Path("/tmp/argo_arg_987654321.txt")
    moved.write_text("x" * 140_000, encoding="utf-8")
    try:
        line = flags.parse(["--executor_input", f"@{moved}", "--", "echo", f"@{moved}", "@/etc/hostname"])
    finally:
        moved.unlink()
    assert len(line.values["executor_input"]) == 140_000
    assert line.command[1] == "x" * 140_000
    assert line.command[2] == "@/etc/hostname"
