"""What can go wrong in the compiler, as a user reads it.

Every error's text is one line that names the offending thing. ``exit_code`` makes each of them an
expected failure of the command line: the text is printed, no traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class CompilerError(ValueError):
    """Base of everything that the compiler refuses."""

    exit_code = 2


class PipelineFileError(CompilerError):
    """The pipeline file cannot be read, or is not a KFP v2 pipeline."""


class ParameterError(CompilerError):
    """A pipeline parameter is missing, unknown or of the wrong type."""


class OptionsError(CompilerError):
    """A compiler option, or the variable it is read from, has an unusable value."""


class ProfileError(CompilerError):
    """The plugin profile cannot be read, or says what Argo would refuse."""


class CompileError(CompilerError):
    """The pipeline cannot become a Workflow (spec COMPILER 4, E1 to E26)."""


@contextmanager
def explained(prefix: str) -> Iterator[None]:
    """Prefix the text of a :class:`CompileError` that passes through, to say where it arose."""
    try:
        yield
    except CompileError as error:
        raise CompileError(f"{prefix}: {error}") from error
