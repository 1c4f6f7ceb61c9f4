"""From decoded JSON answers to messages; an answer of the wrong shape is the server's failure."""

from typing import Any, TypeVar

from pydantic import ValidationError

from kfp_api.errors import ApiServerError
from kfp_api.wire import WireMessage

_Message = TypeVar("_Message", bound=WireMessage)


def parse(message: type[_Message], document: object) -> _Message:
    """The message in ``document``; an :class:`ApiServerError` names the first bad field."""
    try:
        return message.from_wire(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ApiServerError(
            f"KFP API answered a {message.__name__} that cannot be read: {where}: {first['msg']}",
            may_have_been_processed=True,
        ) from error


def object_of(document: object) -> dict[str, Any]:
    """``document`` as a JSON object."""
    if not isinstance(document, dict):
        raise ApiServerError("KFP API answered JSON that is not an object", may_have_been_processed=True)
    return document


def list_of(document: object) -> list[Any]:
    """``document`` as a JSON list."""
    if not isinstance(document, list):
        raise ApiServerError("KFP API answered JSON that is not a list", may_have_been_processed=True)
    return document
