"""What can go wrong when the KFP API is asked, and the one place that maps HTTP answers to it.

``str(error)`` is what a user may read: it names the call and the server's external text, never a
credential and never the server's internal chain (spec KFP_API 1.8). ``retryable`` says whether the same
call may succeed later; ``may_have_been_processed`` whether the server could have acted on it.
"""

from http import HTTPStatus
from typing import ClassVar, Final

from kfp_api.shortening import beginning

_TEXT_LIMIT: Final = 500
_FAILED_PRECONDITION: Final = 9
_CLIENT_CLOSED_REQUEST: Final = 499
_UNAVAILABLE_STATUSES: Final = frozenset({429, _CLIENT_CLOSED_REQUEST, 502, 503, 504})


class KfpApiError(Exception):
    """Base of all failures of KFP API calls.

    Attributes:
        status: HTTP status, ``None`` where no answer arrived.
        code: ``google.rpc.Status`` code of the answer, ``None`` where the body had none.
        server_message: the server's external text, ``""`` where there was none.
        method: HTTP method of the call.
        path: URL path of the call.
        may_have_been_processed: ``False`` where the server certainly did nothing.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: int | None = None,
        server_message: str = "",
        method: str = "",
        path: str = "",
        may_have_been_processed: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.server_message = server_message
        self.method = method
        self.path = path
        self.may_have_been_processed = may_have_been_processed


class ApiUnavailableError(KfpApiError):
    """No answer, or one that says "later": connection errors, time-outs, 429, 499, 502, 503, 504.

    Attributes:
        retry_after_seconds: what the server asked for, ``None`` where it did not.
    """

    retryable: ClassVar[bool] = True
    retry_after_seconds: float | None = None


class ApiCredentialError(KfpApiError):
    """The credential was refused: 401 after one refresh, or 403."""


class ApiNotFoundError(KfpApiError):
    """404: the run, task, artifact or version does not exist."""


class ApiConflictError(KfpApiError):
    """409: the thing exists already, or its state does not allow the call."""


class ApiRequestError(KfpApiError):
    """The request itself is wrong: other 4xx, 501, a redirect, or refused before it was sent."""


class RunIsTerminalError(ApiRequestError):
    """The run has ended; its tasks are immutable. Never repeat such a call (spec KFP_API 6.6)."""


class ApiServerError(KfpApiError):
    """500, or an answer that is not the JSON that the call promises."""


def error_from_answer(
    *, operation: str, method: str, path: str, status: int, document: object, text: str
) -> KfpApiError:
    """The error for an answer whose status is not 2xx.

    Args:
        operation: RPC name for the user's text, such as ``GetTask``.
        method: HTTP method.
        path: URL path.
        status: HTTP status of the answer.
        document: decoded JSON body, ``None`` where it was not JSON.
        text: further explanation by the caller, put in front of the server's; may be ``""``.
    """
    code, server_message = _status_document(document)
    kind = _kind(status, code, server_message)
    detail = ": ".join(part for part in (text, server_message or _reason(status)) if part)
    return kind(
        f"KFP API {operation} failed: {detail} (HTTP {status})",
        status=status,
        code=code,
        server_message=server_message,
        method=method,
        path=path,
        may_have_been_processed=status in {_CLIENT_CLOSED_REQUEST, 409, 500, 502, 503, 504},
    )


def _kind(status: int, code: int | None, server_message: str) -> type[KfpApiError]:
    if status in _UNAVAILABLE_STATUSES:
        return ApiUnavailableError
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return ApiCredentialError
    if status == HTTPStatus.NOT_FOUND:
        return ApiNotFoundError
    if status == HTTPStatus.CONFLICT:
        return ApiConflictError
    if status == HTTPStatus.BAD_REQUEST and code == _FAILED_PRECONDITION:
        return RunIsTerminalError if "terminal state" in server_message else ApiRequestError
    if status < HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.NOT_IMPLEMENTED:
        return ApiRequestError
    return ApiServerError


def _status_document(document: object) -> tuple[int | None, str]:
    """Code and external text: ``details[0].message`` where there is one, else ``message``."""
    if not isinstance(document, dict):
        return None, ""
    code = document.get("code")
    message = document.get("message", document.get("error_message"))
    details = document.get("details")
    if isinstance(details, list) and details and isinstance(details[0], dict):
        message = details[0].get("message") or message
    text = message if isinstance(message, str) else ""
    return (code if isinstance(code, int) else None), beginning(text, _TEXT_LIMIT)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unexpected status"
