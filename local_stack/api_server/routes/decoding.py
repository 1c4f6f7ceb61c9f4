"""Reads requests as KFP's REST gateway does (spec KFP_API 1.2 and 1.6).

Bodies: both spellings of names, unknown fields refused. Query: both spellings, unknown parameters
ignored, a repeated value or a bad number refused.
"""

import asyncio
import re
from typing import Final, TypeVar

import orjson
from aiohttp import web
from pydantic.alias_generators import to_camel

from kfp_api.wire import ValidationError, WireEnum, WireMessage
from local_stack.api_server.errors import DecodeError
from local_stack.api_server.storage.listing import PageRequest

_INLINE_BYTES: Final = 64 * 1024
"""Larger bodies are decoded in a thread, so that they do not hold up other requests."""

_QUOTED_CHARACTERS: Final = 200
"""Longest field path in a message; deeply nested values have paths of many kilobytes."""

_INT32: Final = range(-(2**31), 2**31)
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")

_BOOLEANS: Final = {"": False, "false": False, "0": False, "true": True, "1": True}

M = TypeVar("M", bound=WireMessage)
E = TypeVar("E", bound=WireEnum)


async def read_message(request: web.Request, model: type[M]) -> M:
    """The body as a message; an empty body is an empty message.

    Raises:
        DecodeError: not JSON, an unknown field, or a value the field cannot hold.
    """
    body = await request.read()
    if len(body) <= _INLINE_BYTES:
        return decode_message(body, model)
    return await asyncio.to_thread(decode_message, body, model)


def decode_message(body: bytes, model: type[M]) -> M:
    """The bytes of a body as a message.

    Raises:
        DecodeError: see :func:`read_message`.
    """
    document = decode_json(body) if body.strip() else {}
    if not isinstance(document, dict):
        raise DecodeError("proto: syntax error (line 1:1): unexpected token, expected an object")
    try:
        return model.parse_strict(document)
    except ValidationError as error:
        raise _decode_error(body, error) from error
    except OverflowError as error:
        raise DecodeError("proto: a value is out of range") from error


def decode_json(body: bytes) -> object:
    """The bytes of a body as JSON.

    Raises:
        DecodeError: they are none.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"proto: syntax error (line {error.lineno}:{error.colno}): {error.msg}") from error


def _decode_error(body: bytes, error: ValidationError) -> DecodeError:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        return DecodeError(f'proto: {_position(body, name)}unknown field "{name}"')
    return DecodeError(f"proto: invalid value for field {where[:_QUOTED_CHARACTERS]}: {first['msg']}")


def _position(body: bytes, name: str) -> str:
    """Where the field's name first stands, as "(line 1:2): "; empty where it is spelled with escapes."""
    before, found, _ = body.partition(f'"{name}"'.encode())
    if not found:
        return ""
    lines = before.decode(errors="replace").split("\n")
    return f"(line {len(lines)}:{len(lines[-1]) + 1}): "


class Query:
    """The query parameters of a request, under their snake_case names."""

    def __init__(self, request: web.Request) -> None:
        self._values = request.query

    def texts(self, name: str) -> list[str]:
        """All values of a repeated parameter, in order."""
        spellings = {name, to_camel(name)}
        return [value for key, value in self._values.items() if key in spellings]

    def text(self, name: str) -> str:
        """The value of a parameter; "" when absent.

        Raises:
            DecodeError: given more than once.
        """
        values = self.texts(name)
        if len(values) > 1:
            raise DecodeError(f"too many values for field {name!r}: {len(values)}")
        return values[0] if values else ""

    def integer(self, name: str) -> int:
        """The value of a 32-bit parameter; 0 when absent.

        Raises:
            DecodeError: not an integer.
        """
        if not self.texts(name):
            return 0
        text = self.text(name)
        if not _INTEGER.fullmatch(text) or int(text[:12]) not in _INT32:
            raise DecodeError(f"parsing field {name!r}: invalid integer {text!r}")
        return int(text)

    def boolean(self, name: str) -> bool:
        """The value of a boolean parameter; ``False`` when absent.

        Raises:
            DecodeError: neither true nor false.
        """
        text = self.text(name)
        if text not in _BOOLEANS:
            raise DecodeError(f"parsing field {name!r}: invalid boolean {text!r}")
        return _BOOLEANS[text]

    def enum(self, name: str, enum: type[E], default: E) -> E:
        """The value of an enum parameter, by name or number.

        Raises:
            DecodeError: unknown.
        """
        if not self.texts(name):
            return default
        text = self.text(name)
        try:
            return enum.from_number(int(text)) if _INTEGER.fullmatch(text) else enum[text]
        except (ValueError, KeyError):
            raise DecodeError(f"parsing field {name!r}: {text!r} is not a {enum.__name__}") from None

    def page(self, sort_parameter: str = "sort_by") -> PageRequest:
        """The paging parameters of a list call.

        Raises:
            DecodeError: a bad number, or a parameter given twice.
        """
        return PageRequest(
            page_size=self.integer("page_size"),
            page_token=self.text("page_token"),
            sort=self.text(sort_parameter),
            filter=self.text("filter"),
        )
