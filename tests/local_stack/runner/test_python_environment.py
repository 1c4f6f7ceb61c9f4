"""The Python of lightweight components. Oracle: commands that the KFP SDK writes, and the interpreter."""

import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from kfp import dsl

from local_stack.runner.python_environment import PipInstall, PythonEnvironment, pip_wrapper


def _command(*packages: str, index: str = "", use_venv: bool = False) -> list[str]:
    """Command of a component as the SDK compiles it."""

    def component() -> None:
        pass

    made = dsl.component(
        component,
        packages_to_install=list(packages),
        pip_index_urls=[index] if index else None,
        use_venv=use_venv,
        base_image="python:3.11",
    )
    command: list[str] = list(made.component_spec.implementation.container.command)
    return command


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> PythonEnvironment:
    made = PythonEnvironment(tmp_path_factory.mktemp("data") / "python")
    made.ensure()
    return made


def test_the_interpreter_imports_the_sdk_and_pip_from_ours_but_installs_into_its_own(
    environment: PythonEnvironment,
) -> None:
    code = (
        "import importlib.metadata, pip, sysconfig;"
        "print(importlib.metadata.version('kfp'), sysconfig.get_path('purelib'))"
    )
    done = subprocess.run(
        [environment.python, "-c", code], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin"}
    )
    kfp_version, packages = done.stdout.split()
    assert kfp_version == version("kfp")
    assert Path(packages).is_relative_to(environment.directory)


def test_an_environment_that_exists_is_kept(environment: PythonEnvironment) -> None:
    marker = environment.directory / "lib" / "kept"
    marker.touch()
    environment.ensure()
    assert marker.exists()


def test_another_interpreter_makes_it_anew(tmp_path: Path) -> None:
    environment = PythonEnvironment(tmp_path)
    environment.ensure()
    (tmp_path / "interpreter").write_text("another")
    (tmp_path / "lib" / "old").touch()
    environment.ensure()
    assert not (tmp_path / "lib" / "old").exists()


def test_a_wrapper_with_nothing_left_to_install_is_removed(environment: PythonEnvironment) -> None:
    command = _command("pydantic>2", "PyYAML", 'no-such-package; python_version < "3"')
    assert environment.prepare_command(command, PipInstall.AUTO) == command[3:]


def test_the_sdk_counts_as_installed_in_any_version(environment: PythonEnvironment) -> None:
    assert environment.satisfies("kfp==1.0.0")
    assert not environment.satisfies("pydantic==1.0.0")


@pytest.mark.parametrize(
    "requirement", ["no-such-package", "pydantic @ https://example.invalid/x.whl", "./local", "pydantic<1"]
)
def test_what_is_not_installed_is_not_satisfied(environment: PythonEnvironment, requirement: str) -> None:
    assert not environment.satisfies(requirement)


def test_missing_packages_are_installed_under_a_lock_with_the_components_options(
    environment: PythonEnvironment,
) -> None:
    command = _command("pydantic>2", "no-such-package==1", index="https://example.invalid/simple")
    prepared = environment.prepare_command(command, PipInstall.AUTO)
    assert prepared[:2] == ["sh", "-c"]
    assert prepared[3:] == command[3:]
    assert prepared[2] == (
        f"{environment.scripts / 'kfp-pip-install'} --quiet --no-warn-script-location "
        "--index-url https://example.invalid/simple --trusted-host https://example.invalid/simple "
        'no-such-package==1 && "$0" "$@"'
    )


def test_always_installs_everything_and_never_nothing(environment: PythonEnvironment) -> None:
    command = _command("pydantic>2")
    assert environment.prepare_command(command, PipInstall.NEVER) == command[3:]
    script = environment.prepare_command(command, PipInstall.ALWAYS)[2]
    assert "'pydantic>2'" in script
    assert "kfp==" in script


def test_a_script_that_makes_its_own_environment_is_left_alone_when_packages_are_missing(
    environment: PythonEnvironment,
) -> None:
    command = _command("no-such-package", use_venv=True)
    assert environment.prepare_command(command, PipInstall.AUTO) == command


@pytest.mark.parametrize(
    "command", [["python3", "-m", "x"], ["sh", "-c", "echo hi", "a"], ["sh", "-c", 'x && "$0" "$@"', "a"], []]
)
def test_other_commands_are_not_touched(environment: PythonEnvironment, command: list[str]) -> None:
    assert pip_wrapper(command) is None
    assert environment.prepare_command(command, PipInstall.AUTO) == command


def test_an_installation_goes_into_the_environment_and_not_into_ours(
    environment: PythonEnvironment, tmp_path: Path
) -> None:
    wheel = tmp_path / "tiny_package-1-py3-none-any.whl"
    information = "tiny_package-1.dist-info"
    metadata = "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_package.py", "VALUE = 1")
        archive.writestr(f"{information}/METADATA", metadata)
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    script = f"{environment.scripts / 'kfp-pip-install'} --quiet --no-index {wheel}"
    subprocess.run(["sh", "-c", script], check=True, capture_output=True)
    assert environment.satisfies("tiny-package==1")
    assert subprocess.run([environment.python, "-c", "import tiny_package"], check=False).returncode == 0
    ours = subprocess.run([sys.executable, "-c", "import tiny_package"], check=False, capture_output=True)
    assert ours.returncode != 0
