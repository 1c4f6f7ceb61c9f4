"""What CreateRun checks before it stores a run: pipeline, parameters, plugin inputs (spec KFP_API 6.1)."""

from typing import Any, Final

import orjson

from kfp_api.ir.load import InvalidPipelineError, Pipeline, pipeline_from_struct
from kfp_api.ir.pipeline import InputParameter, ParameterType
from kfp_api.wire import UNSET
from local_stack.api_server.errors import InvalidInputError
from local_stack.api_server.storage.encoding import as_value

_SCHEMA_VERSION: Final = "2.1.0"
_PLUGIN_KEYS: Final = 16
_PLUGIN_BYTES: Final = 64 * 1024
_PLUGINS_BYTES: Final = 256 * 1024
_PLUGIN_DEPTH: Final = 10

_NUMBER: Final = (int, float)
_KINDS: Final[dict[ParameterType, tuple[tuple[type, ...], str, str]]] = {
    ParameterType.NUMBER_DOUBLE: (_NUMBER, "double or integer", "number"),
    ParameterType.NUMBER_INTEGER: (_NUMBER, "double or integer", "number"),
    ParameterType.STRING: ((str,), "string", "string"),
    ParameterType.BOOLEAN: ((bool,), "bool", "bool"),
    ParameterType.LIST: ((list,), "list", "list"),
    ParameterType.STRUCT: ((dict,), "struct", "struct"),
}
"""JSON kinds that a declared type accepts, and how messages call type and kind."""


def check_pipeline(document: object) -> Pipeline:
    """The pipeline of a run, whole enough to run.

    Raises:
        InvalidInputError: not a KFP v2 pipeline.
    """
    try:
        pipeline = pipeline_from_struct(document)
    except InvalidPipelineError as error:
        raise InvalidInputError(str(error)) from error
    spec = pipeline.spec
    if spec.schema_version != _SCHEMA_VERSION:
        raise InvalidInputError(
            f"pipeline spec: schemaVersion must be {_SCHEMA_VERSION}, got {spec.schema_version!r}"
        )
    if not spec.pipeline_info.name:
        raise InvalidInputError("pipeline spec: pipelineInfo.name must not be empty")
    if spec.root is None:
        raise InvalidInputError("pipeline spec: root must not be empty")
    return pipeline


def check_parameters(pipeline: Pipeline, values: dict[str, Any]) -> None:
    """The run's parameters against what the root component declares.

    Raises:
        InvalidInputError: missing, of the wrong kind, outside the literals, or not declared.
    """
    root = pipeline.spec.root
    definitions = None if root is None else root.input_definitions
    declared = {} if definitions is None else definitions.parameters
    for name, parameter in declared.items():
        if name in values:
            _check_value(name, parameter, values[name])
        elif not parameter.is_optional and parameter.default_value is UNSET:
            raise InvalidInputError(
                f"parameter {name} is not optional, yet has neither default value nor user provided value"
            )
    extra = sorted(values.keys() - declared.keys())
    if extra:
        raise InvalidInputError(f"parameter(s) provided are not required by pipeline: {', '.join(extra)}")


def _check_value(name: str, parameter: InputParameter, value: object) -> None:
    declared = parameter.declared_type
    if declared is ParameterType.UNSPECIFIED:
        raise InvalidInputError(f"input parameter {name} has unspecified type")
    if declared is ParameterType.TASK_FINAL_STATUS:
        raise InvalidInputError(
            f"input parameter {name} requires type TASK_FINAL_STATUS, which is invalid for root component"
        )
    if declared not in _KINDS:
        raise InvalidInputError(f"input parameter {name} requires type unknown")
    types, type_name, kind = _KINDS[declared]
    fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
    if not fits:
        raise InvalidInputError(
            f"input parameter {name} requires type {type_name}, "
            f"but the parameter value is not of {kind} value type"
        )
    if parameter.literals and as_value(value) not in [as_value(literal) for literal in parameter.literals]:
        allowed = orjson.dumps(parameter.literals).decode()
        raise InvalidInputError(f"input parameter {name} must be one of {allowed}")


def check_plugins_input(plugins: dict[str, Any]) -> None:
    """Sizes and nesting of ``plugins_input``.

    Raises:
        InvalidInputError: a bound is exceeded.
    """
    if len(plugins) > _PLUGIN_KEYS:
        raise InvalidInputError(f"plugins_input must not have more than {_PLUGIN_KEYS} keys")
    sizes = {name: len(orjson.dumps(value)) for name, value in plugins.items()}
    for name, size in sizes.items():
        if size > _PLUGIN_BYTES:
            raise InvalidInputError(f"plugins_input of {name} must not be larger than {_PLUGIN_BYTES} bytes")
        if _depth(plugins[name]) > _PLUGIN_DEPTH:
            raise InvalidInputError(f"plugins_input of {name} is nested deeper than {_PLUGIN_DEPTH} levels")
    if sum(sizes.values()) > _PLUGINS_BYTES:
        raise InvalidInputError(f"plugins_input must not be larger than {_PLUGINS_BYTES} bytes in all")


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
