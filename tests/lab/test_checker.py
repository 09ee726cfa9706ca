"""The checker finds what it is there to find, and is content with what is right."""

import json
from typing import Any

import pytest

from service.lab.torture.checker import RECOVERY, Figures, judge
from service.lab.torture.evidence import Evidence, Pair, Received, Subscribed
from service.lab.torture.ledger import Ledger, Posted
from service.lab.torture.producers import DATA
from service.lab.torture.report import as_json, as_table
from service.lab.torture.running import Result

PATH = "/ordered"


def logged(name: str, sequence: int) -> dict[str, Any]:
    head = {"id": name, "type": "step", "operationId": "op-1", "sequence": sequence}
    return {**head, "data": json.loads(DATA)}


def received(name: str, sequence: int, status: int = 204, attempt: int = 1) -> Received:
    head = json.dumps({k: v for k, v in logged(name, sequence).items() if k != "data"})
    return Received(
        event=name,
        path=PATH,
        status=status,
        attempt=str(attempt),
        delivery=f"dlv_{name}",
        operation="op-1",
        sequence=sequence,
        is_signed=True,
        body=f'{head[:-1]},"data":{DATA}}}',
    )


@pytest.fixture
def evidence() -> Evidence:
    """Three events of one operation, wanted in order: two taken, the last dead."""
    posted = {name: Posted("op-1", "step", n) for n, name in enumerate("abc", start=1)}
    return Evidence(
        ledger=Ledger(posted=posted),
        subscribed={PATH: Subscribed("sub_1", ("*",), is_ordered=True)},
        received=[received("a", 1), received("b", 2, 503), received("b", 2, 204, 2)],
        logged=[logged(name, n) for n, name in enumerate("abc", start=1)],
        deliveries={
            Pair("a", PATH): ["delivered"],
            Pair("b", PATH): ["delivered"],
            Pair("c", PATH): ["dead"],
        },
        letters={Pair("c", PATH)},
        ever_dead={Pair("c", PATH)},
    )


def judged(evidence: Evidence, **known: object) -> tuple[Figures, str]:
    figures = Figures("embedded", 1)
    for name, value in known.items():
        setattr(figures, name, value)
    judge(evidence, figures)
    return figures, "\n".join(evidence.faults)


def test_it_is_content_with_what_is_right(evidence: Evidence) -> None:
    figures, faults = judged(evidence)

    assert faults == ""
    assert (figures.accepted, figures.pairs, figures.delivered, figures.dead) == (3, 3, 2, 1)
    assert (figures.lost, figures.unexpected, figures.duplicated) == (0, 0, 0)
    assert figures.equation == "3 = 2 + 0 + 1 + 0"


def test_it_finds_what_is_lost(evidence: Evidence) -> None:
    evidence.received.pop()
    figures, faults = judged(evidence)

    assert figures.lost == 1
    assert "1 neither delivered nor dead nor waiting: Pair(event='b', path='/ordered')" in faults
    assert "1 called delivered, but not received" in faults


def test_what_waits_is_not_lost_but_late(evidence: Evidence) -> None:
    evidence.received.pop()
    evidence.deliveries[Pair("b", PATH)] = ["pending"]
    figures, faults = judged(evidence)

    assert (figures.lost, figures.pending) == (0, 1)
    assert faults == "1 still pending: deliveries"


def test_it_finds_a_false_2xx(evidence: Evidence) -> None:
    evidence.logged.pop()
    figures, faults = judged(evidence)

    assert figures.lost == 1
    assert "1 accepted but not in the log: false 2xx: c" in faults


def test_it_finds_what_nobody_posted(evidence: Evidence) -> None:
    evidence.received.append(received("d", 4))
    evidence.logged.append(logged("e", 4))
    figures, faults = judged(evidence)

    assert figures.unexpected == 2
    assert "1 received but never posted: Pair(event='d', path='/ordered')" in faults
    assert "1 logged but never posted: e" in faults


def test_it_finds_a_broken_equation(evidence: Evidence) -> None:
    del evidence.deliveries[Pair("a", PATH)]
    evidence.deliveries[Pair("b", PATH)] = ["delivered", "pending", "pending"]
    figures, faults = judged(evidence)

    assert figures.equation == "3 != 1 + 2 + 1 + 0"
    for part in ("equation broken", "1 pairs without a delivery", "1 pairs with two deliveries"):
        assert part in faults
    assert "2 still pending" in faults


def test_it_finds_gaps_and_places_that_moved(evidence: Evidence) -> None:
    evidence.logged[2]["sequence"] = 4
    _, faults = judged(evidence)

    assert "1 operations with gaps in their sequence: op-1" in faults
    assert "1 events with another sequence than was answered: c" in faults


def test_it_finds_what_came_before_its_turn(evidence: Evidence) -> None:
    evidence.received.insert(0, received("b", 2, 503))
    _, faults = judged(evidence)

    assert "1 sent before their turn: Pair(event='b', path='/ordered')" in faults


def test_what_died_holds_nobody_up(evidence: Evidence) -> None:
    evidence.ledger.posted["d"] = Posted("op-1", "step", 4)
    evidence.logged.append(logged("d", 4))
    evidence.received.append(received("d", 4))
    evidence.deliveries[Pair("d", PATH)] = ["delivered"]

    assert judged(evidence)[1] == ""


def test_duplicates_are_bounded_by_what_was_in_flight(evidence: Evidence) -> None:
    evidence.received.append(received("b", 2, 204, 3))
    assert "duplicates broken: 1, at most 0 expected" in judged(evidence)[1]
    evidence.faults.clear()

    figures, faults = judged(evidence, in_flight={"kill": 1, "kill_api": 0})
    assert (figures.duplicated, figures.resent, faults) == (1, 0, "")


@pytest.mark.parametrize("kind", ["kill_api", "kill_sweeper"])
def test_nothing_is_in_flight_where_nothing_is_sent_from(evidence: Evidence, kind: str) -> None:
    _, faults = judged(evidence, in_flight={kind: 2})

    assert f"deliveries in flight where none are sent from: {kind}: 2" in faults


def test_an_attempt_comes_twice_only_where_a_connection_was_cut(evidence: Evidence) -> None:
    evidence.received.append(received("b", 2, 204, 2))
    assert "attempts sent twice broken" in judged(evidence, in_flight={"kill": 5})[1]
    evidence.faults.clear()

    figures, faults = judged(evidence, cut_off=1)
    assert (figures.duplicated, figures.resent, faults) == (1, 1, "")


def test_it_finds_bodies_and_signatures_that_are_wrong(evidence: Evidence) -> None:
    first = evidence.received[0]
    changed = first.body.replace("1.10", "1.1")
    evidence.received[0] = first._replace(body=changed, is_signed=False)
    _, faults = judged(evidence)

    assert "1 signatures that do not verify: a" in faults
    assert "1 bodies with other data than was posted: a" in faults


def test_it_finds_late_recovery_and_wrong_answers(evidence: Evidence) -> None:
    evidence.ledger.wrong.append("500 oh")
    _, faults = judged(evidence, recovery_seconds=RECOVERY + 1)

    assert "late recovery: 66.0 s after the last fault" in faults
    assert "1 answers that should not have been: 500 oh" in faults


def test_the_report_says_all(evidence: Evidence) -> None:
    evidence.received.pop()
    figures, _ = judged(evidence, kills=2, in_flight={"kill": 3, "pause": 1}, cut_off=2)
    result = Result(figures, evidence.faults)

    told = json.loads(as_json(result))
    assert (told["seed"], told["kills"], told["lost"]) == (1, 2, 1)
    assert told["violations"] == evidence.faults
    assert (told["in_flight"], told["most_duplicates"]) == ({"kill": 3, "pause": 1}, 6)
    table = as_table(result)
    assert "duplicated             0, at most 6\n" in table
    assert "may come twice: 3 at kill, 1 at pause" in table
    assert "3 = 2 + 0 + 1 + 0" in table
    assert "VIOLATION: 1 neither delivered nor dead nor waiting" in table
