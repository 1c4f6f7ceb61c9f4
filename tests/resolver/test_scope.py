"""Scope paths. Oracle: the tables and texts of spec RESOLVER 2.2."""

from dataclasses import FrozenInstanceError

import pytest

from resolver.scope import MAX_DEPTH, ScopeError, ScopePath
from tests.resolver.builders import leaf, spec_of, task_of

SPEC = spec_of(
    {
        "comp-pre": leaf(),
        "comp-sub": {"dag": {"tasks": {"for-loop-2": task_of("comp-loop")}}},
        "comp-loop": {"dag": {"tasks": {"work": task_of("comp-pre"), "lost": task_of("comp-none")}}},
        "comp-again": {"dag": {"tasks": {"again": task_of("comp-again")}}},
    },
    {
        "pre": task_of("comp-pre"),
        "sub": task_of("comp-sub"),
        "root": task_of("comp-sub"),
        "again": task_of("comp-again"),
    },
)


def test_scope_push_pop() -> None:
    path = ScopePath.from_dot(SPEC, "root.sub.for-loop-2")
    deeper = path.push("work")
    assert deeper.dot == "root.sub.for-loop-2.work"
    assert deeper.names == ("root", "sub", "for-loop-2", "work")
    assert path.dot == "root.sub.for-loop-2"
    assert deeper.parent == path
    assert deeper.last is not None
    assert deeper.last.key == "work"
    assert deeper.root is not None
    assert deeper.root.task is None


def test_scope_immutable() -> None:
    """D19: upstream's copies share one list, and what one of them pushes the others see."""
    path = ScopePath.from_dot(SPEC, "root")
    one, two = path.push("pre"), path.push("sub")
    assert (path.dot, one.dot, two.dot) == ("root", "root.pre", "root.sub")
    assert two.push("for-loop-2").parent == two
    with pytest.raises(FrozenInstanceError):
        setattr(path, "entries", ())  # noqa: B010 (the type checker knows that it is frozen)
    assert isinstance(path.entries, tuple)


def test_scope_empty() -> None:
    """D19: upstream follows a null pointer here."""
    path = ScopePath.from_dot(SPEC, "")
    assert (path.size, path.dot, path.last, path.root) == (0, "", None, None)
    assert path.parent.size == 0


def test_scope_child_named_root() -> None:
    assert ScopePath.from_dot(SPEC, "root.root").push("for-loop-2").dot == "root.root.for-loop-2"


@pytest.mark.parametrize(
    ("base", "key", "text"),
    [
        ("root.pre", "x", "this component is not a DAG component"),
        ("", "sub", "scope path is empty, first task should be root"),
        ("root", "nope", "task nope is not found"),
        ("root.sub.for-loop-2", "lost", "component comp-none is not found"),
    ],
)
def test_scope_errors(base: str, key: str, text: str) -> None:
    with pytest.raises(ScopeError) as caught:
        ScopePath.from_dot(SPEC, base).push(key)
    assert str(caught.value) == text


def test_scope_errors_name_the_task() -> None:
    with pytest.raises(ScopeError) as caught:
        ScopePath.from_dot(SPEC, "root.nope")
    assert str(caught.value) == 'failed to build scope path at task "nope": task nope is not found'


def test_scope_errors_without_a_spec() -> None:
    with pytest.raises(ScopeError, match="PipelineSpec is nil"):
        ScopePath.from_dot(None, "root")


def test_components_that_contain_themselves_end_in_an_error() -> None:
    deepest = ScopePath.from_dot(SPEC, "root" + ".again" * (MAX_DEPTH - 1))
    with pytest.raises(ScopeError, match="nested more than 64 levels"):
        deepest.push("again")
