"""Databases of older versions are brought up to date. Oracle: the tables as version 0.1.0 created them (a
frozen file), Alembic's own comparison of a database with its models, SQLite's reading of the file.
"""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from local_stack.api_server.storage.database import Database, DatabaseError
from local_stack.api_server.storage.schema import SCHEMA_VERSION, metadata

VERSION_1 = (Path(__file__).parent / "schema_version_1.sql").read_text()


def old_database(path: Path) -> Path:
    """Version 1, with a run, a task and an experiment in it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)
        connection.execute(
            "INSERT INTO run_details VALUES ('r','old','old','','pipeline-runner','','e','AVAILABLE',"
            "'SUCCEEDED','Succeeded',1,1,2,'[]','{}','{}','','{}',NULL,NULL,NULL,'')"
        )
        connection.execute(
            "INSERT INTO tasks VALUES ('t','','r','[]',1,1,2,'','train','',NULL,2,NULL,'[]','[]','[]',2,"
            "'null',NULL,'root.train',NULL)"
        )
        connection.commit()
    return path


def structure(path: Path) -> dict[str, Any]:
    """Columns, keys and indexes of every table, in SQLite's own words."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        return {
            table: {
                pragma: sorted(
                    map(repr, connection.execute(f"SELECT * FROM pragma_{pragma}(?)", (table,)).fetchall())
                )
                for pragma in ("table_info", "foreign_key_list")
            }
            | {
                "indexes": {
                    (name, unique): connection.execute(
                        "SELECT name, desc FROM pragma_index_xinfo(?) WHERE key", (name,)
                    ).fetchall()
                    for name, unique in connection.execute(
                        "SELECT name, [unique] FROM pragma_index_list(?)", (table,)
                    ).fetchall()
                }
            }
            for table in tables
        }


def scalar(path: Path, query: str) -> Any:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchone()[0]


def test_a_migrated_database_equals_a_new_one_and_keeps_its_rows(tmp_path: Path) -> None:
    old = old_database(tmp_path / "old.db")
    Database(old).close()
    Database(tmp_path / "new.db").close()
    assert structure(old) == structure(tmp_path / "new.db")
    for path in (old, tmp_path / "new.db"):
        assert scalar(path, "PRAGMA user_version") == SCHEMA_VERSION
        assert scalar(path, "SELECT version_num FROM alembic_version") == str(SCHEMA_VERSION)
    assert scalar(old, "SELECT Name FROM tasks WHERE UUID = 't'") == "train"
    assert scalar(old, "SELECT DisplayName FROM run_details") == "old"


def test_alembic_finds_no_difference_between_a_database_and_the_models(tmp_path: Path) -> None:
    Database(old_database(tmp_path / "old.db")).close()
    engine = create_engine(f"sqlite:///{tmp_path / 'old.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_the_newest_migration_is_the_version_of_the_schema() -> None:
    config = Config()
    config.set_main_option("script_location", "local_stack.api_server.storage:migrations")
    steps = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert steps == [str(version) for version in range(SCHEMA_VERSION, 0, -1)]


def test_a_database_of_another_program_with_a_version_of_its_own_is_refused(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "songs.db")) as connection:
        connection.executescript("CREATE TABLE songs (title TEXT); PRAGMA user_version = 1;")
    with pytest.raises(DatabaseError, match="of another program"):
        Database(tmp_path / "songs.db")


def test_a_migration_that_is_killed_leaves_the_old_database(tmp_path: Path) -> None:
    path = old_database(tmp_path / "old.db")
    before = structure(path)
    script = f"""
import os, signal
from pathlib import Path
import local_stack.api_server.storage.migrations as migrations
from local_stack.api_server.storage.database import Database
migrate = migrations.migrate
def killed(connection, *, from_version):
    migrate(connection, from_version=from_version)
    os.kill(os.getpid(), signal.SIGKILL)
migrations.migrate = killed
Database(Path({str(path)!r}))
"""
    done = subprocess.run([sys.executable, "-c", script], env=dict(os.environ), timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert structure(path) == before
    assert scalar(path, "PRAGMA user_version") == 1
    Database(path).close()
    assert scalar(path, "PRAGMA user_version") == SCHEMA_VERSION
