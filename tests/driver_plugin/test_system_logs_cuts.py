"""Texts that are shortened before the filter sees them. Oracle: planted canaries, cut at every place."""

import pytest

from driver_plugin.drivers.facts import shown_value
from driver_plugin.errors import ArgumentError
from driver_plugin.system_logs.redaction import clean
from kfp_api.errors import error_from_answer
from kfp_api.shortening import beginning
from tests.driver_plugin.calls import container_args
from tests.driver_plugin.test_arguments import parse
from tests.driver_plugin.test_system_logs_canaries import LOOK

PIECES = ("cnr", "CNR", "Y25y")


@pytest.mark.parametrize("secret", LOOK.values(), ids=LOOK)
@pytest.mark.parametrize("before", ["word ", 'key "'])
def test_no_half_secret_is_left_wherever_a_text_is_cut(before: str, secret: str) -> None:
    for limit in range(len(before), len(before) + len(secret)):
        text = beginning(before + secret, limit)

        assert len(text) <= limit
        assert not any(piece in clean(text) for piece in PIECES), (limit, text)


def test_a_short_text_stays_and_a_long_one_says_that_it_was_cut() -> None:
    assert beginning("one two", 7) == "one two"
    assert beginning("one two", 6) == "one …"
    assert beginning('{"key":"value"}', 12) == '{"key":"…'


def test_half_a_token_in_an_answer_of_the_api_does_not_pass() -> None:
    for length in range(460, 500):
        answer = {"code": 13, "message": "x" * length + " npm_cnry14abcdefghijklmnopqrstuv"}
        error = error_from_answer(
            operation="GetTask", method="GET", path="/", status=500, document=answer, text=""
        )
        assert "cnry" not in clean(str(error))


def test_half_a_token_in_a_value_or_an_argument_does_not_pass() -> None:
    for length in range(225, 256):
        assert "cnry" not in clean(shown_value("x" * length + " npm_cnry14abcdefghijklmnopqrstuv"))
    for length in range(30, 64):
        with pytest.raises(ArgumentError) as caught:
            parse(container_args(run_id="x" * length + " npm_cnry14abcdefghijklmnopqrstuv"))
        assert "cnry" not in clean(str(caught.value))
