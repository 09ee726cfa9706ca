"""Two versions next to each other work on one PostgreSQL database, whose schema is the newer's.

So a revision only adds: columns at the end that may be left out, tables, indexes. What no version
uses any more is taken away by a later one. (A file of SQLite has one process: there the versions
never meet.)
"""

import asyncio
import io
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from service.store import revisions
from service.store.migrations import versions
from service.store.postgres import migrating as server_migrating
from service.store.postgres.connections import Address
from service.store.sqlite import migrating as file_migrating
from tests.support import postgres, templates
from tests.support.postgres import Databases

TOP = Path(__file__).parents[2]
VERSIONS = Path(versions.__path__[0])
REVISIONS = sorted(file.stem.partition("_")[0] for file in VERSIONS.glob("[0-9]*.py"))
#: What two versions do side by side: accept, claim, settle, replay, sweep, forget, in any order.
SUITE = ("test_machine.py", "test_sweeping.py", "test_feed.py")
#: With more effort, all that the version before showed of its store.
EFFORT = float(os.environ.get("TEST_EFFORT", "1"))


# --- the rule


@dataclass(frozen=True, slots=True)
class Shape:
    """What statements rely on in a table."""

    #: (name, type, whether it may be NULL, default).
    columns: tuple[tuple[str, str, bool, str | None], ...]
    #: Names of columns that are unique together, and for which rows; of a table in parts, within
    #: each of them.
    unique: frozenset[tuple[tuple[str, ...], str]]


Schema = dict[str, Shape]
PARTS = (
    "SELECT inhparent::regclass::text, inhrelid::regclass::text FROM pg_inherits "
    "JOIN pg_class ON oid = inhparent WHERE relkind = 'p'"
)


def schema_of(connection: Connection) -> Schema:
    looked = inspect(connection)
    names = set(looked.get_table_names()) - {"alembic_version"}
    shapes = {name: shape_of(looked, name) for name in names}
    for name, parts in parts_of(connection).items():
        common = frozenset.intersection(*(shapes[part].unique for part in parts))
        shapes[name] = replace(shapes[name], unique=shapes[name].unique | common)
    return shapes


def parts_of(connection: Connection) -> dict[str, list[str]]:
    """The parts of each table that has some."""
    if connection.dialect.name != "postgresql":
        return {}
    found: dict[str, list[str]] = {}
    for whole, part in connection.execute(text(PARTS)):
        found.setdefault(whole, []).append(part)
    return found


def shape_of(looked: Any, table: str) -> Shape:  # noqa: ANN401  SQLAlchemy's own, which differs by database
    columns = tuple(
        (each["name"], str(each["type"]), each["nullable"], each["default"])
        for each in looked.get_columns(table)
    )
    key = (tuple(looked.get_pk_constraint(table)["constrained_columns"]), "")
    constraints = {(tuple(c["column_names"]), "") for c in looked.get_unique_constraints(table)}
    indexes = {
        (tuple(each["column_names"]), _where(each))
        for each in looked.get_indexes(table)
        if each["unique"]
    }
    return Shape(columns, frozenset({key} | constraints | indexes))


def _where(index: Any) -> str:  # noqa: ANN401  as above
    options = index.get("dialect_options", {})
    return next((str(value) for name, value in options.items() if name.endswith("_where")), "")


def faults(before: Schema, after: Schema) -> list[str]:
    """What the version before could not work with."""
    gone = [f"{name} is gone" for name in before.keys() - after.keys()]
    both = sorted(before.keys() & after.keys())
    return gone + [fault for name in both for fault in _faults(name, before[name], after[name])]


def _faults(name: str, before: Shape, after: Shape) -> list[str]:
    count = len(before.columns)
    known = {column[0] for column in before.columns}
    return [
        *(
            f"{name}: {old} has become {new}"
            for old, new in zip(before.columns, after.columns[:count], strict=False)
            if old != new
        ),
        *(f"{name}: {old} is gone" for old in before.columns[len(after.columns) :]),
        *(
            f"{name}: {column} must be given"
            for column, _, may_be_null, default in after.columns[count:]
            if not may_be_null and default is None
        ),
        *(f"{name}: {columns} is not unique any more" for columns in before.unique - after.unique),
        *(
            f"{name}: {columns} has become unique"
            for columns in after.unique - before.unique
            if known.issuperset(columns[0])
        ),
    ]


def files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Schema]:
    """The schema of SQLite after each revision."""
    path, found = folder / "ringback.db", []
    for revision in REVISIONS:
        monkeypatch.setattr(file_migrating, "head", lambda revision=revision: revision)
        file_migrating.migrate(path)
        engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
        with engine.connect() as connection:
            found.append(schema_of(connection))
    return found


async def servers(url: str, monkeypatch: pytest.MonkeyPatch) -> list[Schema]:
    """The schema of PostgreSQL after each revision."""
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=Address.of(url).connect, poolclass=NullPool
    )
    found = []
    for revision in REVISIONS:
        monkeypatch.setattr(server_migrating, "head", lambda revision=revision: revision)
        await server_migrating.migrate(url)
        async with engine.connect() as connection:
            found.append(await connection.run_sync(schema_of))
    await engine.dispose()
    return found


def test_a_revision_takes_nothing_away_from_the_version_before(
    tmp_path: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    with databases.database(migrated=False) as url:
        both = (files(tmp_path, monkeypatch), asyncio.run(servers(url, monkeypatch)))

    for schemas in both:
        assert len(schemas) == len(REVISIONS)
        for revision, (before, after) in zip(REVISIONS[1:], pairwise(schemas), strict=True):
            assert faults(before, after) == [], revision


def test_what_would_break_the_version_before_is_found() -> None:
    kept = ("id", "TEXT", False, None)
    key = (("id",), "")
    before = {
        "t": Shape((kept, ("n", "TEXT", True, None)), frozenset({key})),
        "u": Shape((), frozenset()),
    }
    after = {
        "t": Shape(
            (kept, ("m", "TEXT", True, None), ("must", "TEXT", False, None)),
            frozenset({(("id", "n"), "")}),
        )
    }

    assert faults(before, before) == []
    assert faults(before, after) == [
        "u is gone",
        "t: ('n', 'TEXT', True, None) has become ('m', 'TEXT', True, None)",
        "t: must must be given",
        "t: (('id',), '') is not unique any more",
        "t: (('id', 'n'), '') has become unique",
    ]
    assert faults(after, {"t": Shape((kept,), after["t"].unique)}) == [
        "t: ('m', 'TEXT', True, None) is gone",
        "t: ('must', 'TEXT', False, None) is gone",
    ]


# --- the version before, at work


def git(*words: str) -> bytes:
    """What git says of this copy of the project; nothing where it is no copy of git's."""
    done = subprocess.run(["git", *words], cwd=TOP, capture_output=True, check=False)
    return done.stdout


def version_before() -> str:
    """The commit before the one that added the newest revision.

    Skips where the history does not reach back to it: an exported or a shallow copy has none.
    """
    (newest,) = VERSIONS.glob(f"{revisions.head()}_*.py")
    if Path(git("rev-parse", "--show-toplevel").decode().strip()) != TOP:
        pytest.skip("this is no clone: the code of the version before is not here")
    name = str(newest.relative_to(TOP))
    if not git("ls-tree", "HEAD", name):
        return "HEAD"  # the revision is not committed yet
    added = git("log", "-1", "--diff-filter=A", "--format=%H", "--", name).decode().strip()
    before = f"{added}^"
    if not git("rev-parse", "--verify", "--quiet", before):
        pytest.skip("this clone is shallow: the code of the version before is not in it")
    if not git("ls-tree", before, str(Path(templates.__file__).relative_to(TOP))):
        pytest.skip("the tests of the version before always make a schema of their own")
    return before


def unpack(commit: str, folder: Path) -> None:
    packed = git("archive", "--format=tar", commit, "service", "tests", "pyproject.toml")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


@pytest.mark.timeout(400 + 600 * EFFORT)
def test_the_version_before_works_with_the_newest_schema(
    tmp_path: Path, databases: Databases
) -> None:
    unpack(version_before(), tmp_path)
    suite = (f"tests/store/{name}" for name in SUITE) if EFFORT <= 1 else ("tests/store",)
    # what was asked of us is not for it: a part of the tests, in so many processes
    rest = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    own = {
        postgres.ENVIRONMENT: databases.url_of("postgres"),
        templates.POSTGRES: databases.template,
        "PYTHONPATH": str(tmp_path),
    }

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *suite, "-k", "postgres and not migrat"],
        cwd=tmp_path,
        env=rest | own,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
