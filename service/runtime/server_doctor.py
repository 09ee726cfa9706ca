"""What the doctor makes of a PostgreSQL server and of those who work with it."""

from collections.abc import Iterator
from typing import Final

from service.runtime.findings import Finding, Level
from service.settings import ROLES
from service.store.checkup import Server

#: The oldest that has what the statements use (``pg_current_xact_id``).
_OLDEST: Final = 13
#: What is missing while no process has a role.
_WITHOUT: Final = {
    "api": "nobody can post or read events",
    "sweeper": "what crashed workers had in flight waits for ever, and nothing old is deleted",
    "worker": "nothing is delivered",
}


def of_server(server: Server, name: str) -> Iterator[Finding]:
    """What there is to say of it; ``name`` is the database's."""
    yield _version(server)
    yield _connections(server)
    if server.is_standby:
        yield _standby(name)
    if server.denied:
        yield _denied(server)
    if server.may_part is not None:
        yield _parts(server)
    if server.overdue is not None:
        yield _overdue(server.overdue)
    if server.refusing is not None:
        yield _refusing(server.refusing)
    yield from _roles(server)
    yield _disk(server, name)


def _version(server: Server) -> Finding:
    found = f"PostgreSQL {server.version // 10_000}"
    if server.version // 10_000 >= _OLDEST:
        return Finding("database", Level.OK, found)
    return Finding("database", Level.FAULT, found, f"Use PostgreSQL {_OLDEST} or newer.")


def _connections(server: Server) -> Finding:
    wanted = server.each * server.processes
    found = (
        f"{server.used} of {server.most} connections are in use; {server.processes} processes "
        f"open up to {server.each} each"
    )
    if server.most - server.used >= server.each and wanted <= server.most:
        return Finding("connections", Level.OK, found)
    level = Level.FAULT if server.used >= server.most else Level.WARNING
    remedy = (
        "Raise max_connections (or the limit of the database or its user), or put PgBouncer "
        "before it, with pgbouncer=true in RINGBACK_DATABASE_URL: who gets no connection answers "
        "503."
    )
    return Finding("connections", level, found, remedy)


def _standby(name: str) -> Finding:
    remedy = (
        "Name its primary in RINGBACK_DATABASE_URL, or promote it: until then nothing is taken and "
        "nothing is delivered."
    )
    return Finding("database", Level.FAULT, f"{name} is a standby, which takes no change", remedy)


def _denied(server: Server) -> Finding:
    first, *others = server.denied
    found = f"{server.user} may not work with {first}"
    if others:
        found += f" and {len(others)} other tables and sequences"
    remedy = (
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES and USAGE ON ALL SEQUENCES of the "
        "schema to it, and again after each migration; or let it own them."
    )
    return Finding("database", Level.FAULT, found, remedy)


def _parts(server: Server) -> Finding:
    if server.may_part:
        return Finding("database", Level.OK, f"{server.user} may make and drop the parts of tables")
    remedy = (
        "Let the sweeper's user own the tables and create some in their schema (ALTER TABLE ... "
        "OWNER TO, GRANT CREATE ON SCHEMA): else what is old is deleted row by row."
    )
    found = f"{server.user} may not make or drop the parts of tables"
    return Finding("database", Level.WARNING, found, remedy)


def _overdue(part: str) -> Finding:
    found = f"{part} is still there, though all of it was forgotten more than a day ago"
    remedy = (
        f"Let a sweeper run whose user owns it (ALTER TABLE {part} OWNER TO ...), and end "
        "transactions that stay open (pg_stat_activity): while somebody reads a table no part of "
        "it is dropped. The sweeper drops it within minutes then; where there are dead letters of "
        "its time it copies their attempts first, some thousand a second."
    )
    return Finding("database", Level.WARNING, found, remedy)


def _refusing(constraint: str) -> Finding:
    found = f"{constraint} refuses what is of today: no sweeper has finished today's part"
    remedy = (
        "Start a sweeper (`ringback serve --roles sweeper`) whose user owns the tables: it takes "
        "that away within a minute. Until then producers get 503, and nothing accepted is lost."
    )
    return Finding("database", Level.FAULT, found, remedy)


def _roles(server: Server) -> Iterator[Finding]:
    if server.roles is None:
        found = "which processes run is not to be seen through a pooler"
        yield Finding("processes", Level.OK, found)
        return
    if not server.roles:
        yield Finding("processes", Level.OK, "none works with the database now")
        return
    missing = sorted(ROLES - server.roles)
    for role in missing:
        found = f"no process with the role {role} works with the database: {_WITHOUT[role]}"
        yield Finding("processes", Level.FAULT, found, f"Start `ringback serve --roles {role}`.")
    if not missing:
        yield Finding("processes", Level.OK, "there are some of every role")


def _disk(server: Server, name: str) -> Finding:
    found = (
        f"{name} takes {server.size / 2**30:.1f} GiB; what is free on its server's disk is not to "
        "be seen from here"
    )
    remedy = "Watch it there: while it is full producers get 503, and nothing accepted is lost."
    return Finding("disk", Level.OK, found, remedy)
