"""What a handler may answer instead of a result: one class per ``google.rpc`` code (spec KFP_API 1.8).

The text of an error is what a user may read. It never holds SQL, paths or stack traces.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

HTTP_STATUS: Final[Mapping[int, int]] = {
    1: 499,
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}
"""HTTP status of each ``google.rpc`` code."""

_STATUS_TYPE: Final = "type.googleapis.com/google.rpc.Status"


class ApiError(Exception):
    """Base of all refusals; ``code`` is the ``google.rpc`` code, ``kind`` its name in error chains."""

    code: ClassVar[int]
    kind: ClassVar[str]
    front_end: ClassVar[bool] = False
    """Raised before a handler ran: such answers carry no ``details``."""

    keeps_writes = False
    """Commit what the transaction wrote before the failure, instead of rolling it back."""

    http_status: ClassVar[int]
    """The HTTP status that goes with :attr:`code`, unless a class says otherwise."""

    def __init_subclass__(cls) -> None:
        if "http_status" not in vars(cls):
            cls.http_status = HTTP_STATUS[cls.code]

    def body(self, operation: str) -> dict[str, Any]:
        """The ``google.rpc.Status`` answer; ``operation`` ("create task") starts the chain."""
        text = str(self)
        if self.front_end:
            return {"code": self.code, "message": text}
        return {
            "code": self.code,
            "message": f"Failed to {operation}: {self.kind}: {text}",
            "details": [{"@type": _STATUS_TYPE, "code": self.code, "message": text}],
        }


class DecodeError(ApiError):
    """The body, path or query cannot be read as the request it should be."""

    code = 3
    kind = "DecodeError"
    front_end = True


class TooLargeError(ApiError):
    """The body is larger than this server reads."""

    code = 3
    kind = "InvalidInputError"
    http_status = 413


class InvalidInputError(ApiError):
    """The request is well-formed and wrong."""

    code = 3
    kind = "InvalidInputError"


class ResourceNotFoundError(ApiError):
    """What the request names does not exist."""

    code = 5
    kind = "ResourceNotFoundError"


class AlreadyExistsError(ApiError):
    """A unique name or key is taken."""

    code = 6
    kind = "AlreadyExistError"


class PermissionDeniedError(ApiError):
    """The caller is known and may not do this."""

    code = 7
    kind = "PermissionDeniedError"


class FailedPreconditionError(ApiError):
    """The resource is in a state that forbids the request."""

    code = 9
    kind = "FailedPreconditionError"


class BadRequestError(ApiError):
    """KFP's "bad request" class, which its gateway answers with 409."""

    code = 10
    kind = "BadRequestError"


class InternalError(ApiError):
    """What KFP's own server reports as a failure of its own; only with ``strict_upstream``."""

    code = 13
    kind = "InternalServerError"


class UnavailableError(ApiError):
    """The database is busy; the same request may succeed later."""

    code = 14
    kind = "UnavailableError"


class UnauthenticatedError(ApiError):
    """No bearer token, or a wrong one."""

    code = 16
    kind = "UnauthenticatedError"
