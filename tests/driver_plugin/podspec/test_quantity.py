"""Quantities: vectors of spec PODSPEC 5.3; ``kubectl`` is the oracle where it is installed."""

import re
import shutil
import subprocess
from decimal import Decimal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from driver_plugin.podspec.errors import QuantityError
from driver_plugin.podspec.quantity import canonical_quantity, quantity_value

VECTORS = {
    "0.5G": "500M",
    "1000m": "1",
    "1024Mi": "1Gi",
    "0.65G": "650M",
    "0.5": "500m",
    "0.1Gi": "107374182400m",
    "1.5G": "1500M",
    "1.0": "1",
    "1.5Gi": "1536Mi",
    "0.5Gi": "512Mi",
    "1000000": "1M",
    "1000000Ki": "1000000Ki",
    "1.5e3": "1500",
    "1e-05": "10e-6",
    "0.001Ki": "1024m",
    "16Ei": "9223372036854775807",
    "0.0000000001": "1n",
    "0Gi": "0",
}
MORE = {
    "5.": "5",
    ".5": "500m",
    "+1": "1",
    "-1.5": "-1500m",
    "1E": "1E",
    "1E3": "1e3",
    "-2Ki": "-2Ki",
    "01": "1",
}

SUFFIX = st.sampled_from(["", *"numkMGTPE", "Ki", "Mi", "Gi", "Ti", "e-3", "e3", "E2", "e-7"])
NUMBER = st.from_regex(r"[+-]?[0-9]{1,6}(\.[0-9]{0,4})?", fullmatch=True)


@pytest.mark.parametrize(("text", "canonical"), [*VECTORS.items(), *MORE.items()])
def test_canonical_form_when_given(text: str, canonical: str) -> None:
    assert canonical_quantity(text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "K",
        "1K",
        "1 Gi",
        "",
        "1e2Mi",
        "1g",
        "1KB",
        "1e",
        ".",
        "+",
        "1\n",
        " 1",
        "NaN",
        "1_000",
        "٣",
        "1e999999",
        "--1",
    ],
)
def test_text_that_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(QuantityError):
        canonical_quantity(text)


@given(number=NUMBER, suffix=SUFFIX)
def test_canonical_form_keeps_the_value_and_is_a_fixed_point(number: str, suffix: str) -> None:
    canonical = canonical_quantity(number + suffix)
    assert quantity_value(canonical) == quantity_value(number + suffix)
    assert canonical_quantity(canonical) == canonical


@given(number=NUMBER, suffix=st.sampled_from(["", *"numkMGTPE"]))
def test_value_is_the_decimal_times_its_suffix_rounded_away_from_zero(number: str, suffix: str) -> None:
    power = dict(zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)).get(suffix, 0)
    exact = Decimal(number).scaleb(power)
    difference = abs(quantity_value(number + suffix)) - abs(exact)
    assert 0 <= difference < Decimal("1e-9")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_canonical_form_agrees_with_kubectl() -> None:
    # Kubernetes prints 1000E as 1, a known fault of its encoder; it keeps the text of 01, +1 and 5.
    texts = [*VECTORS, *MORE, "0.25", "750m", "3Ti", "2500k", "0.9Mi", "100n", "7e5", "123456789", "12.5e-3"]
    hard = ",".join(f"example.com/q{index}={text}" for index, text in enumerate(texts))
    done = subprocess.run(
        ["kubectl", "create", "quota", "q", f"--hard={hard}", "--dry-run=client", "-o", "yaml"],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    printed = yaml.safe_load(done.stdout)["spec"]["hard"]
    theirs = {text: str(printed[f"example.com/q{index}"]) for index, text in enumerate(texts)}
    assert {text: quantity_value(text) for text in texts} == {
        text: quantity_value(quantity) for text, quantity in theirs.items()
    }
    rewritten = {text: quantity for text, quantity in theirs.items() if quantity != text}
    assert len(rewritten) > 15
    assert {text: canonical_quantity(text) for text in rewritten} == rewritten


def test_messages_quote_the_text() -> None:
    with pytest.raises(QuantityError, match=re.escape('"1KB"')):
        canonical_quantity("1KB")
