"""Runs every fixture pipeline on one local stack; as a command it writes ``docs/conformance.md``.

All runs are submitted at once to ``kfp-driver local up`` and executed side by side, as a team would use it.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compiler.loading import load_pipeline
from kfp_api.client import KfpApiClient
from kfp_api.messages import PipelineTask, RuntimeState, TaskState, TaskType
from tests.conformance import cases
from tests.e2e.up import Up, up

DOCUMENT: Final = Path(__file__).parents[2] / "docs/conformance.md"
_MARK: Final = "<!-- table: make conformance -->"


@dataclass(frozen=True)
class Result:
    """How one pipeline ended."""

    state: RuntimeState
    tasks: list[PipelineTask]

    @property
    def failure(self) -> str:
        """The first failure's message, for people."""
        for task in self.tasks:
            if task.state is TaskState.FAILED and task.status_metadata and task.status_metadata.message:
                return f"{task.scope_path}: {task.status_metadata.message}"
        return ""

    @property
    def executors(self) -> int:
        """Tasks that ran a command."""
        ran = (TaskState.SUCCEEDED, TaskState.FAILED)
        return sum(task.type is TaskType.RUNTIME and task.state in ran for task in self.tasks)


def sweep(directory: Path) -> dict[str, Result]:
    """Run all pipelines that can be run to their ends, in an empty directory."""
    sandbox = directory / "sandbox"
    sandbox.mkdir()
    return {
        **_sweep(directory, cases.runnable(sandbox=False)),
        **_sweep(sandbox, cases.runnable(sandbox=True), "--executor", "sandbox"),
    }


def sweep_sandboxed(directory: Path) -> dict[str, Result]:
    """The same with all executors in sandboxes, which see the directory for the files of parameters."""
    names = [*cases.runnable(sandbox=False), *cases.runnable(sandbox=True)]
    return _sweep(directory, names, "--executor", "sandbox", "--mount", str(directory))


def _sweep(directory: Path, names: Iterable[str], *options: str) -> dict[str, Result]:
    data = directory / "data"
    for secret, entries in cases.SECRETS.items():
        place = data / "secrets" / secret
        place.mkdir(parents=True)
        for key, value in entries.items():
            (place / key).write_text(value, encoding="utf-8")
    with up(data, "--pip-install", "never", "--max-runs", "4", *options) as stack:
        submitted = {name: _submit(stack, name, directory) for name in names}
        for run_id in submitted.values():
            stack.wait_for_end(run_id, seconds=_LONGEST)
        return {name: stack.ask(_Read(run_id)) for name, run_id in submitted.items()}


_LONGEST: Final = 1200.0


def _submit(stack: Up, name: str, directory: Path) -> str:
    file = cases.PIPELINES / f"{name}.yaml"
    return stack.submit(file, **cases.parameters(name, load_pipeline(file).spec, directory))


@dataclass(frozen=True)
class _Read:
    run_id: str

    async def __call__(self, client: KfpApiClient) -> Result:
        run = await client.get_run(self.run_id)
        return Result(run.state, [task async for task in client.iterate_tasks(self.run_id)])


def table(results: Mapping[str, Result]) -> str:
    """The table of all pipelines, as Markdown."""
    lines = ["| pipeline | KFP | here | tasks | remark |", "|---|---|---|---|---|"]
    for name in cases.names():
        if name in cases.CANNOT_RUN:
            lines.append(f"| {name} | | not run | | {cases.CANNOT_RUN[name]} |")
            continue
        result, expected = results[name], cases.expected_state(name)
        known = cases.FAILS.get(name) or cases.IN_SANDBOX.get(name, "")
        remark = known if result.state is expected else result.failure
        here = result.state.value if result.state is expected else f"**{result.state.value}**"
        lines.append(f"| {name} | {expected.value} | {here} | {len(result.tasks)} | {remark} |")
    met = sum(result.state is cases.expected_state(name) for name, result in results.items())
    summary = (
        f"{len(cases.names())} pipelines: {met} end as in KFP, {len(results) - met} do not, "
        f"{len(cases.CANNOT_RUN)} cannot run on a single machine."
    )
    return "\n".join([summary, "", *lines])


def main() -> int:
    """Sweep and write the document's table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    if not cases.PIPELINES.is_dir():
        sys.stderr.write(f"there are no pipelines at {cases.PIPELINES}\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="kfp-conformance-") as directory:
        results = sweep(Path(directory))
    before, mark, _ = DOCUMENT.read_text(encoding="utf-8").partition(_MARK)
    DOCUMENT.write_text(f"{before}{mark}\n\n{table(results)}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
