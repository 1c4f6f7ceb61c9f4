"""Oracle: the tables of spec LAUNCHER E3.3, E3.4 and G for ``when`` and ``depends``."""

import time

import pytest

from local_stack.runner.depends import TaskOutcome, parse_depends
from local_stack.runner.errors import ExpressionSyntaxError
from local_stack.runner.nodes import Phase
from local_stack.runner.when import should_execute


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("", True),
        ("nil != false", True),
        ("true != false", True),
        ("false != false", False),
        ("False != false", True),
        ("false != true", True),
        ("true != true", False),
        ("0 != false", True),
        ("0 == 0.0", True),
        ("1 < 2 && 2 >= 2", True),
        ("b > a || false", True),
        ("!(a == b)", True),
        ("'true' == true", False),
        ('"a b" == "a b"', True),
        ("task_1 =~ '^task'", True),
        ("'task-1' !~ 'x$'", True),
        (r"'ñandú' =~ '^\\pL+$'", True),
        ("false && (1 < word)", False),
        ("true || (1 < word)", True),
        ("'dry-run' == 'dry-run'", True),
        ("a == a == true", None),
    ],
)
def test_when_compares_strictly_by_type(expression: str, expected: object) -> None:
    if expected is None:
        with pytest.raises(ExpressionSyntaxError):
            should_execute(expression)
    else:
        assert should_execute(expression) is expected


@pytest.mark.parametrize(
    "expression",
    [
        *(" != true", "true !=", "word", "1 < word", "(true", "true)", "true && 1", "a ? b"),
        *("dry-run == dry", "a.b == a", "x in y", "a =~ '('"),
    ],
)
def test_a_when_that_is_no_boolean_is_an_error_with_argos_text(expression: str) -> None:
    with pytest.raises(ExpressionSyntaxError, match=r"^Invalid 'when' expression"):
        should_execute(expression)


_OUTCOMES = {
    "ok": TaskOutcome(Phase.SUCCEEDED),
    "bad": TaskOutcome(Phase.FAILED),
    "err": TaskOutcome(Phase.ERROR),
    "skip": TaskOutcome(Phase.SKIPPED),
    "omit": TaskOutcome(Phase.OMITTED),
    "mixed": TaskOutcome(Phase.FAILED, (Phase.SUCCEEDED, Phase.FAILED)),
    "lost": TaskOutcome(Phase.FAILED, (Phase.FAILED, Phase.FAILED)),
    "none": TaskOutcome(Phase.SUCCEEDED, ()),
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("", True),
        ("ok", True),
        ("skip", True),
        ("bad", False),
        ("omit", False),
        ("ok.Succeeded && bad.Failed", True),
        ("ok.Succeeded && skip.Succeeded", False),
        ("err.Errored || bad.Succeeded", True),
        ("err.Failed", False),
        ("!bad.Succeeded", True),
        ("skip.Skipped && omit.Omitted", True),
        ("ok.Daemoned", False),
        ("(bad || ok) && !omit", True),
        ("bad || ok && omit", False),
        ("mixed.AnySucceeded", True),
        ("mixed.AllFailed", False),
        ("lost.AllFailed", True),
        ("none.AllFailed", False),
        ("lost.AnySucceeded", False),
    ],
)
def test_depends_follows_its_grammar(expression: str, *, expected: bool) -> None:
    assert parse_depends(expression).satisfied(_OUTCOMES.__getitem__) is expected


def test_depends_names_every_task_it_waits_for() -> None:
    assert parse_depends("a.Succeeded || (!b && c-2.Failed)").tasks == {"a", "b", "c-2"}


@pytest.mark.parametrize("expression", ["a.Done", "a &&", "(a", "a b", "a & b", "&& a"])
def test_a_malformed_depends_is_refused(expression: str) -> None:
    with pytest.raises(ExpressionSyntaxError, match="invalid depends"):
        parse_depends(expression)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("(" * 5000 + "true" + ")" * 5000, "nested deeper"),
        ("!" * 5000 + "true", "nested deeper"),
        ("a == a && " * 200_000 + "true", "characters"),
        ("a" * 5000 + " == '", "unexpected character"),
        ("'" + "a" * 60_000 + "' =~ '" + "(a+)+" * 8 + "$b'", ""),
    ],
)
def test_a_hostile_when_is_answered_in_time(expression: str, words: str) -> None:
    started = time.monotonic()
    if words:
        with pytest.raises(ExpressionSyntaxError, match=words) as caught:
            should_execute(expression)
        assert len(str(caught.value)) < 600
    else:
        assert should_execute(expression) is False
    assert time.monotonic() - started < 5


def test_long_expressions_are_read_in_time() -> None:
    started = time.monotonic()
    assert should_execute("a == a && " * 20_000 + "true")
    assert parse_depends(" || ".join(["bad.Succeeded"] * 20_000 + ["ok"])).satisfied(_OUTCOMES.__getitem__)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("(" * 5000 + "a" + ")" * 5000, "nested deeper"),
        ("!" * 5000 + "a", "nested deeper"),
        ("a && " * 400_000 + "a", "characters"),
        ("{{a", "unexpected '{'"),
    ],
)
def test_a_hostile_depends_is_answered_in_time(expression: str, words: str) -> None:
    with pytest.raises(ExpressionSyntaxError, match=words) as caught:
        parse_depends(expression)
    assert len(str(caught.value)) < 600
