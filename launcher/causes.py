"""Why something could not be read: in one line, and without the values in it, which may be secrets."""

from pydantic import ValidationError


def cause_of(error: Exception) -> str:
    """The reason as part of a message."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)
