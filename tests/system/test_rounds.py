"""A little of ``make hostile-test`` and ``make backlog-test``; and that their judges find faults.

The bounds are ratios within one run. Others may take the processor in any window, so of several
rounds the least disturbed one counts here: who is delayed by a receiver is delayed in each.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.system import backlog_rounds, hostile_rounds
from tests.system.backlog_rounds import HANGS
from tests.system.hostile_rounds import Kind, Result
from tests.system.offered_load import Holdings, Pairs, Window, share

pytestmark = pytest.mark.anyio

#: Milliseconds: below this two windows on a busy machine cannot be told apart.
FLOOR = 50.0
#: Faults that a busy machine may make.
TIMED = re.compile(r"p99|an attempt took")
#: What each kind comes to; where it has sent a status line, that decides.
OUTCOMES = {
    "never reads": {"timeout"},
    "reset before read": {"protocol", "connect"},
    "hangs after headers": {"200"},
    "header drip": {"200"},
    "body drip": {"200"},
    "1xx flood": {"protocol"},
    "reset after read": {"protocol"},
    "endless body": {"200"},
    "bad chunking": {"200"},
    "closes mid status line": {"protocol"},
    "tiny headers": {"200"},
    "tiny chunks": {"200"},
    "many answers": {"200"},
    "gzip bomb": {"200"},
    "10 MB body": {"200"},
    "invalid UTF-8": {"200"},
    "expired TLS": {"tls"},
}


def is_undelayed(pairs: Pairs) -> bool:
    """Whether there was a round in which p99 stayed below twice the calm one."""
    return min(pairs.ratios) < 2 or min(window.p99 for window in pairs.beside) < FLOOR


async def test_hostile_receivers_of_every_kind_delay_no_healthy_one(tmp_path: Path) -> None:
    plan = hostile_rounds.Plan(
        tmp_path, deliveries=9, rounds=3, seconds=1.5, over=1.5, rate=60.0, timeout=1.0, nice=5
    )
    result = await hostile_rounds.run(plan)

    said = hostile_rounds.tables(result)
    assert {name: kind.attempts for name, kind in result.kinds.items()} == dict.fromkeys(
        OUTCOMES, 9
    ), said
    for name, kind in result.kinds.items():
        # on a busy machine any of them may be late once
        assert kind.outcomes.keys() <= OUTCOMES[name] | {"timeout"}, said
        assert kind.outcomes.keys() & OUTCOMES[name], said
        # drips and hangs have no end of their own; the exact bound is for a machine of its own
        assert kind.longest <= 1_500, said
        assert kind.seen <= 2_500, said
    assert [fault for fault in result.faults if not TIMED.search(fault)] == [], said
    assert is_undelayed(result.pairs), said


@pytest.mark.parametrize("kind", HANGS[:2])
async def test_a_receiver_that_hangs_with_a_backlog_delays_no_healthy_one(
    tmp_path: Path, kind: str
) -> None:
    plan = backlog_rounds.Plan(
        tmp_path, backlog=3_000, healthy=30, rounds=3, seconds=1.5, rate=60.0, kind=kind
    )
    result = await backlog_rounds.run(plan)

    said = backlog_rounds.table(result)
    assert [fault for fault in result.faults if not TIMED.search(fault)] == [], said
    assert is_undelayed(result.pairs), said


# --- the judges


def window(p99: float, missing: int = 0) -> Window:
    return Window(100, missing, p99 / 2, p99, p99 * 2, 1.0, 0.0)


def attacked() -> Result:
    """A run in which every bound was kept, if only just."""
    pairs = Pairs([window(10.0)] * 3, [window(19.0)] * 3)
    kind = Kind(200, 200, {"timeout": 200}, 1_100.0)
    held, peak = Holdings(100.0, 100.0, 10), Holdings(120.0, 199.0, 10)
    plan = hostile_rounds.Plan(Path())
    return Result(plan, pairs, {"never reads": kind}, held, peak, 0, [], 0.0)


def hostile_faults(result: Result) -> list[str]:
    hostile_rounds.judge(result)
    return result.faults


def test_the_judge_of_the_hostile_is_content_with_what_is_right() -> None:
    assert hostile_faults(attacked()) == []


def test_the_judge_of_the_hostile_finds_every_fault() -> None:
    slow = replace(attacked(), pairs=Pairs([window(10.0)] * 3, [window(20.0)] * 3))
    lost = replace(attacked(), pairs=Pairs([window(10.0)], [window(10.0, missing=2)]))
    grown = replace(attacked(), after=Holdings(120.0, 200.0, 10))
    late = replace(attacked(), kinds={"never reads": Kind(200, 200, {}, 1_101.0)})
    vacuous = replace(attacked(), kinds={"never reads": Kind(200, 199, {}, 1_000.0)})

    assert hostile_faults(slow) == ["healthy p99 was 2.0 x its calm one"]
    assert hostile_faults(lost) == ["2 healthy deliveries did not come"]
    assert hostile_faults(grown) == ["memory grew by 100.0 MiB"]
    assert hostile_faults(late) == ["never reads: an attempt took 1101.0 ms"]
    assert hostile_faults(vacuous) == ["never reads: only 199 attempts"]


def test_the_judge_of_the_backlog_finds_every_fault() -> None:
    held = Holdings(100.0, 100.0, 10)
    pairs = Pairs([window(10.0)], [window(19.0)])
    plan = backlog_rounds.Plan(Path(), backlog=100)

    def faults(pairs: Pairs = pairs, left: int = 100, connections: int = 4) -> list[str]:
        result = backlog_rounds.Result(plan, pairs, held, held, left, connections, [])
        backlog_rounds.judge(result)
        return result.faults

    assert faults() == []
    assert faults(Pairs([window(10.0)], [window(20.0)])) == [
        "healthy p99 was 2.0 x the one without"
    ]
    assert faults(Pairs([window(10.0, missing=1)], [window(10.0)])) == [
        "1 healthy deliveries did not come"
    ]
    assert faults(left=49) == ["only 49 of the backlog were left"]
    assert faults(connections=0) == ["nothing was sent to the one that hangs"]


def test_all_rounds_count() -> None:
    pairs = Pairs([window(10.0)] * 4, [window(p99) for p99 in (15.0, 90.0, 90.0, 25.0)])

    assert pairs.ratios == [1.5, 9.0, 9.0, 2.5]
    assert pairs.ratio == 5.75


def test_shares_of_the_late() -> None:
    late = [float(number) for number in range(1, 101)]
    assert [share(late, part) for part in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert share([2.0], 0.5) == 2.0
