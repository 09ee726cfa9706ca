"""A few of the rounds that ``make crash-test`` does many of; and that its judge finds faults."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.system.kill_check import Evidence, Figures, Pair, Subscribed, judge
from tests.system.kill_producers import Ledger, Posted
from tests.system.kill_rounds import Plan, run, table


@pytest.mark.timeout(180)
async def test_killed_at_random_instants_nothing_accepted_is_lost(tmp_path: Path) -> None:
    result = await run(Plan(rounds=5, seed=7, folder=tmp_path))

    assert result.faults == [], table(result.figures)
    assert result.figures.kills >= 5
    assert result.figures.accepted > 100
    assert result.figures.lost == result.figures.unexpected == result.figures.pending == 0


def evidence(tmp_path: Path) -> Evidence:
    """Two events of one operation, wanted by one subscription: received, dead-lettered."""
    ledger = Ledger(tmp_path / "accepted.jsonl")
    ledger.posted = {name: Posted("op-1", "step", n) for n, name in enumerate("ab", start=1)}
    log = [{"id": name, "sequence": n} for n, name in enumerate("ab", start=1)]
    return Evidence(
        ledger=ledger,
        subscribed={"/ok": Subscribed("sub_1", "whsec_" + "A" * 32, ("*",))},
        received=[received("a", 200)],
        logs={"op-1": log},
        deliveries={Pair("a", "/ok"): ["delivered"], Pair("b", "/ok"): ["dead"]},
        letters={Pair("b", "/ok")},
    )


def received(name: str, status: int) -> dict[str, Any]:
    headers = {
        "webhook-id": name,
        "webhook-timestamp": "1",
        "webhook-signature": "v1,",
        "x-webhook-signature": "sha256=",
        "x-webhook-delivery": f"dlv_{name}",
        "x-webhook-attempt": "1",
    }
    return {"path": "/ok", "status": status, "headers": headers, "body": json.dumps({"id": name})}


def judged(found: Evidence) -> tuple[Figures, str]:
    """The figures and the faults in one text, without those of the made-up requests."""
    figures = Figures(seed=1, rounds=1)
    judge(found, figures)
    made_up = ("signatures", "bodies")
    return figures, "\n".join(f for f in found.faults if f.split()[1] not in made_up)


def test_the_judge_is_content_with_what_is_right(tmp_path: Path) -> None:
    figures, faults = judged(evidence(tmp_path))
    assert faults == ""
    assert (figures.pairs, figures.delivered, figures.dead, figures.lost) == (2, 1, 1, 0)


def test_the_judge_finds_what_is_lost(tmp_path: Path) -> None:
    found = evidence(tmp_path)
    found.received = [received("a", 503)]
    figures, faults = judged(found)
    assert figures.lost == 1
    assert "1 neither delivered nor dead-lettered: Pair(event='a', path='/ok')" in faults
    assert "1 called delivered, but not received" in faults


def test_the_judge_finds_what_nobody_posted(tmp_path: Path) -> None:
    found = evidence(tmp_path)
    found.received.append(received("c", 200))
    figures, faults = judged(found)
    assert figures.unexpected == 1
    assert "1 received but never posted" in faults


def test_the_judge_finds_an_accepted_event_that_is_not_in_the_log(tmp_path: Path) -> None:
    found = evidence(tmp_path)
    found.logs["op-1"].pop()
    figures, faults = judged(found)
    assert figures.lost == 1
    assert "1 accepted but not in the log: b" in faults


def test_the_judge_finds_gaps_doubles_and_changes(tmp_path: Path) -> None:
    found = evidence(tmp_path)
    found.logs["op-1"][1]["sequence"] = 3
    found.deliveries[Pair("a", "/ok")].append("pending")
    again = received("a", 200)
    again["body"] = "{}"
    found.received.append(again)
    figures, faults = judged(found)
    assert (figures.duplicated, figures.pending) == (1, 1)
    for part in (
        "1 operations with gaps in their sequence: op-1",
        "1 events with another sequence than was answered: b",
        "1 pairs with two deliveries",
        "1 still pending",
        "1 attempts sent twice",
    ):
        assert part in faults
    assert any(f.startswith("1 bodies that changed") for f in found.faults)
    assert any(f.startswith("2 signatures that do not verify") for f in found.faults)
