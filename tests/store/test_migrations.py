"""The migrated schema is the one the code works with, and a migration is all or nothing."""

import os
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from service.ports import StoreUnavailableError
from service.store import revisions
from service.store.migrations import upgrading
from service.store.schema import metadata
from service.store.sqlite import filelock, migrating

Objects = dict[tuple[str, str], str]


def tables(path: Path) -> dict[str, object]:
    """Every table: whether it has row ids, and its columns in order."""
    with closing(sqlite3.connect(path)) as file:
        listed = file.execute("SELECT name, wr FROM pragma_table_list WHERE schema = 'main'")
        return {
            name: (wr, file.execute(f'PRAGMA table_xinfo("{name}")').fetchall())
            for name, wr in listed.fetchall()
            if name != "alembic_version"
        }


def indexes(path: Path) -> Objects:
    return {key: sql for key, sql in objects(path).items() if key[0] == "index"}


def objects(path: Path) -> Objects:
    """Every table and index with the statement that made it, white space and quotes aside."""
    with closing(sqlite3.connect(path)) as file:
        rows = file.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        found = {(kind, name): re.sub(r'[\s"]+', " ", sql) for kind, name, sql in rows}
    found.pop(("table", "alembic_version"), None)
    return found


def test_the_migrated_schema_is_the_one_the_code_works_with(tmp_path: Path) -> None:
    migrated, made = tmp_path / "migrated.db", tmp_path / "made.db"
    migrating.migrate(migrated)
    engine = create_engine(f"sqlite:///{made}", poolclass=NullPool)
    metadata.create_all(engine)

    # added columns stand at a table's end, so the statements that made it differ in their text
    assert tables(migrated) == tables(made)
    assert indexes(migrated) == indexes(made)
    engine = create_engine(f"sqlite:///{migrated}", poolclass=NullPool)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_head_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", "service.store:migrations")

    assert ScriptDirectory.from_config(config).get_heads() == [revisions.head()]


def test_a_new_file_gets_the_schema_the_default_tenant_and_a_private_mode(tmp_path: Path) -> None:
    path = tmp_path / "data" / "odd %name?.db"

    assert migrating.revision(path) is None
    assert migrating.migrate(path) == revisions.head() == migrating.revision(path)

    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT id FROM tenants").fetchall() == [("default",)]
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_migrating_again_changes_nothing_and_imports_no_alembic(path: Path) -> None:
    before = path.read_bytes()
    program = (
        "import sys; from pathlib import Path\n"
        "from service.store.sqlite.migrating import migrate\n"
        "migrate(Path(sys.argv[1])); sys.exit('alembic' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)

    assert path.read_bytes() == before


def failure(_connection: Connection) -> None:
    raise RuntimeError("at the last moment")


def refused_statement(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT * FROM nowhere")


@pytest.mark.parametrize(
    ("last", "error", "said"),
    [
        (failure, RuntimeError, "at the last moment"),
        (refused_statement, StoreUnavailableError, "is as it was: no such table: nowhere"),
    ],
)
def test_a_failing_migration_leaves_the_database_as_it_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    last: Callable[[Connection], None],
    error: type[Exception],
    said: str,
) -> None:
    path = tmp_path / "ringback.db"
    run = upgrading._run  # noqa: SLF001  the real one, up to its end

    def fail(connection: Connection, wanted: str) -> None:
        run(connection, wanted)
        last(connection)

    monkeypatch.setattr(upgrading, "_run", fail)
    with pytest.raises(error, match=said):
        migrating.migrate(path)
    assert objects(path) == {}

    monkeypatch.undo()
    assert migrating.migrate(path) == revisions.head()


def test_what_an_earlier_version_kept_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ringback.db"
    monkeypatch.setattr(migrating, "head", lambda: "0001")
    assert migrating.migrate(path) == "0001"
    with closing(sqlite3.connect(path)) as file:
        file.executemany(
            "INSERT INTO subscriptions (no, id, tenant_id, url, event_types, operation_types, "
            "header_names, payload, status, hold_until, created_at, updated_at, version, "
            "operation_id, deleted_at) "
            "VALUES (?, ?, 'default', '', '', '', '', '', '', 0, 0, 0, 1, ?, ?)",
            [(1, "a", "op", None), (2, "b", "op", None), (3, "c", "op", 5), (4, "d", None, None)],
        )
        file.commit()
    monkeypatch.undo()

    assert migrating.migrate(path) == revisions.head()

    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT bound_subscriptions FROM tenants").fetchall() == [(2,)]


def test_a_database_of_a_later_version_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("UPDATE alembic_version SET version_num = '9999'")
        file.commit()

    with pytest.raises(StoreUnavailableError, match=r"another version of Ringback \(9999\)"):
        migrating.migrate(path)


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE notes (text)")

    with pytest.raises(StoreUnavailableError, match="another program"):
        migrating.migrate(path)
    assert list(objects(path)) == [("table", "notes")]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary, " * 100)

    with pytest.raises(StoreUnavailableError, match="not a database"):
        migrating.migrate(path)


def test_a_file_that_another_process_holds_is_not_migrated(tmp_path: Path) -> None:
    path = tmp_path / "ringback.db"
    handle = filelock.hold(path)
    with pytest.raises(StoreUnavailableError, match="Another Ringback process"):
        migrating.migrate(path)
    os.close(handle)
    assert not path.exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailableError, match="cannot be opened"):
        migrating.migrate(tmp_path / "file" / "ringback.db")
