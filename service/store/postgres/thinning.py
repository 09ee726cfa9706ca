"""What is kept of an old part, for open dead letters, comes to lie in a table that takes its place.

The table is filled beforehand, in batches, each of which is committed: nobody waits for that,
however much it is. What others write into the part meanwhile, a trigger of the part writes into the
table too. So there is nothing left to be read when the one takes the place of the other, which is
all that anybody could have to wait for.

How far the copy has come is in the comment on the table. What a crash leaves behind, the next round
goes on with, or takes away when the part is no longer to be thinned. Versions that know nothing of
this pass the table over: it has not yet the name that they give theirs.

Where the part's columns are changed meanwhile the copy can no longer take its place. Whoever writes
is not kept from it by that: the copy stays behind, and is made anew in the next round.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from service.store.database import Tx
from service.store.postgres.excluding import DONE, Part, Parted, Step

#: The end of the names of what takes a part's place; before that it is a copy under way.
KEPT: Final = "_kept"
UNFINISHED: Final = "_keeping"
#: Dead letters whose attempts a batch takes, and attempts, each of which may be of some 20 KiB.
LETTERS: Final = 200
ATTEMPTS: Final = 500
#: Milliseconds that a part may be locked for what takes no time.
_BRIEF: Final = "2000"

_BRIEFLY: Final = f"SELECT set_config('statement_timeout', '{_BRIEF}', true)"
#: After it nobody writes into the part who does not know of the trigger.
_CLOSE: Final = "LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE"
#: In the order in which whoever works with the table has them locked.
SEIZE: Final = "LOCK TABLE ONLY {table}, {name} IN ACCESS EXCLUSIVE MODE"
STORAGE: Final = (
    "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, "
    "autovacuum_analyze_scale_factor = 0.02"
)
#: Like the rest, which has the indexes that all parts together cannot have.
MAKE: Final = "CREATE TABLE {name} (LIKE {table}_rest INCLUDING INDEXES) WITH (" + STORAGE + ")"
#: Like the part itself, whatever somebody made of its columns.
_MAKE_COPY: Final = (
    "CREATE TABLE {name}" + UNFINISHED + " (LIKE {name} INCLUDING INDEXES) WITH (" + STORAGE + ")"
)
ATTACH: Final = "ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})"
_DETACH: Final = "ALTER TABLE {table} DETACH PARTITION {name}"
DROP: Final = "DROP TABLE {name}"
#: Known of the rows before the table is attached: they are not read once more then.
_WITHIN: Final = (
    "ALTER TABLE {name}" + UNFINISHED + " ADD CHECK ({key} >= {low} AND {key} < {high})"
)
_RENAME: Final = "ALTER TABLE {name}" + UNFINISHED + " RENAME TO {name}" + KEPT
#: The columns of a table.
_SHAPE: Final = (
    "SELECT attname, atttypid::bigint, atttypmod, attcollation::bigint, attnotnull "
    "FROM pg_attribute WHERE attrelid = {} AND attnum > 0 AND NOT attisdropped"
)
_PART, _COPY_OF_IT = (_SHAPE.format(oid) for oid in ("TG_RELID", "mirror"))
#: Whoever writes need not have a right to the table. So nothing that he could put in the place of
#: what is meant is looked for by name, and nobody else may make a trigger of it. The columns are
#: named: there may be more of them soon. Where they are others by now the table is of no use: who
#: writes is let go, and a comment says that there is something that the table has not.
_MIRROR: Final = (
    "CREATE FUNCTION {name}_keep() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
    "SET search_path = pg_catalog, pg_temp AS $$ "
    "DECLARE mirror oid := to_regclass({quoted} || '.{name}" + UNFINISHED + "'); BEGIN "
    "IF TG_OP <> 'INSERT' THEN DELETE FROM {schema}.{name}" + UNFINISHED + " WHERE "
    "event_key = OLD.event_key AND subscription_no = OLD.subscription_no "
    "AND number = OLD.number; END IF; "
    "IF TG_OP <> 'DELETE' THEN INSERT INTO {schema}.{name}" + UNFINISHED + " ({columns}) "
    "VALUES ({values}); END IF; RETURN NULL; "
    "EXCEPTION WHEN OTHERS THEN "
    f"IF NOT EXISTS (({_PART} EXCEPT {_COPY_OF_IT}) UNION ALL ({_COPY_OF_IT} EXCEPT {_PART})) "
    "THEN RAISE; END IF; "
    "IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = TG_RELID AND tgname = TG_NAME "
    "AND obj_description(tgfoid, 'pg_proc') IS NOT NULL) THEN "
    "COMMENT ON FUNCTION {schema}.{name}_keep() IS 'behind'; END IF; RETURN NULL; END $$"
)
_OURS: Final = "REVOKE ALL ON FUNCTION {name}_keep() FROM PUBLIC"
_SCHEMA: Final = "SELECT name, quote_literal(name) FROM quote_ident(current_schema()) AS name"
_WATCH: Final = (
    "CREATE TRIGGER keep AFTER INSERT OR UPDATE OR DELETE ON {name} "
    "FOR EACH ROW EXECUTE FUNCTION {name}_keep()"
)
#: Also for whoever has the triggers of a session switched off.
_ALWAYS: Final = "ALTER TABLE {name} ENABLE ALWAYS TRIGGER keep"
#: With the trigger, where the part is still there.
_UNWATCH: Final = "DROP FUNCTION IF EXISTS {name}_keep() CASCADE"
_ABANDON: Final = "DROP TABLE IF EXISTS {name}" + UNFINISHED
_COLUMNS: Final = _SHAPE.format("to_regclass(?::text)") + " ORDER BY attname"
#: A copy without the trigger is not what it should be: whoever took that away, or switched it off
#: for a while, it is made anew. So it is where the trigger let somebody go.
_COPIED: Final = (
    "SELECT obj_description(to_regclass(?::text), 'pg_class') "
    "FROM pg_trigger WHERE tgrelid = to_regclass(?::text) AND tgname = 'keep' "
    "AND tgenabled = 'A' AND obj_description(tgfoid, 'pg_proc') IS NULL"
)
_NOTE: Final = "COMMENT ON TABLE {name}" + UNFINISHED + " IS '{note}'"
_UNDER_WAY: Final = (
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
    r"AND relkind = 'r' AND relname ~ ('^' || ?::text || '_\d{8}" + UNFINISHED + "$')"
)
_LETTERS: Final = (
    "SELECT event_key, subscription_no FROM dead_letters WHERE "
    "(event_key, subscription_no) > (?, ?) AND event_key < ? "
    "ORDER BY event_key, subscription_no LIMIT ?"
)
#: Few of very many, and so by the letters. Locked, so that nobody changes meanwhile what he finds
#: no copy of yet.
_COPY: Final = (
    "WITH found AS (SELECT a.* FROM unnest(?::bigint[], ?::bigint[]) AS d (event, subscription) "
    "CROSS JOIN LATERAL (SELECT * FROM {name} WHERE event_key = d.event "
    "AND subscription_no = d.subscription "
    "AND (event_key, subscription_no, number) > (?, ?, ?) FOR SHARE) AS a "
    "ORDER BY a.event_key, a.subscription_no, a.number LIMIT {most}), "
    "copied AS (INSERT INTO {name}" + UNFINISHED + " ({columns}) SELECT {columns} FROM found "
    "ON CONFLICT DO NOTHING) SELECT event_key, subscription_no, number FROM found"
)


class _Place(NamedTuple):
    """Everything up to this attempt has been copied."""

    event_key: int
    subscription_no: int
    number: int

    @property
    def letter_before(self) -> tuple[int, int]:
        """The letter after which the next batch begins: this one, once it has been copied."""
        return self.event_key, self.subscription_no - (self.number < _ALL)


#: Some of it was copied; there may be more.
_COPYING: Final = Step(1, is_under_way=True)
_START: Final = _Place(0, 0, 0)
#: A number above that of every attempt, and the note on a copy that is complete.
_ALL: Final = 2**31 - 1
_END: Final = "all"


async def thin(tx: Tx, parted: Parted, part: Part) -> Step | None:
    """Make the next step to the copy; ``None``: it is there, and can take the part's place."""
    note = await _note(tx, part)
    if note == _END:
        return None
    if note is None:
        await _begin(tx, parted, part)
    else:
        event_key, subscription_no, number = map(int, note.split())
        await _copy(tx, part, _Place(event_key, subscription_no, number))
    return _COPYING


async def lock(tx: Tx, parted: Parted, part: Part) -> None:
    """Keep everybody away from a part, for what takes no time."""
    await tx.sql(_BRIEFLY)
    await do(tx, parted, part, SEIZE)


async def swap(tx: Tx, parted: Parted, part: Part) -> Step:
    """Put the copy into the place of a part, which is locked."""
    await do(tx, parted, part, _DETACH, _RENAME)
    await do(tx, parted, part._replace(name=part.name + KEPT), ATTACH)
    await do(tx, parted, part, DROP, _UNWATCH)
    return DONE


async def abandon(tx: Tx, part: str) -> None:
    """Take away what there is of a copy."""
    for statement in (_UNWATCH, _ABANDON):
        await tx.sql(statement.format(name=part))


async def tidy(tx: Tx, table: str, but: Iterable[str]) -> None:
    """Take away every copy under way but those of some parts."""
    for (name,) in await tx.sql(_UNDER_WAY, (table,)):
        part = name.removesuffix(UNFINISHED)
        if part not in but:
            await abandon(tx, part)


async def do(tx: Tx, parted: Parted, part: Part, *statements: str, **more: object) -> None:
    """Run statements about a part of a table."""
    for statement in statements:
        await tx.sql(statement.format(**parted._asdict(), **part._asdict(), **more))


async def _note(tx: Tx, part: Part) -> str | None:
    """How far a copy has come that can still take the part's place; ``None``: there is none."""
    copy = part.name + UNFINISHED
    if await tx.sql(_COLUMNS, (part.name,)) != await tx.sql(_COLUMNS, (copy,)):
        return None
    said = await tx.sql(_COPIED, (copy, part.name))
    return said[0][0] if said else None


async def _begin(tx: Tx, parted: Parted, part: Part) -> None:
    await tx.sql(_BRIEFLY)
    await do(tx, parted, part, _CLOSE)
    await abandon(tx, part.name)
    await do(tx, parted, part, _MAKE_COPY, _WITHIN)
    names = await _names(tx, part)
    values = ", ".join(f"NEW.{name}" for name in names)
    schema, quoted = (await tx.sql(_SCHEMA))[0]
    told = {"columns": ", ".join(names), "values": values, "schema": schema, "quoted": quoted}
    await do(tx, parted, part, _MIRROR, _OURS, _WATCH, _ALWAYS, **told)
    await _write_down(tx, part, _START)


async def _copy(tx: Tx, part: Part, place: _Place) -> None:
    letters = await tx.sql(
        _LETTERS, (*max(place.letter_before, (part.low, -1)), part.high, LETTERS)
    )
    columns = ", ".join(await _names(tx, part))
    statement = _COPY.format(name=part.name, most=ATTEMPTS, columns=columns)
    pairs: tuple[Any, ...] = tuple(zip(*letters, strict=True)) or ((), ())
    found = await tx.sql(statement, (*pairs, *place))
    if len(found) == ATTEMPTS:
        await _write_down(tx, part, _Place(*max(found)))
    elif len(letters) == LETTERS:
        await _write_down(tx, part, _Place(letters[-1][0], letters[-1][1], _ALL))
    else:
        await tx.sql(_NOTE.format(name=part.name, note=_END))


async def _names(tx: Tx, part: Part) -> list[str]:
    return [f'"{row[0]}"' for row in await tx.sql(_COLUMNS, (part.name,))]


async def _write_down(tx: Tx, part: Part, place: _Place) -> None:
    await tx.sql(_NOTE.format(name=part.name, note=" ".join(map(str, place))))
