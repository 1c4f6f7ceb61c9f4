"""Benchmarks: `make bench`, or `python benchmarks/run.py service example` for some of them.

Each module beside this one that has a function `measure(directory) -> Rows` is a benchmark of that name.
Numbers depend on the machine: compare ratios within one run, and write them to docs/benchmarks.md.
"""

import argparse
import importlib
import tempfile
from pathlib import Path

from measure import Rows

HERE = Path(__file__).parent
BENCHMARKS = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in {"run", "measure"})


def main() -> None:
    """Run the benchmarks named, or all, and print a table."""
    parser = argparse.ArgumentParser(description="Measure, and print a table.")
    parser.add_argument(
        "name", nargs="*", help=f"which benchmarks to run: {', '.join(BENCHMARKS)} (default: all)"
    )
    names = parser.parse_args().name or BENCHMARKS
    if unknown := sorted(set(names) - set(BENCHMARKS)):
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    rows: Rows = []
    for name in names:
        with tempfile.TemporaryDirectory() as directory:
            rows += importlib.import_module(name).measure(Path(directory))
    width = max(len(name) for name, _ in rows)
    print(f"| {'what':<{width}} | measured |\n|{'-' * (width + 2)}|---|")
    for name, value in rows:
        print(f"| {name:<{width}} | {value} |")


if __name__ == "__main__":
    main()
