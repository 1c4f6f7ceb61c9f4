"""Input parameters: resolving one, and all that a task wires or its component defaults (spec RESOLVER 5, 10).

:class:`ParameterSources` turns an input spec into a value. :func:`resolve_parameters` applies the rules of
the component's interface to it: null and defaults, selectors, declared types, literals. The functions for
pod-spec code resolve the same specs without an interface.
"""

import re
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from kfp_api.ir.pipeline import InputParameter, InputParameterSpec, ParameterType, RuntimeValue
from kfp_api.messages import IOParameter, IOType
from kfp_api.wire import UNSET, Value
from resolver.concurrency import in_order
from resolver.constants import TextBudget, resolve_constant
from resolver.context import ResolveContext, ResolvedValue, shortened
from resolver.errors import ExpressionError, NullInputError, ResolutionError
from resolver.final_status import resolve_final_status
from resolver.outputs import PARAMETERS, read_output
from resolver.types import check_literals, normalise
from resolver.values import go_json, kind_of, value_to_text

MAX_CHANNEL_DEPTH: Final = 16
"""Constants that refer to constants; the SDK's compiler never emits more than one level."""

_PARAMETER: Final = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")


class ParameterSources:
    """Resolves input parameter specs of one task; channels are resolved once."""

    def __init__(self, context: ResolveContext) -> None:
        self._context = context
        self._channels: dict[str, ResolvedValue] = {}
        self._budget = TextBudget()

    async def resolve(self, spec: InputParameterSpec, within: tuple[str, ...] = ()) -> ResolvedValue:
        """The value of a spec before its selector, null rules or types.

        Args:
            spec: where the value comes from.
            within: the pipeline channels that are being resolved, outermost first.

        Raises:
            ResolutionError: the spec cannot be resolved.
        """
        if spec.component_input_parameter is not None:
            return self._component_input(spec.component_input_parameter)
        if spec.task_output_parameter is not None:
            output = spec.task_output_parameter
            return await self._task_output(output.producer_task, output.output_parameter_key)
        if spec.task_final_status is not None:
            return await resolve_final_status(spec.task_final_status, self._context)
        if spec.runtime_value is not None:
            return await self._runtime_value(spec.runtime_value, spec, within)
        raise _not_implemented(spec)

    def select(self, spec: InputParameterSpec, resolved: ResolvedValue) -> ResolvedValue:
        """The part of a value that the spec's selector names; all of it when there is no selector."""
        selector = spec.parameter_expression_selector
        if not selector:
            return resolved
        try:
            value = self._context.expressions.select(selector, resolved.value)
        except ExpressionError as error:
            prefix = f'evaluation of parameter expression selector "{shortened(selector)}" failed: '
            raise error.within(prefix) from error
        return ResolvedValue(value, resolved.type, resolved.producer)

    async def _runtime_value(
        self, runtime: RuntimeValue, spec: InputParameterSpec, within: tuple[str, ...]
    ) -> ResolvedValue:
        if runtime.runtime_parameter is not None:
            return self._component_input(runtime.runtime_parameter)
        if runtime.constant is not UNSET:
            constant = runtime.constant
        elif (typed := runtime.constant_value) is not None:
            scalars = (typed.string_value, typed.int_value, typed.double_value)
            constant = next((scalar for scalar in scalars if scalar is not None), None)
        else:
            raise _not_implemented(spec)

        async def read_channel(name: str, placeholder: str) -> ResolvedValue:
            return await self._channel(name, placeholder, within)

        return await resolve_constant(constant, self._context, read_channel, self._budget)

    async def _channel(self, name: str, placeholder: str, within: tuple[str, ...]) -> ResolvedValue:
        if name in self._channels:
            return self._channels[name]
        spec = self._context.task_spec.inputs.parameters.get(name)
        if spec is None:
            raise ResolutionError(
                f"pipeline channel {placeholder} not found in task {self._context.task_key}"
            )
        if name in within:
            raise ResolutionError(f"pipeline channels form a cycle: {' -> '.join((*within, name))}")
        if len(within) >= MAX_CHANNEL_DEPTH:
            raise ResolutionError(f"pipeline channels are nested more than {MAX_CHANNEL_DEPTH} levels deep")
        resolved = await self.resolve(spec, (*within, name))
        if resolved.value is not None:
            resolved = self.select(spec, resolved)
        self._channels[name] = resolved
        return resolved

    def _component_input(self, key: str) -> ResolvedValue:
        if not key:
            raise ResolutionError("empty component input")
        entry = self._context.parent_parameters.entry(key)
        if entry is None:
            producer = self._context.producer(self._context.parent.name)
            return ResolvedValue(None, IOType.COMPONENT_INPUT, producer)
        value = None if entry.value is UNSET else entry.value
        return ResolvedValue(value, IOType.COMPONENT_INPUT, self._context.passed_down(entry.producer))

    async def _task_output(self, producer_task: str, key: str) -> ResolvedValue:
        context = self._context
        row = await context.sibling(producer_task)
        found = None
        if row is not None:
            scope = context.scope.parent.push(producer_task)
            found = await read_output(context.rows, PARAMETERS, row, scope, key=key)
        if found is None and not context.tolerates_failed_producers:
            if row is None:
                raise ResolutionError(f"producerTask task {context.sibling_name(producer_task)} not found")
            raise ResolutionError(
                f"parameter with producer key {key} not found in outputs of task {producer_task}"
            )
        io_type = IOType.COLLECTED_INPUTS if found and found.collected else IOType.TASK_OUTPUT_INPUT
        return ResolvedValue(
            found.value if found else None,
            io_type,
            context.producer(producer_task),
            from_output=found is not None,
        )


async def resolve_parameters(context: ResolveContext) -> list[IOParameter]:
    """The task's input parameters: the wired ones, then defaults of the others, each sorted by key.

    Raises:
        ResolutionError: names the task and the input.
    """
    sources = ParameterSources(context)
    declared = context.component.input_definitions.parameters
    wired = context.task_spec.inputs.parameters
    keys = [key for key in sorted(wired) if not _is_task_config(declared.get(key))]
    resolved = await in_order(_wired(context, sources, key) for key in keys)
    entries = [entry for entry in resolved if entry is not None]
    iterator = context.task_spec.parameter_iterator
    item_input = iterator.item_input if iterator else ""
    for key in sorted(declared.keys() - wired.keys() - {item_input}):
        if _is_task_config(declared[key]):
            continue
        default = _default(context, key, declared[key])
        if default is not None:
            entries.append(default)
        elif not declared[key].is_optional:
            raise ResolutionError(
                f'neither value nor default value provided for non-optional parameter "{key}"'
            )
    return entries


async def _wired(context: ResolveContext, sources: ParameterSources, key: str) -> IOParameter | None:
    """One wired parameter; ``None`` when it is optional and there is nothing."""
    declared = context.component.input_definitions.parameters.get(key)
    spec = context.task_spec.inputs.parameters[key]
    try:
        resolved = await sources.resolve(spec)
        if resolved.value is not None or _null_is_a_value(resolved, declared):
            resolved = sources.select(spec, resolved)
        value = resolved.value
        if value is None:
            if declared is not None and declared.is_optional:
                return _default(context, key, declared)
            if not _null_is_a_value(resolved, declared):
                raise NullInputError
        if declared is not None:
            value = normalise(value, declared.declared_type, key)
    except ResolutionError as error:
        raise error.within(f'resolving parameter "{key}": ') from error
    if declared is not None:
        check_literals(value, declared.literals, key)
    return IOParameter(value=value, type=resolved.type, parameter_key=key, producer=resolved.producer)


def _null_is_a_value(resolved: ResolvedValue, declared: InputParameter | None) -> bool:
    """An existing output that is null reaches selectors, types and undeclared inputs as a value."""
    return resolved.from_output and (declared is None or not declared.is_optional)


def _default(context: ResolveContext, key: str, declared: InputParameter) -> IOParameter | None:
    if declared.default_value is UNSET:
        return None
    return IOParameter(
        value=declared.default_value,
        type=IOType.COMPONENT_DEFAULT_INPUT,
        parameter_key=key,
        producer=context.producer(context.parent.name),
    )


def _is_task_config(declared: InputParameter | None) -> bool:
    return declared is not None and declared.declared_type is ParameterType.TASK_CONFIG


def _not_implemented(spec: InputParameterSpec) -> ResolutionError:
    kind = next((name for name in sorted(spec.model_fields_set)), "none")
    return ResolutionError(
        f"resolving input parameter with spec {_spec_text(spec)}: parameter spec of type {kind} "
        "not implemented yet"
    )


def _spec_text(spec: InputParameterSpec) -> str:
    return shortened(go_json(spec.to_json()))


async def resolve_input_parameter(context: ResolveContext, spec: InputParameterSpec) -> JsonValue:
    """The value of a spec outside any component interface: no types, no literals, no defaults.

    Raises:
        NullInputError: the value is null or there is none.
        ResolutionError: it cannot be resolved.
    """
    sources = ParameterSources(context)
    resolved = await sources.resolve(spec)
    if resolved.value is not None:
        resolved = sources.select(spec, resolved)
    if resolved.value is None:
        raise NullInputError
    return resolved.value


async def resolve_input_parameter_str(context: ResolveContext, spec: InputParameterSpec) -> str:
    """The value of a spec that must be a non-empty string, such as the name of a Secret.

    Raises:
        NullInputError: the value is null; optional settings are skipped on it.
        ResolutionError: it cannot be resolved, or is no string, or empty.
    """
    try:
        value = await resolve_input_parameter(context, spec)
    except ResolutionError as error:
        raise error.within("failed to resolve input parameter. Error: ") from error
    prefix = f"resolving input parameter with spec {_spec_text(spec)}."
    if not isinstance(value, str):
        raise ResolutionError(f"{prefix} Expected a string but got: {kind_of(value)}")
    if not value:
        raise ResolutionError(f"{prefix} Expected a non-empty string")
    return value


async def resolve_k8s_json_parameter(
    context: ResolveContext, spec: InputParameterSpec
) -> dict[str, JsonValue]:
    """The value of a spec that must be a struct, such as a toleration.

    Raises:
        NullInputError: the value is null; optional settings are skipped on it.
        ResolutionError: it cannot be resolved, or is no struct.
    """
    try:
        value = await resolve_input_parameter(context, spec)
    except ResolutionError as error:
        raise error.within("failed to resolve k8s parameter: ") from error
    if not isinstance(value, dict):
        raise ResolutionError(f"resolved k8s parameter is nil (got {kind_of(value)})")
    return value


def resolve_parameter_or_pipeline_channel(text: str, values: Mapping[str, Value]) -> str:
    """Image, resource and accelerator texts: each input parameter placeholder becomes its value's text.

    Raises:
        ResolutionError: a parameter is not among ``values``, the executor input's parameters.
    """

    def replace(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ResolutionError(f"pipeline channel {shortened(text)} not found in executorinput")
        return value_to_text(values[match[1]])

    return _PARAMETER.sub(replace, text)
