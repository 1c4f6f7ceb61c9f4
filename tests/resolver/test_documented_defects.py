"""The table of KFP's defects and the tests that keep them out. Oracle: each other."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_every_documented_defect_begins_the_docstring_of_a_test() -> None:
    table = (PROJECT / "docs" / "kfp-driver-defects.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| (D\d+) \|", table, re.MULTILINE)
    begun = [
        number
        for path in (PROJECT / "tests").rglob("test_*.py")
        for numbers in re.findall(r'"""((?:D\d+, )*D\d+): ', path.read_text(encoding="utf-8"))
        for number in numbers.split(", ")
    ]
    assert documented == [f"D{number}" for number in range(1, 30)]
    assert set(documented) <= set(begun)
