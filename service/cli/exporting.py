"""A tenant's data as lines of JSON, page by page, with a mark behind each page to go on from.

The first line says what is exported. Then each line is ``{"kind": ..., "data": ...}``, and behind
each page stands ``{"mark": ..., "cursor": ...}``: what is behind the last whole mark of a file was
cut off in the middle, and is read again.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from service.cli import exact
from service.cli.client import Api, named
from service.cli.exits import CommandError, Exit
from service.domain import times

Json = Any
#: Takes a line.
Write = Callable[[str], None]
#: Is told how much has been written of a kind so far.
Told = Callable[[str, int], None]

_PAGE: Final = 200
_VERSION: Final = "1"
_MARK: Final = b'{"mark":'


@dataclass(frozen=True, slots=True)
class Plan:
    """What is exported: these kinds, of this span of time."""

    kinds: tuple[str, ...]
    since: str | None
    until: str | None
    #: When it began: lists, whose newest come first, are as they were then.
    begun: str


class Source(NamedTuple):
    """Where things of a kind are listed, and what narrows that list to a span of time."""

    path: str
    between: tuple[str, str] | None = ("since", "until")

    def span(self, plan: Plan) -> dict[str, object]:
        """The parameters that narrow it."""
        return dict(zip(self.between or (), (plan.since, plan.until or plan.begun), strict=False))


_DELIVERIES: Final = "/v1/deliveries"
_ENDLESS: Final = "events"
SOURCES: Final = {
    "operations": Source("/v1/operations", ("createdAfter", "createdBefore")),
    _ENDLESS: Source("/v1/events", None),
    "deliveries": Source(_DELIVERIES),
    "attempts": Source(_DELIVERIES),
    "dead-letters": Source("/v1/dead-letters"),
    "audit-log": Source("/v1/audit-log"),
}


@dataclass(frozen=True, slots=True)
class Done:
    """How far an earlier run came: the cursor behind the last page of each kind it began."""

    plan: Plan
    #: ``None``: there are no more pages.
    cursors: Mapping[str, str | None]


def run(api: Api, write: Write, plan: Plan, told: Told, done: Done | None = None) -> None:
    """Write everything; what an earlier run has ``done`` is there already."""
    if done is None:
        write(exact.dumps({"export": _VERSION, **asdict(plan)}))
    cursors = {} if done is None else done.cursors
    for kind in plan.kinds:
        begin = cursors.get(kind)
        if kind in cursors and begin is None:
            continue
        written = 0
        for items, cursor in _pages(api, kind, plan, begin):
            for item in items:
                write(exact.dumps({"kind": kind, "data": item}))
            write(exact.dumps({"mark": kind, "cursor": cursor}))
            written += len(items)
            told(kind, written)


def opened(path: Path, *, resume: bool) -> tuple[BinaryIO, Done | None]:
    """The file, for its owner's eyes only, and how far it is.

    Raises:
        CommandError: it is there although nothing is resumed, or is no export.
    """
    flags = os.O_RDWR | os.O_CREAT | (0 if resume else os.O_EXCL)
    try:
        file = os.fdopen(os.open(path, flags, 0o600), "r+b")
    except FileExistsError:
        raise CommandError(
            f"{path} is there already.",
            "Name another file, or go on with this one by --resume.",
            Exit.CONFLICT,
        ) from None
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written: {error.strerror}.", "Name another file.", Exit.MISUSE
        ) from None
    try:
        return file, _read(file, path)
    except CommandError:
        file.close()
        raise


def _read(file: BinaryIO, path: Path) -> Done | None:
    """How far the file is; what is behind its last mark is cut off."""
    head = file.readline()
    if not head.endswith(b"\n"):  # nothing, or not even a whole first line
        file.truncate(0)
        file.seek(0)
        return None
    plan = _plan(head, path)
    cursors: dict[str, str | None] = {}
    end = place = len(head)
    for line in file:
        place += len(line)
        if line.startswith(_MARK) and line.endswith(b"\n"):
            mark = exact.loads(line)
            cursors[mark["mark"]] = mark["cursor"]
            end = place
    file.truncate(end)
    file.seek(end)
    return Done(plan, cursors)


def _plan(head: bytes, path: Path) -> Plan:
    """What the first line says is exported."""
    with suppress(ValueError, KeyError, TypeError):
        said = exact.loads(head)
        kinds = tuple(said["kinds"])
        if said["export"] == _VERSION and SOURCES.keys() >= set(kinds):
            return Plan(kinds, said["since"], said["until"], said["begun"])
    raise CommandError(f"{path} is no export.", "Name the file of an export.", Exit.MISUSE)


def _pages(
    api: Api, kind: str, plan: Plan, begin: str | None
) -> Iterator[tuple[list[Json], str | None]]:
    """Pages behind a cursor, each with the cursor behind it; the last one has none."""
    source, cursor = SOURCES[kind], begin
    while True:
        query = {**source.span(plan), "limit": _PAGE, "cursor": cursor}
        page = api.get(source.path, query)
        following = page["pagination"]["nextCursor"]
        # the feed's last page has a cursor too; one of another list may be short and not the last
        is_last = following is None or (kind == _ENDLESS and len(page["data"]) < _PAGE)
        cursor = None if is_last else following
        yield list(_shown(api, kind, plan, page["data"])), cursor
        if is_last:
            return


def _shown(api: Api, kind: str, plan: Plan, items: Iterable[Json]) -> Iterator[Json]:
    """What is written of the items of a page."""
    if kind == "attempts":
        return chain.from_iterable(_attempts(api, each["id"]) for each in items)
    if kind == "events":
        return (each for each in items if _is_within(plan, each["timestamp"]))
    return iter(items)


def _attempts(api: Api, delivery: str) -> Iterator[Json]:
    """Every attempt of a delivery; none where it has gone meanwhile."""
    try:
        found = api.get(named(f"{_DELIVERIES}/{{}}", delivery))
    except CommandError as error:
        if error.code is not Exit.NOT_FOUND:
            raise
        return
    for each in found["attempts"]:
        yield {"deliveryId": delivery, **each}


def _is_within(plan: Plan, moment: str) -> bool:
    """Whether an event is of the span of time, by what it says itself."""
    at, since, until = (times.parse(each or "") for each in (moment, plan.since, plan.until))
    return at is None or (since or 0) <= at < (times.LATEST if until is None else until)
