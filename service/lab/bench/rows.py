"""The rows of the table, in the order in which they are measured."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from service.lab.bench import (
    growing,
    ingesting,
    listing,
    pacing,
    polling,
    standing,
    throughput,
    watchers,
)
from service.lab.bench.faults import BenchError
from service.lab.bench.figures import Values
from service.lab.bench.session import Session


@dataclass(frozen=True, slots=True)
class Row:
    """One row."""

    title: str
    measure: Callable[[Session], Awaitable[Values]]
    #: The row that this one's ratio is to.
    needs: str | None = None
    #: The modes that it is about.
    modes: frozenset[str] = frozenset(("embedded", "distributed"))


ROWS: Final = {
    "tools": Row("the tools alone: generator straight to receiver", throughput.tools_alone),
    "start": Row("start to ready, second start", standing.start),
    "deliveries": Row("deliveries, single POSTs, sustained", throughput.deliveries),
    "deliveries-batch": Row(
        "deliveries, batches of 100 posted, sustained", throughput.deliveries_of_batches
    ),
    "bare": Row("deliveries against a bare aiohttp client", throughput.bare, "deliveries"),
    "naive": Row("deliveries against the naive design", throughput.naive, "deliveries"),
    "fsync": Row(
        "deliveries with fsync 2 ms slower, against without", throughput.slow_disk, "deliveries"
    ),
    "ingest": Row("ingest only, single events", ingesting.single),
    "ingest-batch": Row("ingest only, batches of 100", ingesting.batches),
    "latency-100": Row("publish to receipt at 100/s", pacing.at_rate(100)),
    "latency-1000": Row("publish to receipt at 1,000/s", pacing.at_rate(1_000)),
    "latency-3000": Row("publish to receipt at 3,000/s", pacing.at_rate(3_000)),
    "fan-out": Row("one event, 1,000 subscriptions", pacing.fan_out),
    "growth": Row("deliveries in a full store, against an empty one", growing.growth, "deliveries"),
    "backlog": Row("drain of a backlog, against the steady rate", growing.backlog, "deliveries"),
    "workers": Row(
        "two workers against one, the receiver takes 50 ms",
        throughput.two_workers,
        modes=frozenset(("distributed",)),
    ),
    "idle": Row("idle", standing.idle),
    "watchers": Row("Server-Sent Events watchers", watchers.row),
    "polls": Row("a storm of long polls", polling.row),
    "lists": Row("lists of the API and the console, in a full store", listing.row),
}


def chosen(names: Iterable[str]) -> dict[str, Row]:
    """The rows of these names, or all, with those that they need.

    Raises:
        BenchError: there is no row of a name.
    """
    wanted = set(names) or set(ROWS)
    unknown = sorted(wanted - ROWS.keys())
    if unknown:
        raise BenchError(f"There is no row {', '.join(unknown)}; there are {', '.join(ROWS)}.")
    wanted |= {need for name in wanted if (need := ROWS[name].needs)}
    return {name: row for name, row in ROWS.items() if name in wanted}
