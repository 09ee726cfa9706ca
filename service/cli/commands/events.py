"""`ringback event`: post what happened, and read it back."""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Final

import typer

from service.cli import exact, inputs, posting, shown
from service.cli.client import Api, Connected, named
from service.cli.commanding import Needs, command, group
from service.cli.exits import CommandError, Exit
from service.cli.following import feed_end, tail
from service.cli.render import Out, Printed, say

app = group("event", "Post what happened, and read it back.")
Json = Any

_PATH: Final = "/v1/events"
_LOOK_EVERY: Final = 0.2
#: Events in one answer at most.
_PAGE: Final = 200
_NO_EVENTS: Final = "No events. `ringback event send STARTED --operation job-1` posts one."
_OPEN: Final = frozenset({"pending", "delivering"})

Types = Annotated[
    str | None,
    typer.Option(
        "--type", metavar="PATTERNS", help="Only these types, such as COMPLETED,invoice.*"
    ),
]
OperationTypes = Annotated[
    str | None,
    typer.Option("--operation-type", metavar="PATTERNS", help="Only of operations of these types."),
]


def _described(  # noqa: PLR0913  an argument is an option of the command line here
    *,
    operation: Annotated[
        str | None, typer.Option("--operation", "-p", help="The operation's id.")
    ] = None,
    event_id: Annotated[
        str | None, typer.Option("--id", help="An id of one's own: posted again, nothing changes.")
    ] = None,
    operation_type: Annotated[
        str | None, typer.Option(help="The type of an operation that begins with this event.")
    ] = None,
    status: Annotated[str | None, typer.Option(help="PROCESSING, for types of one's own.")] = None,
    message: Annotated[str | None, typer.Option(help="For people.")] = None,
    progress: Annotated[Json, inputs.as_json("0 to 100, or an object.")] = None,
    data: Annotated[Json, inputs.as_json("What happened; also @FILE, or - for stdin.")] = None,
    result: Annotated[Json, inputs.as_json("What came of it.")] = None,
    error: Annotated[Json, inputs.as_json("Why it failed.")] = None,
) -> dict[str, Json]:
    """The members of an event that options give."""
    given = {
        "operationId": operation,
        "id": event_id,
        "operationType": operation_type,
        "status": status,
        "message": message,
        "progress": progress,
        "data": data,
        "result": result,
        "error": error,
    }
    return {name: value for name, value in given.items() if value is not None}


@command(
    app,
    "send",
    "ringback event send COMPLETED --operation job-1 --data '{\"pages\": 3}' --wait\n"
    "ringback event send --from events.ndjson",
)
def send(  # noqa: PLR0913  an argument is an option of the command line here
    api: Connected,
    out: Printed,
    members: Annotated[dict[str, Json], Needs(_described)],
    kind: Annotated[
        str | None, typer.Argument(metavar="TYPE", help="STARTED, COMPLETED, invoice.paid, ...")
    ] = None,
    *,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FILE", help="Lines of JSON, an array, or one object; - is stdin."
        ),
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Sent again with the same key, nothing happens twice.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it is delivered, and show by what.")
    ] = False,
    wait_seconds: Annotated[float, typer.Option(min=0.1, help="How long --wait waits.")] = 30.0,
) -> None:
    """Post an event, or many from a file.

    An operation comes into being with its first event. Numbers are sent as they are written.
    """
    if source is not None:
        if kind is not None or members or wait:
            raise typer.BadParameter("--from goes without a type, members or --wait")
        posting.post(api, out, source, idempotency_key)
        return
    if kind is None or "operationId" not in members:
        raise typer.BadParameter("give a TYPE and --operation, or --from FILE")
    body = exact.dumps({"type": kind, **members})
    (verdict,) = api.post_text(_PATH, body, key=idempotency_key)["data"]
    if wait:
        _await_deliveries(api, out, verdict, wait_seconds)
    else:
        out.one(verdict, shown.ACCEPTED)


@command(
    app,
    "list",
    "ringback event list --type 'invoice.*' --limit 20\nringback event list --operation job-1",
)
def list_events(  # noqa: PLR0913  an argument is an option of the command line here
    api: Connected,
    out: Printed,
    types: Types = None,
    operation_types: OperationTypes = None,
    *,
    operation: Annotated[str | None, typer.Option(help="The log of this operation.")] = None,
    after: Annotated[
        str | None, typer.Option(help="Behind this cursor; with --operation: this sequence.")
    ] = None,
    limit: inputs.Limit = 50,
) -> None:
    """List events, oldest first."""
    if operation is not None:
        if types or operation_types:
            raise typer.BadParameter("--operation goes without --type and --operation-type")
        path = named("/v1/operations/{}/events", operation)
        out.cut(api.pages(path, {"after": after}, limit + 1), shown.EVENT, _NO_EVENTS, limit)
        return
    feed = _Feed(api, {"types": types, "operationType": operation_types}, after, limit)
    out.cut(iter(feed), shown.EVENT, _NO_EVENTS, limit, lambda: f"; --after {feed.cursor} goes on")


@command(app, "get", "ringback event get evt_0653be4ce6e000016a41976f -o json")
def get(
    name: Annotated[str, typer.Argument(metavar="ID")],
    api: Connected,
    out: Printed,
) -> None:
    """Show one event."""
    out.one(api.get(named(f"{_PATH}/{{}}", name)), shown.EVENT)


@command(app, "tail", "ringback event tail --type 'FAILED,*.failed' -o jsonl")
def tail_events(
    api: Connected,
    out: Printed,
    types: Types = None,
    operation_types: OperationTypes = None,
    after: Annotated[str | None, typer.Option(help="Begin behind this cursor, not now.")] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="End after so many; else with Ctrl-C.")
    ] = None,
) -> None:
    """Print events as they happen."""
    begin = feed_end(api) if after is None else after
    say("Waiting for events. Ctrl-C ends it.")
    query = {"types": types, "operationType": operation_types}
    for event in islice(tail(api, f"{_PATH}/stream", query, begin), count):
        out.line(event, shown.EVENT)


def _await_deliveries(api: Api, out: Out, verdict: Json, seconds: float) -> None:
    """Wait for the end of each delivery of an event, and show them."""
    end = time.monotonic() + seconds
    while True:
        found = list(api.pages("/v1/deliveries", {"eventId": verdict["id"]}, None))
        is_open = any(each["status"] in _OPEN for each in found)
        if not is_open or time.monotonic() > end:
            break
        time.sleep(_LOOK_EVERY)
    out.listed(found, shown.DELIVERY, f"Event {verdict['id']}: no subscription matches it.")
    if is_open:
        raise CommandError(
            f"Not delivered within {seconds:g} s.",
            "`ringback delivery get ID` says what keeps it and when it is tried next.",
            Exit.UNAVAILABLE,
        )
    if any(each["status"] != "delivered" for each in found):
        raise CommandError(
            "Not delivered to everyone.", "`ringback dead-letter list` says why.", Exit.FAILURE
        )


class _Feed:
    """Events from a cursor to the end; a page of a filtered feed may be empty in the middle.

    Attributes:
        cursor: behind the page that was read last; one ends with the last event that is wanted.
    """

    def __init__(
        self, api: Api, query: dict[str, str | None], after: str | None, limit: int
    ) -> None:
        self._api = api
        self._query = query
        self._limit = limit
        self.cursor = after

    def __iter__(self) -> Iterator[Json]:
        left = self._limit
        while True:
            size = min(left, _PAGE) if left > 0 else 1
            page = self._api.get(_PATH, {**self._query, "after": self.cursor, "limit": size})
            is_end = page["pagination"]["nextCursor"] == self.cursor
            self.cursor = page["pagination"]["nextCursor"]
            yield from page["data"]
            left -= len(page["data"])
            if is_end:
                return
