"""Iterators: the items of a loop as input entries of its head (spec RESOLVER 8).

Items are stored as they are; only the input that consumes one converts it.
"""

from collections.abc import Sequence

from pydantic import JsonValue

from kfp_api.ir.pipeline import ArtifactIterator, ParameterIterator
from kfp_api.messages import IOParameter, IOProducer, IOType
from kfp_api.wire import UNSET, Value
from resolver.artifacts import ResolvedArtifacts
from resolver.errors import ResolutionError
from resolver.values import InvalidValueError, kind_of, parse_json


def parameter_items(
    iterator: ParameterIterator, task_key: str, parameters: Sequence[IOParameter]
) -> list[IOParameter]:
    """One entry per item of a parameter loop, in order.

    Args:
        iterator: the loop.
        task_key: key of the loop task, the producer of its items.
        parameters: the loop task's parameters, as just resolved.

    Raises:
        ResolutionError: the items are missing or are no list.
    """
    items = iterator.items
    value: Value
    if items is not None and items.raw is not None:
        try:
            value = parse_json(items.raw)
        except InvalidValueError as error:
            raise ResolutionError(f'error unmarshall raw string: "{error}"') from error
    elif items is not None and items.input_parameter is not None:
        sources = [entry for entry in parameters if entry.parameter_key == items.input_parameter]
        if not sources:
            raise ResolutionError(f'parameter not found: the task has no input "{items.input_parameter}"')
        value = sources[0].value
    else:
        raise ResolutionError("cannot find parameter iterator: no items are named")
    return [
        IOParameter(
            value=item,
            type=IOType.ITERATOR_INPUT,
            parameter_key=iterator.item_input,
            producer=IOProducer(task_name=task_key, iteration=index),
        )
        for index, item in enumerate(_items_of(value))
    ]


def artifact_items(
    iterator: ArtifactIterator, task_key: str, artifacts: Sequence[ResolvedArtifacts]
) -> list[ResolvedArtifacts]:
    """One entry per artifact of an artifact loop, in order; :class:`ResolutionError` without that input."""
    wanted = iterator.items.input_artifact if iterator.items else ""
    source = next((entry for entry in artifacts if entry.key == wanted), None)
    if source is None:
        raise ResolutionError(f'artifact not found: the task has no input "{wanted}"')
    return [
        ResolvedArtifacts(
            iterator.item_input,
            IOType.ITERATOR_INPUT,
            IOProducer(task_name=task_key, iteration=index),
            (artifact,),
            (1,),
        )
        for index, artifact in enumerate(source.artifacts)
    ]


def _items_of(value: Value) -> list[JsonValue]:
    """A list is its items; a string is parsed as JSON text of a list."""
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except InvalidValueError as error:
            raise ResolutionError(f"value of type string cannot be iterated: {error}") from error
    if not isinstance(value, list):
        raise ResolutionError(
            f"value of type {kind_of(None if value is UNSET else value)} cannot be iterated"
        )
    return value
