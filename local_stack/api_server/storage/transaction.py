"""What a service function works with: a connection inside a transaction, the time, and the rules."""

from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import Connection

from local_stack.api_server.config import ServerConfig


@dataclass(frozen=True)
class Transaction:
    """One unit of work: everything in it happens, or nothing does."""

    connection: Connection
    config: ServerConfig
    now: int
    """Unix seconds; the same for all that is written in this transaction."""


def new_id() -> str:
    """A fresh UUIDv4 in its usual text form."""
    return str(uuid4())
