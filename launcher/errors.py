"""What can go wrong in the launcher, and with which exit status it ends (spec LAUNCHER A2, A16)."""


class LauncherError(Exception):
    """The task failed, or could not be started; the text becomes the task's message."""

    exit_status = 1


class FlagError(LauncherError):
    """The command line is wrong: unknown flag or unreadable value."""

    exit_status = 2


class HelpRequestedError(LauncherError):
    """The user asked for help, which is the text."""

    exit_status = 0


class TerminatedError(LauncherError):
    """The launcher was told to stop."""

    exit_status = 143

    def __init__(self, signal_name: str) -> None:
        super().__init__(f"terminated by signal {signal_name}")


class UserCommandError(LauncherError):
    """The user's command ended with a non-zero status or was killed."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.user_status = status
