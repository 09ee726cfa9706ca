"""Producers: what they do when there is no answer, or the answer is to come later."""

import json
from pathlib import Path

import pytest

from service.lab.processes import free_port
from service.lab.torture.ledger import Ledger, Posted
from service.lab.torture.producers import DATA, Allowance, Producer
from service.lab.torture.talking import Talk
from tests.support.receiver import Act, Received, Receiver, Reply

pytestmark = pytest.mark.anyio

EVENTS = 60


class Service:
    """Accepts events, numbers those of each operation, and answers the first tries badly."""

    def __init__(self, *bad: Reply | Act) -> None:
        self.bad = list(bad)
        self.seen: dict[str, int] = {}
        self.operations: dict[str, int] = {}

    def answer(self, request: Received) -> Reply | Act:
        if self.bad:
            return self.bad.pop(0)
        text = request.body.decode()
        is_list = request.headers["content-type"] == "application/json" and text[0] == "["
        events = json.loads(text) if is_list else [json.loads(line) for line in text.split("\n")]
        data = [{"id": e["id"], "sequence": self.number(e)} for e in events]
        return Reply(202, body=json.dumps({"data": data}).encode())

    def number(self, event: dict[str, str]) -> int:
        name = event["operationId"]
        if event["id"] not in self.seen:
            self.operations[name] = self.operations.get(name, 0) + 1
            self.seen[event["id"]] = self.operations[name]
        return self.seen[event["id"]]


async def produce(receiver: Receiver, file: Path, port: int | None = None) -> Ledger:
    ledger = Ledger.at(file)
    allowance = Allowance(most=1)
    allowance.lift()
    talk = Talk(port or receiver.port, "key")
    await Producer(1, 7, talk, ledger, allowance).run(EVENTS)
    talk.close()
    ledger.close()
    return ledger


async def test_all_that_is_posted_is_in_the_ledger_with_its_place(
    receiver: Receiver, tmp_path: Path
) -> None:
    service = Service()
    receiver.script = service.answer

    ledger = await produce(receiver, tmp_path / "log")

    assert {name: each.sequence for name, each in ledger.posted.items()} == service.seen
    assert len(service.seen) >= EVENTS
    assert ledger.wrong == []
    assert all(DATA.encode() in request.body for request in receiver.requests)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(lines) == 2 * len(receiver.requests)
    assert [line.get("answer", "asked") for line in lines[:2]] == ["asked", "accepted"]


async def test_a_503_is_obeyed_and_the_same_request_sent_again(
    receiver: Receiver, tmp_path: Path
) -> None:
    later = Reply(503, headers=(("retry-after", "0"),))
    receiver.script = Service(later, later).answer

    ledger = await produce(receiver, tmp_path / "log")

    assert ledger.answers["refused"] == 2
    assert len({request.body for request in receiver.requests[:3]}) == 1
    assert ledger.wrong == []


@pytest.mark.parametrize("bad", [Reply(500), Reply(503)])
async def test_other_answers_are_wrong(bad: Reply, receiver: Receiver, tmp_path: Path) -> None:
    receiver.script = Service(bad).answer

    ledger = await produce(receiver, tmp_path / "log")

    assert len(ledger.wrong) == 1


async def test_a_place_that_changes_is_wrong() -> None:
    ledger = Ledger(posted={"a": Posted("op", "step", 1)})

    ledger.take([{"id": "a", "sequence": 2}, {"id": "b", "sequence": 1}, {"id": "a"}])

    assert len(ledger.wrong) == 3


async def test_without_an_answer_most_requests_are_sent_again(
    receiver: Receiver, tmp_path: Path
) -> None:
    async def hang_up(writer: object) -> None:
        """Say nothing."""

    service = Service(hang_up, hang_up, hang_up)
    receiver.script = service.answer

    ledger = await produce(receiver, tmp_path / "log")

    assert ledger.answers["indeterminate"] == 3
    assert len({request.body for request in receiver.requests}) < len(receiver.requests)
    assert ledger.wrong == []


async def test_what_was_not_accepted_is_made_up_for(receiver: Receiver, tmp_path: Path) -> None:
    receiver.script = Service(*[Reply(500)] * 20).answer

    ledger = await produce(receiver, tmp_path / "log")

    assert ledger.taken == len(ledger.accepted) >= EVENTS
    assert len(ledger.posted) >= EVENTS + 20


async def test_a_service_that_accepts_nothing_is_left_alone_in_the_end(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.script = lambda _: Reply(500)

    ledger = await produce(receiver, tmp_path / "log")

    assert ledger.accepted == []
    assert 2 * EVENTS <= len(ledger.posted) < 4 * EVENTS


async def test_no_more_is_posted_than_is_allowed(receiver: Receiver, tmp_path: Path) -> None:
    allowance = Allowance(most=10)
    assert free_port() != receiver.port

    await allowance.wait(9)
    allowance.end()
    await allowance.wait(11)

    ledger = Ledger.at(tmp_path / "log")
    await Producer(1, 7, Talk(receiver.port, "key"), ledger, allowance).run(EVENTS)
    ledger.close()
    assert ledger.posted == {}
