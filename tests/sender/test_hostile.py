"""Receivers that hang, drip, flood or lie: every attempt ends in time, with the right words."""

import asyncio
import gzip
import resource
import time

import pytest
from httptools import HttpResponseParser

from service.domain.outcome import MAX_RESPONSE_BYTES, ErrorClass, Failed, Outcome, Responded
from service.sender import GuardedSender, exchange
from tests.sender.conftest import LOOPBACK, Ask
from tests.support import hostile
from tests.support.lateness import Lateness
from tests.support.receiver import Act, Receiver, Reply

TIMEOUT = 0.5
#: A deadline may be overrun by a tenth, and by the time that the machine gave to others.
LATEST = TIMEOUT * 1.1 + 0.05

SLOW: list[tuple[Act, str]] = [
    (hostile.hang, "waiting for the answer"),
    (hostile.status_drip, "reading the answer"),
    (hostile.interim_drip, "reading the answer"),
]

BROKEN: list[tuple[Act, ErrorClass]] = [
    (hostile.reset, ErrorClass.PROTOCOL),
    (hostile.close, ErrorClass.PROTOCOL),
    (hostile.close_mid_status_line, ErrorClass.PROTOCOL),
    (hostile.endless_headers, ErrorClass.PROTOCOL),
    (hostile.interim_flood, ErrorClass.PROTOCOL),
    (hostile.no_http, ErrorClass.PROTOCOL),
]

#: The status line had come: it decides, whatever came of the rest.
CUT: list[Act] = [
    hostile.status_line_then_hang,
    hostile.header_drip,
    hostile.body_drip,
    hostile.endless_body,
    hostile.bad_chunking,
    hostile.short_body,
]


async def timed(sender: GuardedSender, ask: Ask, body: bytes = b"{}") -> Outcome:
    request = ask(body=body, timeout=TIMEOUT)
    lateness = Lateness()
    start = time.monotonic()
    outcome = await sender.send(request)
    took = time.monotonic() - start
    late = lateness.stop().seconds
    assert took <= LATEST + late
    assert outcome.timing.total == pytest.approx(took * 1000, abs=20 + late * 1000)
    return outcome


@pytest.mark.parametrize(("act", "phase"), SLOW)
async def test_no_answer_in_time(
    sender: GuardedSender, receiver: Receiver, ask: Ask, act: Act, phase: str
) -> None:
    receiver.script = lambda _: act
    outcome = await timed(sender, ask)
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.TIMEOUT
    assert outcome.message == f"No answer within 0.5 s: stopped while {phase}."


@pytest.mark.parametrize(("act", "error"), BROKEN)
async def test_a_broken_answer(
    sender: GuardedSender, receiver: Receiver, ask: Ask, act: Act, error: ErrorClass
) -> None:
    receiver.script = lambda _: act
    outcome = await timed(sender, ask)
    assert isinstance(outcome, Failed)
    assert outcome.error is error
    assert outcome.message.endswith(".")
    assert len(receiver.requests) == 1  # a new connection that breaks is not tried again


#: More of it comes with one read than should be parsed.
DENSE: list[Act] = [
    hostile.interim_flood,
    hostile.tiny_headers,
    hostile.tiny_chunks,
    hostile.many_answers,
]


@pytest.mark.parametrize("act", DENSE)
async def test_no_more_of_an_answer_is_parsed_than_is_wanted(
    sender: GuardedSender, receiver: Receiver, ask: Ask, act: Act
) -> None:
    parsed = 0

    class Counting(HttpResponseParser):
        def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # all it ever gets
            nonlocal parsed
            parsed += len(data)
            super().feed_data(data)

    receiver.script = lambda _: act
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "HttpResponseParser", Counting)
        outcome = await timed(sender, ask)
    assert 0 < parsed <= 40 * 1024  # a read brings up to 256 KiB
    if act is hostile.tiny_chunks:
        assert isinstance(outcome, Responded)
        assert outcome.body_cut
        assert outcome.body == b"a" * len(outcome.body) != b""


@pytest.mark.parametrize(("count", "is_taken"), [(100, True), (101, False)])
async def test_so_many_interim_answers_may_come(
    sender: GuardedSender, receiver: Receiver, ask: Ask, *, count: int, is_taken: bool
) -> None:
    async def interim(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * count)
        await asyncio.sleep(0.05)  # so that it is not all of it in one read
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await hostile.hang(writer)

    receiver.script = lambda _: interim
    outcome = await timed(sender, ask)
    assert isinstance(outcome, Responded) is is_taken
    if isinstance(outcome, Failed):
        assert outcome.error is ErrorClass.PROTOCOL
        assert outcome.message == "More than 100 interim answers came before the answer."


@pytest.mark.parametrize("act", CUT)
async def test_the_status_line_decides(
    sender: GuardedSender, receiver: Receiver, ask: Ask, act: Act
) -> None:
    receiver.script = lambda _: act
    outcome = await timed(sender, ask)
    assert isinstance(outcome, Responded)
    assert outcome.succeeded
    assert outcome.body_cut
    assert len(outcome.body) <= MAX_RESPONSE_BYTES
    again = asyncio.create_task(sender.send(ask()))
    requests = await receiver.wait_for(2)
    again.cancel()
    await asyncio.wait({again})
    assert requests[-1].connection == 2  # nothing is left for the next request to read


async def test_a_connection_broken_before_the_request_was_read(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    receiver.greeting = hostile.reset
    outcome = await timed(sender, ask)
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.PROTOCOL


async def test_a_receiver_that_takes_no_body_ends_in_time(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    receiver.greeting = hostile.hang
    outcome = await timed(sender, ask, bytes(16_000_000))
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.TIMEOUT


async def test_a_gzip_bomb_is_not_inflated(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    receiver.script = lambda _: Reply(200, (("content-encoding", "gzip"),), bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = await sender.send(ask())
    assert isinstance(outcome, Responded)
    assert outcome.body.startswith(b"\x1f\x8b")
    assert (len(outcome.body), outcome.body_cut) == (MAX_RESPONSE_BYTES, True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


async def test_a_receiver_that_reads_and_then_breaks_is_not_asked_twice(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    async def work_and_break(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.4)  # longer than any round trip

    await sender.send(ask())
    receiver.script = lambda _: work_and_break
    outcome = await sender.send(ask())
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.PROTOCOL
    assert len(receiver.requests) == 2


async def test_part_of_an_answer_on_a_reused_connection_is_not_asked_for_again(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    await sender.send(ask())
    receiver.script = lambda _: hostile.close_mid_status_line
    outcome = await sender.send(ask())
    assert isinstance(outcome, Failed)
    assert len(receiver.requests) == 2


async def test_cancellation_gets_through_and_leaves_nothing_open(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    receiver.script = lambda _: hostile.hang
    task = asyncio.create_task(sender.send(ask()))
    await receiver.wait_for(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    receiver.script = lambda _: Reply()
    assert isinstance(await sender.send(ask()), Responded)
    assert receiver.requests[-1].connection == 2


async def test_a_header_that_cannot_be_sent_is_a_failure(sender: GuardedSender, ask: Ask) -> None:
    request = ask()
    broken = type(request)(request.url, (("x-evil", "a\r\nx-more: b"),), b"{}", 5.0)
    outcome = await sender.send(broken)
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.UNKNOWN


async def test_waiting_for_a_connection_counts(receiver: Receiver, ask: Ask) -> None:
    receiver.script = lambda _: hostile.hang
    sender = GuardedSender(LOOPBACK, connections=1)
    first = asyncio.create_task(sender.send(ask(timeout=2.0)))
    await receiver.wait_for(1)
    outcome = await timed(sender, ask)
    assert isinstance(outcome, Failed)
    assert "preparing to connect" in outcome.message
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await sender.close()


async def test_many_deadlines_are_each_kept(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    receiver.script = lambda _: hostile.hang
    timeouts = [0.8, 0.3, 0.5, 0.4, 0.6, 0.3, 0.7]
    lateness = Lateness()
    outcomes = await asyncio.gather(*(sender.send(ask(timeout=each)) for each in timeouts))
    late = lateness.stop().seconds * 1000
    for timeout, outcome in zip(timeouts, outcomes, strict=True):
        assert isinstance(outcome, Failed)
        assert outcome.timing.total == pytest.approx(timeout * 1000, abs=80 + late)


# --- answers that are odd


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 103 Early Hints\r\nconnection: close\r\n\r\n",
        b"HTTP/1.0 100 Continue\r\n\r\n",
    ],
)
@pytest.mark.parametrize("apart", [True, False])
async def test_an_interim_answer_that_says_close_is_not_the_last(
    sender: GuardedSender, receiver: Receiver, ask: Ask, interim: bytes, *, apart: bool
) -> None:
    async def twice(writer: asyncio.StreamWriter) -> None:
        writer.write(interim)
        if apart:
            await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await hostile.hang(writer)

    receiver.script = lambda _: twice
    outcome = await timed(sender, ask)
    assert isinstance(outcome, Responded)
    assert (outcome.body, outcome.body_cut) == (b"ok", False)


@pytest.mark.parametrize("beside", [-1, 0, 1])
async def test_what_follows_the_answer_ends_the_connection_wherever_a_portion_ends(
    sender: GuardedSender, receiver: Receiver, ask: Ask, beside: int
) -> None:
    size = 4096 + beside
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 4000\r\nx: "
    first = head + b"x" * (size - len(head) - 4 - 4000) + b"\r\n\r\n" + b"b" * 4000
    assert len(first) == size

    async def two(writer: asyncio.StreamWriter) -> None:
        writer.write(first + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await hostile.hang(writer)

    receiver.script = lambda got: two if got.connection == 1 else Reply(503)
    assert isinstance(await timed(sender, ask), Responded)
    outcome = await timed(sender, ask)
    assert isinstance(outcome, Responded)
    assert (outcome.status, receiver.connections) == (503, 2)


@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
@pytest.mark.parametrize("protocol", [b"RTSP/1.0", b"ICE/1.0", b"ICY"])
async def test_another_protocol_says_nothing_of_a_delivery(
    sender: GuardedSender, receiver: Receiver, ask: Ask, interim: bytes, protocol: bytes
) -> None:
    async def other(writer: asyncio.StreamWriter) -> None:
        writer.write(interim + protocol + b" 200 OK\r\ncontent-length: 0\r\n\r\n")
        await hostile.hang(writer)

    receiver.script = lambda _: other
    outcome = await timed(sender, ask)
    assert isinstance(outcome, Failed)
    assert (outcome.error, outcome.message) == (
        ErrorClass.PROTOCOL,
        "The answer was not valid HTTP.",
    )
