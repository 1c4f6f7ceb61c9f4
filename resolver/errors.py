"""What can go wrong while inputs are resolved: mistakes of the pipeline or its data, never of the network.

The texts are part of the contract as substrings (spec RESOLVER 13): they end up on the failed task row and
in the node's message. Errors of the row source (the KFP API) pass through the resolver unchanged.
"""

from typing import Self


class ResolutionError(ValueError):
    """An input cannot be resolved; the text is for the pipeline's author, and a retry does not help."""

    def within(self, prefix: str) -> Self:
        """The same kind of error with ``prefix`` before its text; raise it ``from`` this one."""
        return type(self)(f"{prefix}{self}")


class NullInputError(ResolutionError):
    """The value is null or absent where one is needed; callers with optional settings skip on it."""

    def __init__(self, message: str = "the resolved input is null") -> None:
        super().__init__(message)


class ExpressionError(ResolutionError):
    """An expression does not compile, fails, or does not yield what is needed."""
