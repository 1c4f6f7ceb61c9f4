"""Random pipelines as data: what hypothesis makes and shrinks, and how it becomes a pipeline of the KFP SDK.

A program is a sequence of statements over whole numbers and lists of them. References are numbers taken
modulo what is in scope, so that every program is valid, shrunk ones included.
"""

import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from inspect import Parameter, Signature
from typing import Any

from hypothesis import strategies as st
from kfp import dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def add(a: int, b: int = 100) -> int:
    return a + b


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def span(n: int) -> list[int]:
    return list(range(abs(n) % 3 + 1))


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def flat(values: list) -> list[int]:
    found: list = []
    waiting = list(values)
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, list):
            waiting = value + waiting
        else:
            found.append(int(value))
    return found


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def total(values: list) -> int:
    return sum(int(value) for value in values)


@dataclass(frozen=True)
class Add:
    """``add`` of two numbers, each a constant or a reference; without ``b`` the component's default."""

    a: tuple[bool, int]
    b: tuple[bool, int] | None


@dataclass(frozen=True)
class Span:
    """A list of as many numbers as another number says."""

    n: tuple[bool, int]


@dataclass(frozen=True)
class Total:
    """The sum of a list."""

    values: int


@dataclass(frozen=True)
class Loop:
    """A loop over constants or over a list; what its last task computes is collected."""

    items: tuple[int, ...] | int
    parallelism: int
    body: tuple["Statement", ...]


@dataclass(frozen=True)
class Branch:
    """Two groups of which one runs; with a second one, the last task of the one that ran is taken on."""

    left: int
    operator: str
    right: int
    then: tuple["Statement", ...]
    otherwise: tuple["Statement", ...] | None


@dataclass(frozen=True)
class Nested:
    """A pipeline as a task; its second input is optional."""

    first: tuple[bool, int]
    second: tuple[bool, int] | None
    body: tuple["Statement", ...]


Statement = Add | Span | Total | Loop | Branch | Nested

_numbers = st.integers(-2, 5)
_operands = st.tuples(st.booleans(), _numbers)
_adds = st.builds(Add, a=_operands, b=st.none() | _operands)
_simple = st.one_of(_adds, st.builds(Span, n=_operands), st.builds(Total, values=_numbers))


def _compound(inner: st.SearchStrategy[Statement]) -> st.SearchStrategy[Statement]:
    body = st.lists(inner, max_size=2).map(tuple)
    return st.one_of(
        st.builds(
            Loop,
            items=st.lists(_numbers, min_size=1, max_size=3).map(tuple) | _numbers,
            parallelism=st.integers(0, 2),
            body=body,
        ),
        st.builds(
            Branch,
            left=_numbers,
            operator=st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
            right=_numbers,
            then=body,
            otherwise=st.none() | body,
        ),
        st.builds(Nested, first=_operands, second=st.none() | _operands, body=body),
    )


statements = st.recursive(_simple, _compound, max_leaves=4)
programs = st.lists(statements, min_size=1, max_size=4).map(tuple)


@dataclass
class _Scope:
    """What can be referred to: values from outside, then what tasks of this group computed."""

    numbers: list[Any]
    lists: list[Any]
    tasks: list[Any] = field(default_factory=list)
    computed: list[tuple[type, Any]] = field(default_factory=list)

    def inner(self, *numbers: Any) -> "_Scope":
        return _Scope([*self.numbers, *numbers], list(self.lists))

    def number(self, operand: tuple[bool, int]) -> Any:
        is_reference, value = operand
        return self.numbers[value % len(self.numbers)] if is_reference else value

    def keep_number(self, task: Any) -> None:
        self.numbers.append(task.output)
        self.tasks.append(task)
        self.computed.append((int, task.output))

    def keep_list(self, task: Any) -> None:
        self.lists.append(task.output)
        self.computed.append((list[int], task.output))


def as_pipeline(program: tuple[Statement, ...], name: str = "random") -> Any:
    """The program as a pipeline that returns everything its outermost tasks compute."""
    _prepare(program)
    kinds = [*_kinds_of(program), int]
    outputs = typing.NamedTuple("Outputs", [(f"o{i}", kind) for i, kind in enumerate(kinds)])  # type: ignore[misc]

    def body(p: int = 3, q: list[int] = [1, 2]) -> Any:  # noqa: B006 (the SDK only reads it)
        scope = _Scope([p], [q])
        _build(program, scope)
        scope.keep_number(add(a=scope.numbers[-1], b=1))
        assert [kind for kind, _ in scope.computed] == kinds
        return outputs(*(value for _, value in scope.computed))

    body.__annotations__["return"] = outputs
    return dsl.pipeline(name=name)(body)


def _kinds_of(program: tuple[Statement, ...]) -> list[type]:
    """Types of what the statements add to their scope, as :func:`_build` adds them."""
    return [kind for statement in program for kind in _kinds(statement)]


def _kinds(statement: Statement) -> Iterator[type]:
    match statement:
        case Span() | Loop():
            yield list[int]
        case Branch(otherwise=None):
            return
        case _:
            yield int


def _build(body: tuple[Statement, ...], scope: _Scope) -> None:
    for statement in body:
        _build_one(statement, scope)


def _group(body: tuple[Statement, ...], scope: _Scope) -> Any:
    """Build the body of a group, which ends with a task; returns that task."""
    _build(body, scope)
    last = add(a=scope.numbers[-1], b=1)
    last.set_caching_options(False)
    return last


def _build_one(statement: Statement, scope: _Scope) -> None:
    match statement:
        case Add(a, None):
            scope.keep_number(add(a=scope.number(a)))
        case Add(a, b):
            assert b is not None
            scope.keep_number(add(a=scope.number(a), b=scope.number(b)))
        case Span(n):
            scope.keep_list(span(n=scope.number(n)))
        case Total(values):
            scope.keep_number(total(values=scope.lists[values % len(scope.lists)]))
        case Loop():
            _build_loop(statement, scope)
        case Branch():
            _build_branch(statement, scope)
        case Nested(first, second, body):
            names = _input_names(body)
            given = {names[0]: scope.number(first)}
            if second is not None:
                given[names[1]] = scope.number(second)
            scope.keep_number(_nested(body)(**given))


def _build_loop(loop: Loop, scope: _Scope) -> None:
    chosen = list(loop.items) if isinstance(loop.items, tuple) else scope.lists[loop.items % len(scope.lists)]
    with dsl.ParallelFor(chosen, parallelism=loop.parallelism or None) as item:
        last = _group(loop.body, scope.inner(item))
    scope.keep_list(flat(values=dsl.Collected(last.output)))


def _build_branch(branch: Branch, scope: _Scope) -> None:
    left = add(a=scope.numbers[branch.left % len(scope.numbers)], b=0).output
    compare = {
        "==": left == branch.right,
        "!=": left != branch.right,
        "<": left < branch.right,
        "<=": left <= branch.right,
        ">": left > branch.right,
        ">=": left >= branch.right,
    }
    with dsl.If(compare[branch.operator]):
        then = _group(branch.then, scope.inner())
    if branch.otherwise is None:
        return
    with dsl.Else():
        otherwise = _group(branch.otherwise, scope.inner())
    scope.keep_number(add(a=dsl.OneOf(then.output, otherwise.output), b=0))


def _prepare(body: tuple[Statement, ...]) -> None:
    """Make all nested pipelines, the innermost first: the SDK makes none while it makes another."""
    for statement in body:
        match statement:
            case Loop(body=inner):
                _prepare(inner)
            case Branch(then=then, otherwise=otherwise):
                _prepare(then)
                _prepare(otherwise or ())
            case Nested(body=inner):
                _prepare(inner)
                _nested(inner)
            case _:
                continue


def _input_names(body: tuple[Statement, ...]) -> tuple[str, str]:
    height = _height(body)
    return f"x{height}", f"y{height}"


def _height(body: tuple[Statement, ...]) -> int:
    """How deep pipelines are nested in a body."""
    heights = [0]
    for statement in body:
        match statement:
            case Nested(body=inner):
                heights.append(_height(inner) + 1)
            case Loop(body=inner):
                heights.append(_height(inner))
            case Branch(then=then, otherwise=otherwise):
                heights += [_height(then), _height(otherwise or ())]
            case _:
                continue
    return max(heights)


@lru_cache(maxsize=1024)
def _nested(body: tuple[Statement, ...]) -> Any:
    """A pipeline of two inputs, whose names no pipeline inside it or around it has.

    ``kfp.local`` gives an optional input that is not given the enclosing pipeline's value of that name.
    """

    def pipeline(*inputs: Any) -> int:
        scope = _Scope(list(inputs), [])
        scope.lists.append(span(n=inputs[0]).output)
        output: int = _group(body, scope).output
        return output

    first, second = _input_names(body)
    kind = Parameter.POSITIONAL_OR_KEYWORD
    parameters = [Parameter(first, kind, annotation=int), Parameter(second, kind, annotation=int, default=7)]
    pipeline.__signature__ = Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    return dsl.pipeline(name="nested")(pipeline)
