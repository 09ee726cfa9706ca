"""Everything there is to judge by: what was posted, what was received, what the service says."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

from service.lab.torture.ledger import Ledger
from service.lab.torture.talking import Api

#: Statuses of deliveries that have not ended.
OPEN: Final = ("pending", "delivering")
#: Violations named at most; their number is always given.
_NAMED: Final = 5
#: Operations of the service's own, such as replays, begin so; producers' do not.
_OWN: Final = "op_"


class Pair(NamedTuple):
    """An event and the path of a subscription that wants it."""

    event: str
    path: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription of the torture."""

    id: str
    types: tuple[str, ...]
    is_ordered: bool = False

    def wants(self, kind: str) -> bool:
        """Whether events of this type are for it."""
        return any(fnmatchcase(kind, pattern) for pattern in self.types)


class Received(NamedTuple):
    """One request to a receiver, in the order of their arrival."""

    event: str
    path: str
    status: int
    attempt: str
    delivery: str
    operation: str
    sequence: int
    is_signed: bool
    body: str

    @property
    def pair(self) -> Pair:
        """What it was about."""
        return Pair(self.event, self.path)

    @property
    def is_taken(self) -> bool:
        """Whether the receiver said yes."""
        return 200 <= self.status < 300  # noqa: PLR2004  what 2xx means


@dataclass(slots=True)
class Evidence:
    """All of it."""

    ledger: Ledger
    subscribed: Mapping[str, Subscribed]
    received: list[Received]
    #: The producers' events as the feed has them, in its order.
    logged: list[dict[str, Any]]
    #: Status by pair, as the API has it; a pair with two deliveries has both.
    deliveries: dict[Pair, list[str]]
    #: Pairs with an open dead letter, and those that ever had one.
    letters: set[Pair]
    ever_dead: set[Pair]
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str, culprits: Sequence[object]) -> int:
        """Note a violation, if there are culprits; how many there are."""
        if culprits:
            some = ", ".join(str(each)[:300] for each in culprits[:_NAMED])
            self.faults.append(f"{len(culprits)} {what}: {some}")
        return len(culprits)


def read_received(file: Path) -> list[Received]:
    """The receivers' log."""
    with file.open("rb") as lines:
        return [_received(json.loads(line)) for line in lines]


async def collect(
    api: Api, ledger: Ledger, subscribed: Mapping[str, Subscribed], received: Path
) -> Evidence:
    """Ask the service for all it knows."""
    paths = {each.id: path for path, each in subscribed.items()}
    statuses: dict[Pair, list[str]] = defaultdict(list)
    for each in await api.all("/v1/deliveries"):
        pair = Pair(each["eventId"], paths[each["subscriptionId"]])
        statuses[pair].append(each["status"])
    letters = await api.all("/v1/dead-letters")
    told = [(Pair(d["eventId"], paths[d["subscriptionId"]]), d["state"]) for d in letters]
    feed = await api.feed()
    own = [each for each in feed if not each.get("operationId", _OWN).startswith(_OWN)]
    return Evidence(
        ledger=ledger,
        subscribed=subscribed,
        received=read_received(received),
        logged=own,
        deliveries=dict(statuses),
        letters={pair for pair, state in told if state != "resolved"},
        ever_dead={pair for pair, _ in told},
    )


def _received(line: Mapping[str, Any]) -> Received:
    return Received(
        event=line["id"],
        path=line["path"],
        status=line["status"],
        attempt=line["attempt"],
        delivery=line["delivery"],
        operation=line["operation"],
        sequence=int(line["sequence"]),
        is_signed=line["signed"],
        body=line["body"],
    )
