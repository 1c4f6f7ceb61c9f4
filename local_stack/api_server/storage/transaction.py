"""What a service function works with: a connection inside a transaction, the time, and the rules."""

from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import Connection

from local_stack.api_server.authorization import ANYBODY, Caller
from local_stack.api_server.config import ServerConfig


@dataclass(frozen=True)
class Transaction:
    """One unit of work: everything in it happens, or nothing does."""

    connection: Connection
    config: ServerConfig
    now: int
    """Unix seconds; the same for all that is written in this transaction."""

    caller: Caller = ANYBODY
    """Who asks for it."""

    @property
    def multi_user(self) -> bool:
        """Whether namespaces separate tenants; without that mode all are blank."""
        return self.config.multi_user is not None

    def stored_namespace(self, given: str) -> str:
        """The namespace to store or to search by."""
        return given if self.multi_user else ""


def new_id() -> str:
    """A fresh UUIDv4 in its usual text form."""
    return str(uuid4())
