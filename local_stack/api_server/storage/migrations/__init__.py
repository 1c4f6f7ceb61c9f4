"""Brings a database of an older version up to date, with Alembic.

Revisions are the schema versions: "1", "2" and so on, one module of ``versions`` for each step. A step runs
in the transaction of the caller, so a process that dies in the middle leaves the old database. New databases
are created at the newest version and need no migration; a test compares the two ways.
"""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

_LOCATION = "local_stack.api_server.storage:migrations"


def migrate(connection: Connection, *, from_version: int) -> None:
    """Apply every step after ``from_version``, inside the connection's transaction."""
    config = Config()
    config.set_main_option("script_location", _LOCATION)
    config.attributes["connection"] = connection
    # Version 1 was created before there was anything to migrate, without Alembic's own table.
    if MigrationContext.configure(connection).get_current_revision() is None:
        command.stamp(config, str(from_version))
    command.upgrade(config, "head")
