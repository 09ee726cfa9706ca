"""What is left after the kill rounds, held against what was posted and what was received."""

import asyncio
import hashlib
import hmac
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from standardwebhooks.webhooks import Webhook

from tests.support.blackbox import Blackbox
from tests.system.kill_producers import DATA, Ledger

SEARCHERS = 8
#: Statuses of deliveries that have not ended.
OPEN = ("pending", "delivering")
#: Violations named at most; their number is always given.
NAMED = 5


class Pair(NamedTuple):
    """An event and the path of a subscription that wants it."""

    event: str
    path: str


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription of the kill rounds."""

    id: str
    secret: str
    types: tuple[str, ...]

    def wants(self, kind: str) -> bool:
        """Whether events of this type are for it."""
        return any(fnmatchcase(kind, pattern) for pattern in self.types)


@dataclass(slots=True)
class Figures:
    """What came of a run, in one line."""

    seed: int
    rounds: int
    kills: int = 0
    accepted: int = 0
    indeterminate: int = 0
    #: Pairs of an event and a subscription, and what became of them.
    pairs: int = 0
    delivered: int = 0
    duplicated: int = 0
    dead: int = 0
    pending: int = 0
    lost: int = 0
    unexpected: int = 0
    max_restart_seconds: float = 0.0


@dataclass(slots=True)
class Evidence:
    """Everything there is to judge by."""

    ledger: Ledger
    subscribed: Mapping[str, Subscribed]
    #: Lines of the receivers' log.
    received: list[dict[str, Any]]
    #: Events of the operations' logs, by operation.
    logs: dict[str, list[dict[str, Any]]]
    #: Status by pair, as the API has it; a pair with two deliveries has both.
    deliveries: dict[Pair, list[str]]
    #: Pairs with an open dead letter.
    letters: set[Pair]
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str, culprits: Sequence[object]) -> int:
        """Note a violation, if there are culprits; how many there are."""
        if culprits:
            some = ", ".join(map(str, culprits[:NAMED]))
            self.faults.append(f"{len(culprits)} {what}: {some}")
        return len(culprits)


def read_log(file: Path) -> list[dict[str, Any]]:
    """The receivers' log."""
    with file.open() as lines:
        return [json.loads(line) for line in lines]


async def collect(
    api: Blackbox,
    ledger: Ledger,
    subscribed: Mapping[str, Subscribed],
    deliveries: Sequence[Mapping[str, Any]],
) -> Evidence:
    """Ask the service what else it knows; what was received is still to be read."""
    paths = {each.id: path for path, each in subscribed.items()}
    statuses: dict[Pair, list[str]] = defaultdict(list)
    for each in deliveries:
        pair = Pair(each["eventId"], paths[each["subscriptionId"]])
        statuses[pair].append(each["status"])
    letters = await api.all("/v1/dead-letters", resolved="false")
    own = [name for name in await operations(api) if not name.startswith("op_")]
    return Evidence(
        ledger=ledger,
        subscribed=subscribed,
        received=[],
        logs=await logs_of(api, own),
        deliveries=dict(statuses),
        letters={Pair(d["eventId"], paths[d["subscriptionId"]]) for d in letters},
    )


async def operations(api: Blackbox) -> list[str]:
    """Ids of all operations."""
    return [each["operationId"] for each in await api.all("/v1/operations")]


async def logs_of(api: Blackbox, names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The events of each operation, in the order of its log."""
    logs: dict[str, list[dict[str, Any]]] = {}
    left = iter(names)

    async def search() -> None:
        for name in left:
            logs[name] = await api.all(f"/v1/operations/{name}/events")

    await asyncio.gather(*(search() for _ in range(SEARCHERS)))
    return logs


def judge(evidence: Evidence, figures: Figures) -> None:
    """Fill in the figures and name every violation."""
    ledger, fault = evidence.ledger, evidence.fault
    accepted = set(ledger.accepted)
    logged = {event["id"]: event for log in evidence.logs.values() for event in log}
    wanted = wanted_pairs(evidence, accepted | set(logged))
    taken = Counter(
        Pair(r["headers"]["webhook-id"], r["path"])
        for r in evidence.received
        if 200 <= r["status"] < 300
    )
    figures.accepted = len(accepted)
    figures.indeterminate = len(ledger.posted) - len(accepted)
    figures.pairs = len(wanted)
    figures.delivered = len(wanted & set(taken))
    figures.duplicated = sum(count > 1 for count in taken.values())
    figures.dead = len(evidence.letters)
    states = Counter(state for found in evidence.deliveries.values() for state in found)
    figures.pending = sum(states[state] for state in OPEN)
    figures.lost = fault(
        "neither delivered nor dead-lettered", sorted(wanted - set(taken) - evidence.letters)
    )
    figures.lost += fault("accepted but not in the log", sorted(accepted - set(logged)))
    seen = {Pair(r["headers"]["webhook-id"], r["path"]) for r in evidence.received}
    figures.unexpected = fault("received but never posted", sorted(seen - wanted))
    figures.unexpected += fault("logged but never posted", sorted(set(logged) - set(ledger.posted)))
    fault("still pending", ["deliveries"] * figures.pending)
    fault("refused by the service", ledger.refused)
    check_states(evidence, wanted, set(taken))
    check_sequences(evidence)
    check_requests(evidence, logged)


def wanted_pairs(evidence: Evidence, events: set[str]) -> set[Pair]:
    """Who should get what."""
    posted = evidence.ledger.posted
    return {
        Pair(name, path)
        for name in events & set(posted)
        for path, each in evidence.subscribed.items()
        if each.wants(posted[name].type)
    }


def check_states(evidence: Evidence, wanted: set[Pair], taken: set[Pair]) -> None:
    """The API's own count: one delivery a pair, and each in the state that its receiver saw."""
    fault, states = evidence.fault, evidence.deliveries
    fault("pairs without a delivery", sorted(wanted - set(states)))
    fault("deliveries nobody asked for", sorted(set(states) - wanted))
    fault("pairs with two deliveries", [pair for pair, found in states.items() if len(found) > 1])
    delivered = {pair for pair, found in states.items() if "delivered" in found}
    dead = {pair for pair, found in states.items() if "dead" in found}
    fault("called delivered, but not received", sorted(delivered - taken))
    fault("dead without a dead letter, or the reverse", sorted(dead ^ evidence.letters))


def check_sequences(evidence: Evidence) -> None:
    """1, 2, 3, ... in every operation, and each event where its producer was told it is."""
    gaps, moved = [], []
    for name, log in evidence.logs.items():
        if [event["sequence"] for event in log] != list(range(1, len(log) + 1)):
            gaps.append(name)
        for event in log:
            posted = evidence.ledger.posted.get(event["id"])
            if posted and posted.sequence not in (None, event["sequence"]):
                moved.append(event["id"])
    evidence.fault("operations with gaps in their sequence", gaps)
    evidence.fault("events with another sequence than was answered", moved)


def check_requests(evidence: Evidence, logged: Mapping[str, dict[str, Any]]) -> None:
    """Bodies stay the same over all attempts; every signature verifies; no attempt comes twice."""
    bodies: dict[str, set[str]] = defaultdict(set)
    attempts: Counter[tuple[str, str]] = Counter()
    for each in evidence.received:
        headers = each["headers"]
        bodies[headers["webhook-id"]].add(hashlib.sha256(each["body"].encode()).hexdigest())
        attempts[headers["x-webhook-delivery"], headers["x-webhook-attempt"]] += 1
    fault = evidence.fault
    fault("bodies that changed", [name for name, found in bodies.items() if len(found) > 1])
    fault("attempts sent twice", [key for key, count in attempts.items() if count > 1])
    checks: dict[str, Callable[[dict[str, Any]], bool]] = {
        "signatures that do not verify": lambda r: is_signed(r, evidence.subscribed),
        "bodies that are not the log's event": lambda r: (
            json.loads(r["body"]) == logged.get(r["headers"]["webhook-id"])
        ),
        "bodies with other data than was posted": lambda r: f'"data":{DATA}' in r["body"],
    }
    for what, holds in checks.items():
        fault(what, [r["headers"]["webhook-id"] for r in evidence.received if not holds(r)])


def is_signed(request: Mapping[str, Any], subscribed: Mapping[str, Subscribed]) -> bool:
    """Whether both signatures are the ones that other code makes of the same bytes."""
    headers, body = request["headers"], request["body"]
    webhook = Webhook(subscribed[request["path"]].secret)
    moment = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    key = webhook._whsecret  # noqa: SLF001  the key's bytes, as that library reads them
    digest = hmac.new(key, body.encode(), hashlib.sha256).hexdigest()
    return bool(
        headers["webhook-signature"] == webhook.sign(headers["webhook-id"], moment, body)
        and headers["x-webhook-signature"] == f"sha256={digest}"
    )


def integrity(database: Path) -> list[str]:
    """What SQLite finds wrong with its file."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as file:
        found = [str(row[0]) for row in file.execute("PRAGMA integrity_check")]
    return [] if found == ["ok"] else found
