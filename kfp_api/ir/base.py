"""Base of the pipeline IR models: camelCase on the wire, snake_case in Python, unknown fields ignored.

Map keys and opaque values (constants, defaults, literals, metadata) are data of the pipeline's author
and are never converted; only field names accept both spellings (spec RESOLVER 1.1).
"""

from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Any, Self, Union, get_args, get_origin

from pydantic import BaseModel

from kfp_api.wire import ProtoModel


class IrModel(ProtoModel):
    """A frozen IR message."""

    @classmethod
    def parse(cls, data: object) -> Self:
        """Read the model from decoded JSON or YAML; ``pydantic.ValidationError`` names every bad field."""
        return cls.model_validate(data)

    def to_json(self) -> dict[str, Any]:
        """The model in camelCase with unset fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def unknown_fields(model: type[BaseModel], data: object, path: str = "") -> list[str]:
    """Dotted paths of the fields in ``data`` that ``model`` does not know, in document order."""
    if not isinstance(data, dict):
        return []
    known = _known_fields(model)
    found: list[str] = []
    for key, value in data.items():
        if key not in known:
            found.append(f"{path}.{key}" if path else str(key))
        elif known[key] is not None:
            found.extend(_unknown_in(known[key], value, f"{path}.{key}" if path else str(key)))
    return found


@cache
def _known_fields(model: type[BaseModel]) -> Mapping[str, Any]:
    """Both spellings of each field with its annotation; ``None`` where no model is inside."""
    known: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        known[name] = known[field.alias or name] = field.annotation if _nests(field.annotation) else None
    return known


def _nests(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(_nests(argument) for argument in get_args(annotation))


def _unknown_in(annotation: Any, value: object, path: str) -> list[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return unknown_fields(annotation, value, path)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        models = [one for one in arguments if isinstance(one, type) and issubclass(one, BaseModel)]
        return unknown_fields(models[0], value, path) if models else []
    if origin is list and isinstance(value, list):
        return [
            field
            for index, item in enumerate(value)
            for field in _unknown_in(arguments[0], item, f"{path}[{index}]")
        ]
    if origin is dict and isinstance(value, dict):
        return [
            field for key, item in value.items() for field in _unknown_in(arguments[1], item, f"{path}.{key}")
        ]
    return []
