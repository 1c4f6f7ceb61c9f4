"""Opens the SQLite file and runs transactions off the event loop.

Promises: one writer connection on its own thread, so that writes never wait for each other's locks;
a few readers, each transaction a consistent snapshot (WAL); every write transaction starts with
``BEGIN IMMEDIATE``, commits before its result is returned, and leaves nothing behind when it raises.
A commit survives the death of the process and a loss of power (``synchronous=FULL``): the local runner's
journal counts on rows that were there when it wrote its lines.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, insert
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from local_stack.api_server.errors import ApiError, UnavailableError
from local_stack.api_server.storage.schema import SCHEMA_VERSION, alembic_version, metadata, run_details

READERS: Final = 4
BUSY_TIMEOUT_SECONDS: Final = 10.0

T = TypeVar("T")


class DatabaseError(Exception):
    """The database cannot be used; the text is one line for the user."""

    exit_code = 2


def path_of_url(url: str) -> Path:
    """The file that ``sqlite:///relative.db`` or ``sqlite:////absolute.db`` names.

    Raises:
        DatabaseError: another kind of database, or no file.
    """
    prefix = "sqlite:///"
    name = url.removeprefix(prefix)
    if not url.startswith(prefix) or not name or name == ":memory:" or "?" in name:
        raise DatabaseError(
            f"unsupported database URL {_without_password(url)!r}: it must be sqlite:///PATH, a file"
        )
    return Path(name)


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}***@{rest.rpartition('@')[2]}" if "@" in rest else url


class Database:
    """One SQLite file, open for one writer and several readers."""

    def __init__(self, path: Path) -> None:
        """Open or create the database at ``path``.

        Raises:
            DatabaseError: missing directory, no permission, not SQLite, or written by a newer version.
        """
        self._path = path
        existed = path.exists()
        if existed:
            _look_before_opening(path)
        self._writer = _engine(path, begin="BEGIN IMMEDIATE", connections=1)
        self._readers = _engine(path, begin="BEGIN", connections=READERS)
        try:
            self._prepare()
        except DBAPIError as error:
            self._dispose()
            if not existed:
                path.unlink(missing_ok=True)
            raise DatabaseError(f"cannot use database {str(path)!r}: {error.orig}") from error
        except DatabaseError:
            self._dispose()
            raise
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="db-write")
        self._read_threads = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")

    def _prepare(self) -> None:
        """Create the tables, or bring those of an older version up to date, in one transaction."""
        with self._writer.begin() as connection:
            version = _version(self._path, lambda query: connection.exec_driver_sql(query).scalar_one())
            if version == SCHEMA_VERSION:
                return
            if version == 0:
                metadata.create_all(connection)
                connection.execute(insert(alembic_version).values(version_num=str(SCHEMA_VERSION)))
            else:
                # A second of imports that a start without migration does not need.
                from local_stack.api_server.storage.migrations import migrate  # noqa: PLC0415

                migrate(connection, from_version=version)
            connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a write transaction and return its result after the commit.

        Raises:
            UnavailableError: another process holds the database for too long, or the disk is full.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._write_thread, _transaction, self._writer, work
        )

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a read-only transaction: all its queries see one state of the database.

        Raises:
            UnavailableError: the database stayed locked for too long.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._read_threads, _transaction, self._readers, work
        )

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """Like :meth:`write`, on the calling thread: for start-up, before the event loop serves."""
        return _transaction(self._writer, work)

    def close(self) -> None:
        """Finish what was accepted, then close the file; its side files go with the last connection."""
        self._read_threads.shutdown()
        self._write_thread.shutdown()
        self._dispose()

    def _dispose(self) -> None:
        self._readers.dispose()
        self._writer.dispose()


def _version(path: Path, scalar: Callable[[str], Any]) -> int:
    """The schema version of a database, 0 of an empty one; ``scalar`` answers a query with one value.

    Raises:
        DatabaseError: written by a newer version, or by another program.
    """
    version: int = scalar("PRAGMA user_version")
    if version > SCHEMA_VERSION:
        raise DatabaseError(
            f"database {str(path)!r} has schema version {version}, "
            f"newer than {SCHEMA_VERSION}, the newest this program knows"
        )
    tables = "SELECT count(*) FROM sqlite_schema"
    if scalar(tables) and not (version and scalar(f"{tables} WHERE name = '{run_details.name}'")):
        raise DatabaseError(f"{str(path)!r} is the SQLite database of another program")
    return version


def _look_before_opening(path: Path) -> None:
    """Refuse a file that is not ours while nothing of it is changed: opening it switches it to WAL."""
    try:
        with closing(_connect(path)) as connection:
            _version(path, lambda query: connection.execute(query).fetchone()[0])
    except sqlite3.Error as error:
        raise DatabaseError(f"cannot use database {str(path)!r}: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    # The name travels as an SQLite URI, in which only a quoted name cannot turn into options.
    return sqlite3.connect(
        f"file:{quote(str(path))}",
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    try:
        with engine.connect() as connection, connection.begin() as transaction:
            try:
                return work(connection)
            except ApiError as error:
                if error.keeps_writes:
                    transaction.commit()
                raise
    except OperationalError as error:
        code = getattr(error.orig, "sqlite_errorcode", None)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise UnavailableError("the database is busy") from error
        if code == sqlite3.SQLITE_FULL:
            raise UnavailableError("the database cannot grow: the disk is full") from error
        raise


def _engine(path: Path, *, begin: str, connections: int) -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(path),
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        if begin == "BEGIN":
            connection.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
