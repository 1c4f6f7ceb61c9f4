"""CEL expressions: trigger conditions over the executor input, selectors over one value (spec DRIVER 10).

Expressions and values come from whoever may create workflows, and evaluation blocks the event loop. Length of
the expression, nesting of the values and the product of both sizes are bounded, so that no pair of them takes
longer than seconds.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from pydantic import JsonValue

from kfp_api.ir.executor_input import ExecutorInputs
from resolver.cel_dialect import (
    Allowance,
    CelEnvironment,
    CelProgram,
    CelResult,
    compile_message,
    environment,
    evaluation_message,
    prepared,
)
from resolver.cel_values import CelConversion, json_result
from resolver.errors import ExpressionError
from resolver.values import kind_of, value_to_text, well_formed

MAX_EXPRESSION_BYTES: Final = 64 * 1024
MAX_WORK: Final = 2**27
"""Length of an expression times weight of its values: 200 characters on 600,000 items, 64 KiB on 2,000."""

_CONCATENATION: Final = 256
"""Characters that a ``+`` counts for, because it may copy a list."""

CACHED_EXPRESSIONS: Final = 512
CACHED_EXPRESSION_BYTES: Final = 4 * 1024
"""Longer expressions are compiled each time, so that the cache stays small."""


class ExpressionEngine:
    """Evaluates expressions and keeps a bounded number of compiled ones. For one event loop."""

    def __init__(self) -> None:
        self._allowance = Allowance()
        self._environments: dict[str, CelEnvironment] = {}
        self._compiled: OrderedDict[tuple[str, str], CelProgram] = OrderedDict()

    def condition(self, expression: str, executor_inputs: ExecutorInputs) -> bool:
        """Whether a trigger condition holds.

        Raises:
            ExpressionError: it does not compile, a value is missing, or the result is no bool.
        """
        conversion = CelConversion()
        variables = {
            "inputs": conversion.executor_inputs(executor_inputs),
            "outputs": {"parameters": {}, "artifacts": {}, "output_file": ""},
        }
        result = self._evaluate("condition", expression, variables, conversion.weight)
        plain = result.plain_value()
        if isinstance(plain, bool):
            return plain
        shown = plain if isinstance(plain, str) else repr(result)
        raise ExpressionError(f"evaluation error: return type is not bool, got {shown}")

    def select(self, selector: str, value: JsonValue) -> JsonValue:
        """The part of a value that a ``parameterExpressionSelector`` names; ``None`` is JSON null.

        Raises:
            ExpressionError: it does not compile or fails, or the result is no JSON value.
        """
        conversion = CelConversion()
        variables = {
            f"{kind_of(value)}_value": conversion.value(value),
            "string_value": conversion.text(value_to_text(value)),
        }
        result = self._evaluate("selector", selector, variables, conversion.weight)
        return json_result(result.plain_value())

    def _evaluate(self, use: str, expression: str, variables: Mapping[str, Any], weight: int) -> CelResult:
        compiled = self._compile(use, expression)
        if (len(expression) + _CONCATENATION * expression.count("+")) * weight > MAX_WORK:
            raise ExpressionError("evaluation error: the expression is too long for values of this size")
        self._allowance.renew()
        try:
            result = compiled.eval(data=variables)
        except RuntimeError as error:
            raise ExpressionError(f"evaluation error: {evaluation_message(str(error))}") from error
        if result.type().name() == "ERROR":
            raise ExpressionError(f"evaluation error: {evaluation_message(str(result.plain_value()))}")
        return result

    def _compile(self, use: str, expression: str) -> CelProgram:
        key = (use, expression)
        if key in self._compiled:
            self._compiled.move_to_end(key)
            return self._compiled[key]
        size = len(expression.encode(errors="replace"))
        if size > MAX_EXPRESSION_BYTES:
            raise ExpressionError(f"expression is longer than {MAX_EXPRESSION_BYTES} bytes")
        if use not in self._environments:
            self._environments[use] = environment(use, self._allowance)
        try:
            compiled = self._environments[use].compile(prepared(well_formed(expression)))
        except RuntimeError as error:
            raise ExpressionError(compile_message(str(error))) from error
        if size <= CACHED_EXPRESSION_BYTES:
            self._compiled[key] = compiled
            if len(self._compiled) > CACHED_EXPRESSIONS:
                self._compiled.popitem(last=False)
        return compiled
