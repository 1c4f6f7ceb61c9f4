"""Quantities: vectors of spec PODSPEC 5.3; where kubectl is installed, its answer to generated quantities."""

import re
import shutil
import subprocess
from decimal import Decimal

import pytest
import yaml
from hypothesis import given, settings
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

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

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


def rewritten_by_kubectl(texts: list[str]) -> dict[str, str]:
    """Kubernetes' own text of each quantity, where it differs from what was given.

    Kubernetes keeps the text of some quantities that are not canonical, such as 01, +1 and 5.; of those only
    the value counts, which is compared here.
    """
    hard = ",".join(f"example.com/q{index}={text}" for index, text in enumerate(texts))
    done = subprocess.run(
        ["kubectl", "create", "quota", "q", f"--hard={hard}", "--dry-run=client", "-o", "yaml"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    printed = yaml.safe_load(done.stdout)["spec"]["hard"]
    theirs = {text: str(printed[f"example.com/q{index}"]) for index, text in enumerate(texts)}
    assert {text: quantity_value(text) for text in texts} == {
        text: quantity_value(quantity) for text, quantity in theirs.items()
    }
    return {text: quantity for text, quantity in theirs.items() if quantity != text}


@needs_kubectl
def test_canonical_form_agrees_with_kubectl() -> None:
    theirs = rewritten_by_kubectl([*VECTORS, *MORE, "750m", "2500k", "0.9Mi", "7e5", "123456789", "12.5e-3"])
    assert len(theirs) > 15
    assert {text: canonical_quantity(text) for text in theirs} == theirs


# Kubernetes prints 1000E as 1, a fault of its encoder, so exa stays small here.
GENERATED = st.builds(
    str.__add__,
    st.from_regex(r"[+-]?([0-9]{1,12}(\.[0-9]{0,10})?|\.[0-9]{1,10})", fullmatch=True),
    st.sampled_from(
        ["", *"numkMGTP", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e-7", "e-3", "e0", "e3", "E2", "E+12"]
    ),
) | st.builds(str.__add__, st.from_regex(r"[0-9]{1,3}(\.[0-9]{0,10})?", fullmatch=True), st.just("E"))


@needs_kubectl
@settings(deadline=None, max_examples=10)
@given(texts=st.lists(GENERATED, min_size=30, max_size=60, unique=True))
def test_canonical_form_agrees_with_kubectl_on_generated_quantities(texts: list[str]) -> None:
    theirs = rewritten_by_kubectl(texts)
    assert {text: canonical_quantity(text) for text in theirs} == theirs


@needs_kubectl
@settings(deadline=None, max_examples=25)
@given(text=st.text(alphabet="01.+-eEnumkKMGTPi _", min_size=1, max_size=5).filter(lambda text: text.strip()))
def test_what_kubectl_refuses_is_refused_and_nothing_else(text: str) -> None:
    done = subprocess.run(
        ["kubectl", "create", "quota", "q", f"--hard=a/a={text}", "--dry-run=client", "-o", "name"],
        check=False,
        capture_output=True,
        timeout=60,
    )
    try:
        canonical_quantity(text)
    except QuantityError:
        # Kubernetes reads these as zero; they are mistakes.
        zero = re.fullmatch(r"[+-]?\.?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?", text)
        assert done.returncode != 0 or zero
    else:
        assert done.returncode == 0


def test_messages_quote_the_text() -> None:
    with pytest.raises(QuantityError, match=re.escape('"1KB"')):
        canonical_quantity("1KB")
