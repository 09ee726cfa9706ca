"""The checker: what is left after the torture, held against what was posted and received.

Per (event, subscription) pair: accepted x matching = delivered + pending + dead + cancelled.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from service.lab.torture.evidence import OPEN, Evidence, Pair, Received
from service.lab.torture.plan import Kind
from service.lab.torture.producers import DATA

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds within which everything of ours is to have recovered from the last fault.
RECOVERY: Final = 65.0
#: Faults of processes that send nothing: whatever becomes of them, nothing comes twice for it.
_IDLE: Final = (Kind.KILL_API.value, Kind.KILL_SWEEPER.value)


@dataclass(slots=True)
class Figures:
    """What came of a run."""

    mode: str
    seed: int
    kills: int = 0
    accepted: int = 0
    #: Requests that were answered 503; events that nobody was told of, and nobody posted again.
    refused: int = 0
    indeterminate: int = 0
    #: Pairs of an event and a subscription, and what became of them.
    pairs: int = 0
    delivered: int = 0
    #: Takings of a delivery beyond its first, and what bounds them: deliveries in flight in the
    #: very processes that were killed or paused, by kind; requests cut off on their way to
    #: receivers.
    duplicated: int = 0
    in_flight: dict[str, int] = field(default_factory=dict)
    cut_off: int = 0
    #: Attempts that came twice: the sender tries once more when a kept connection is lost.
    resent: int = 0
    dead: int = 0
    pending: int = 0
    cancelled: int = 0
    lost: int = 0
    unexpected: int = 0
    recovery_seconds: float = 0.0
    slowest_start_seconds: float = 0.0
    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def most_duplicates(self) -> int:
        """The bound on duplicates."""
        return sum(self.in_flight.values()) + self.cut_off

    @property
    def is_balanced(self) -> bool:
        """Whether the equation holds."""
        return self.pairs == self.delivered + self.pending + self.dead + self.cancelled

    @property
    def equation(self) -> str:
        """The equation in numbers."""
        sign = "=" if self.is_balanced else "!="
        right = (self.delivered, self.pending, self.dead, self.cancelled)
        return f"{self.pairs} {sign} {' + '.join(map(str, right))}"


def judge(evidence: Evidence, figures: Figures) -> None:
    """Fill in the figures and name every violation."""
    ledger, fault = evidence.ledger, evidence.fault
    accepted = set(ledger.accepted)
    logged = {event["id"]: event for event in evidence.logged}
    wanted = wanted_pairs(evidence, accepted | set(logged))
    taken = Counter(each.pair for each in evidence.received if each.is_taken)
    states = Counter(state for found in evidence.deliveries.values() for state in found)
    figures.accepted = len(accepted)
    figures.refused = ledger.answers.get("refused", 0)
    figures.indeterminate = len(ledger.posted) - len(accepted)
    figures.pairs = len(wanted)
    figures.delivered = states["delivered"]
    figures.duplicated = sum(count - 1 for count in taken.values())
    figures.dead = states["dead"]
    figures.pending = sum(states[state] for state in OPEN)
    figures.cancelled = states["cancelled"]
    known = set(taken) | evidence.letters | _in_state(evidence, "cancelled", *OPEN)
    figures.lost = fault("neither delivered nor dead nor waiting", sorted(wanted - known))
    figures.lost += fault("accepted but not in the log: false 2xx", sorted(accepted - set(logged)))
    seen = {each.pair for each in evidence.received}
    figures.unexpected = fault("received but never posted", sorted(seen - wanted))
    figures.unexpected += fault("logged but never posted", sorted(set(logged) - set(ledger.posted)))
    if not figures.is_balanced:
        fault("equation broken", [figures.equation])
    fault("still pending", ["deliveries"] * figures.pending)
    fault("answers that should not have been", ledger.wrong)
    check_states(evidence, wanted, set(taken))
    check_sequences(evidence)
    check_order(evidence)
    check_requests(evidence, logged)
    figures.resent = _resent(evidence)
    check_bounds(evidence, figures)


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
    fault("called delivered, but not received", sorted(_in_state(evidence, "delivered") - taken))
    dead = _in_state(evidence, "dead")
    fault("dead without a dead letter, or the reverse", sorted(dead ^ evidence.letters))


def check_sequences(evidence: Evidence) -> None:
    """1, 2, 3, ... in every operation, and each event where its producer was told it is."""
    logs: dict[str, list[int]] = defaultdict(list)
    moved = []
    for event in evidence.logged:
        logs[event["operationId"]].append(event["sequence"])
        posted = evidence.ledger.posted.get(event["id"])
        if posted and posted.sequence not in (None, event["sequence"]):
            moved.append(event["id"])
    gaps = [name for name, log in logs.items() if log != list(range(1, len(log) + 1))]
    evidence.fault("operations with gaps in their sequence", gaps)
    evidence.fault("events with another sequence than was answered", moved)


def check_order(evidence: Evidence) -> None:
    """In an ordered lane nothing is sent before what comes before it was taken, or died."""
    ordered = {path for path, each in evidence.subscribed.items() if each.is_ordered}
    before: dict[tuple[str, str], list[tuple[int, Pair]]] = defaultdict(list)
    for event in sorted(evidence.logged, key=lambda each: each["sequence"]):
        for path in ordered:
            if evidence.subscribed[path].wants(event["type"]):
                pair = Pair(event["id"], path)
                before[event["operationId"], path].append((event["sequence"], pair))
    taken: set[Pair] = set()
    early = []
    for each in evidence.received:
        if each.path in ordered:
            earlier = (p for n, p in before[each.operation, each.path] if n < each.sequence)
            if any(pair not in taken and pair not in evidence.ever_dead for pair in earlier):
                early.append(each.pair)
        if each.is_taken:
            taken.add(each.pair)
    evidence.fault("sent before their turn", early)


def check_requests(evidence: Evidence, logged: dict[str, dict[str, Any]]) -> None:
    """Bodies stay the same over all attempts and are the log's; every signature verifies."""
    bodies: dict[str, set[str]] = defaultdict(set)
    for each in evidence.received:
        bodies[each.event].add(each.body)
    fault = evidence.fault
    fault("bodies that changed", [name for name, found in bodies.items() if len(found) > 1])
    data = f'"data":{DATA}'
    checks: dict[str, Callable[[Received], bool]] = {
        "signatures that do not verify": lambda r: r.is_signed,
        "bodies with other data than was posted": lambda r: data in r.body,
    }
    for what, holds in checks.items():
        fault(what, [each.event for each in evidence.received if not holds(each)])
    others = [
        name
        for name, found in bodies.items()
        if any(json.loads(body) != logged.get(name) for body in found)
    ]
    fault("bodies that are not the log's event", others)


def check_bounds(evidence: Evidence, figures: Figures) -> None:
    """No more duplicates than there was in flight, and back at work in time."""
    for what, count, bound in (
        ("duplicates", figures.duplicated, figures.most_duplicates),
        ("attempts sent twice", figures.resent, figures.cut_off),
    ):
        if count > bound:
            evidence.fault(f"bound on {what} broken", [f"{count}, at most {bound} expected"])
    taken = [f"{kind}: {figures.in_flight[kind]}" for kind in _IDLE if figures.in_flight.get(kind)]
    evidence.fault("deliveries in flight where none are sent from", taken)
    if figures.recovery_seconds > RECOVERY:
        evidence.fault("late recovery", [f"{figures.recovery_seconds} s after the last fault"])


def _resent(evidence: Evidence) -> int:
    """How many requests were of an attempt that had come before."""
    attempts = Counter((each.delivery, each.attempt) for each in evidence.received)
    return sum(count - 1 for count in attempts.values())


def _in_state(evidence: Evidence, *states: str) -> set[Pair]:
    wanted = set(states)
    return {pair for pair, found in evidence.deliveries.items() if wanted & set(found)}
