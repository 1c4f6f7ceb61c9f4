"""Fixtures of the runner's tests."""

from tests.executor_modes import container_mode, mode, mounting, sandbox_mode

__all__ = ["container_mode", "mode", "mounting", "sandbox_mode"]
