"""Reading a driver's command line.

Oracle: the rules of Go's ``flag`` package as its documentation states them; spec COMPILER 11.3.
"""

import pytest

from compiler.rewriter.errors import Refusal, RewriteRefused
from compiler.rewriter.flags import mentions, parse_flags


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (["--a", "1", "-b", "2"], {"a": "1", "b": "2"}),
        (["--a=1", "-b="], {"a": "1", "b": ""}),
        (["--a=x=y"], {"a": "x=y"}),
        (["--a", "--b"], {"a": "--b"}),
        (["--a", ""], {"a": ""}),
        (["--a", "1", "--a", "2"], {"a": "2"}),
        (["--cache_disabled"], {"cache_disabled": True}),
        (["--cache_disabled", "--a", "1"], {"cache_disabled": True, "a": "1"}),
        (["--cache_disabled=F", "-ml_pipeline_tls_enabled=t"],
         {"cache_disabled": False, "ml_pipeline_tls_enabled": True}),
        ([], {}),
    ],
    ids=str,
)  # fmt: skip
def test_flags_are_read_as_go_reads_them(arguments: list[str], flags: dict[str, str | bool]) -> None:
    assert parse_flags(arguments, template="T") == flags


@pytest.mark.parametrize("spelling", ["1", "t", "T", "TRUE", "true", "True"])
def test_every_spelling_of_true_counts(spelling: str) -> None:
    assert parse_flags([f"--cache_disabled={spelling}"], template="T") == {"cache_disabled": True}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["value"], Refusal.STRAY_ARGUMENT, 'argument "value" is neither a flag'),
        (["--a", "1", "--", "--b", "2"], Refusal.STRAY_ARGUMENT, 'argument "--"'),
        (["--cache_disabled", "true"], Refusal.STRAY_ARGUMENT, 'argument "true"'),
        (["-"], Refusal.STRAY_ARGUMENT, 'argument "-"'),
        (["---a", "1"], Refusal.STRAY_ARGUMENT, 'argument "---a"'),
        (["--=1"], Refusal.STRAY_ARGUMENT, 'argument "--=1"'),
        (["--a"], Refusal.BAD_VALUE, "flag --a has no value"),
        (["--cache_disabled=yes"], Refusal.BAD_VALUE, '--cache_disabled: expected true or false, got "yes"'),
    ],
    ids=str,
)
def test_what_is_no_flag_is_refused(arguments: list[str], code: Refusal, message: str) -> None:
    with pytest.raises(RewriteRefused) as caught:
        parse_flags(arguments, template="T")
    assert caught.value.code is code
    assert caught.value.message.startswith('template "T": ')
    assert message in caught.value.message


@pytest.mark.parametrize("item", ["--type", "-type", "--type=DAG", "-type=x"])
def test_a_flag_is_recognised_in_every_spelling(item: str) -> None:
    assert mentions([item], "type")
    assert not mentions(["type", "--types", 7, None, "x--type"], "type")
