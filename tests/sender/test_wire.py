"""What a receiver gets, and what is made of a proper answer."""

import asyncio

import pytest

from service.domain.outcome import MAX_RESPONSE_BYTES, Responded
from service.domain.request import OutboundRequest
from service.sender import GuardedSender
from tests.sender.conftest import LOOPBACK, Ask
from tests.support import hostile
from tests.support.receiver import Receiver, Reply


async def test_exactly_our_headers_and_bytes_leave(
    sender: GuardedSender, receiver: Receiver
) -> None:
    body = b'{"amount":1.10,"big":1e400,"text":"\xc3\xbc"}\n'
    headers = (
        ("content-type", "application/json"),
        ("user-agent", "Ringback/1.2.3"),
        ("webhook-id", "evt_1"),
        ("X-Tenant-Header", "Mixed Case"),
        ("x-twice", "1"),
        ("x-twice", "2"),
    )
    request = OutboundRequest(receiver.url("/a/../b/%7e?x=%20&y={z}"), headers, body, 5.0)
    outcome = await sender.send(request)
    assert isinstance(outcome, Responded)
    assert outcome.succeeded
    (got,) = receiver.requests
    assert (got.method, got.path) == ("POST", "/a/../b/%7e?x=%20&y={z}")
    assert got.body == body
    expected = [
        ("Host", f"127.0.0.1:{receiver.port}"),
        *headers,
        ("accept-encoding", "identity"),
        ("Content-Length", str(len(body))),
    ]
    assert sorted(got.raw_headers) == sorted(expected)


async def test_another_method_leaves_without_a_body(
    sender: GuardedSender, receiver: Receiver
) -> None:
    url, headers = receiver.url("/hook?x=1"), (("webhook-request-origin", "hooks.example.com"),)
    for _ in range(2):
        outcome = await sender.send(OutboundRequest(url, headers, b"", 5.0, method="OPTIONS"))
        assert isinstance(outcome, Responded)
    assert receiver.connections == 1
    for got in receiver.requests:
        assert (got.method, got.path, got.body) == ("OPTIONS", "/hook?x=1", b"")
        names = {name.lower() for name, _ in got.raw_headers}
        assert names == {"host", "webhook-request-origin", "accept-encoding", "user-agent"}


async def test_a_user_agent_is_added_where_there_is_none(receiver: Receiver, ask: Ask) -> None:
    sender = GuardedSender(LOOPBACK, user_agent="Ringback/9")
    await sender.send(ask())
    await sender.close()
    assert receiver.requests[0].headers["user-agent"] == "Ringback/9"


async def test_framing_is_never_the_requests_to_say(
    sender: GuardedSender, receiver: Receiver
) -> None:
    mine = (("Host", "evil.example"), ("Transfer-Encoding", "chunked"), ("content-length", "1"))
    outcome = await sender.send(OutboundRequest(receiver.url(), mine, b"12345", 5.0))
    assert isinstance(outcome, Responded)
    (got,) = receiver.requests
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["content-length"] == "5"
    assert "transfer-encoding" not in got.headers


@pytest.mark.parametrize("size", [0, 1, 65_537, 3_000_000])
async def test_a_body_of_any_size_has_its_length_and_no_chunks(
    sender: GuardedSender, receiver: Receiver, ask: Ask, size: int
) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert isinstance(await sender.send(ask(body=body)), Responded)
    (got,) = receiver.requests
    assert got.body == body
    assert got.headers["content-length"] == str(size)
    assert "transfer-encoding" not in got.headers


async def test_the_answer_is_kept(sender: GuardedSender, receiver: Receiver, ask: Ask) -> None:
    reply = Reply(422, (("X-Why", "no"), ("x-why", "such order")), b'{"error":1}')
    receiver.script = lambda _: reply
    outcome = await sender.send(ask())
    assert isinstance(outcome, Responded)
    assert (outcome.status, outcome.succeeded) == (422, False)
    assert outcome.headers[:2] == reply.headers
    assert outcome.header("x-why") == "no"
    assert (outcome.body, outcome.body_cut) == (reply.body, False)


async def test_headers_that_are_no_utf8_are_still_text(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    receiver.script = lambda _: Reply(200, (("x-latin", "caf\xe9"),))
    outcome = await sender.send(ask())
    assert isinstance(outcome, Responded)
    assert outcome.header("x-latin") == "caf\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(
    sender: GuardedSender, receiver: Receiver, ask: Ask, status: int
) -> None:
    receiver.script = lambda _: Reply(status, (("location", receiver.url("/other")),))
    outcome = await sender.send(ask())
    assert isinstance(outcome, Responded)
    assert (outcome.status, outcome.succeeded) == (status, False)
    assert [request.path for request in receiver.requests] == ["/"]


async def test_cookies_are_not_kept(sender: GuardedSender, receiver: Receiver, ask: Ask) -> None:
    receiver.script = lambda _: Reply(200, (("set-cookie", "a=b"),))
    await sender.send(ask())
    await sender.send(ask())
    assert "cookie" not in receiver.requests[1].headers


async def test_the_environment_names_no_proxy(
    receiver: Receiver, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    sender = GuardedSender(LOOPBACK)
    assert isinstance(await sender.send(ask()), Responded)
    await sender.close()
    assert len(receiver.requests) == 1


async def test_a_second_request_reuses_the_connection(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    receiver.script = lambda _: Reply(200, body=b"ok")
    first, second = await sender.send(ask()), await sender.send(ask())
    assert [request.connection for request in receiver.requests] == [1, 1]
    assert first.timing.connect is not None
    assert second.timing.connect is None
    assert second.timing.first_byte is not None
    assert second.timing.total >= second.timing.first_byte


async def test_a_connection_lost_while_idle_costs_no_attempt(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    await sender.send(ask())
    # The receiver has given the idle connection up: it breaks it off as soon as it is used.
    receiver.script = lambda got: Reply() if got.connection > 1 else hostile.close
    outcome = await sender.send(ask())
    assert isinstance(outcome, Responded)
    assert [request.connection for request in receiver.requests] == [1, 1, 2]


async def test_the_second_try_takes_no_other_old_connection(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    receiver.script = lambda _: Reply(delay=0.05)
    await asyncio.gather(*(sender.send(ask()) for _ in range(3)))
    receiver.script = lambda got: Reply() if got.connection > 3 else hostile.reset
    outcome = await sender.send(ask())
    assert isinstance(outcome, Responded)
    assert receiver.requests[-1].connection == 4
    assert len(receiver.requests) == 5


async def test_what_comes_unasked_is_not_the_next_answer(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    twice = hostile.TwoAnswers()
    receiver.script = lambda _: twice
    await sender.send(ask())
    async with asyncio.timeout(10):
        await twice.ended.wait()
    receiver.script = lambda _: Reply(503)
    outcome = await sender.send(ask())
    assert isinstance(outcome, Responded)
    assert outcome.status == 503


async def test_an_answer_before_the_body_was_taken_is_an_answer(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    async def refuse(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await hostile.hang(writer)

    receiver.greeting = refuse
    outcome = await sender.send(ask(body=bytes(8_000_000)))
    assert isinstance(outcome, Responded)
    assert outcome.status == 413


@pytest.mark.parametrize("size", [MAX_RESPONSE_BYTES - 1, MAX_RESPONSE_BYTES])
async def test_a_body_that_fits_is_kept_whole(
    sender: GuardedSender, receiver: Receiver, ask: Ask, size: int
) -> None:
    receiver.script = lambda _: Reply(200, body=b"b" * size)
    outcome = await sender.send(ask())
    assert isinstance(outcome, Responded)
    assert (len(outcome.body), outcome.body_cut) == (size, False)


async def test_a_longer_body_is_cut_and_changes_nothing(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    receiver.script = lambda _: Reply(200, body=b"b" * (MAX_RESPONSE_BYTES + 1))
    outcome = await sender.send(ask())
    assert isinstance(outcome, Responded)
    assert outcome.succeeded
    assert (len(outcome.body), outcome.body_cut) == (MAX_RESPONSE_BYTES, True)


async def test_no_more_connections_than_allowed_stay_open(ask: Ask) -> None:
    sender = GuardedSender(LOOPBACK, connections=2)
    async with Receiver() as one, Receiver() as two, Receiver() as three:
        for each in (one, two, three):
            assert isinstance(await sender.send(ask(url=each.url())), Responded)
        await sender.send(ask(url=two.url()))
        await sender.send(ask(url=one.url()))
        assert [each.connections for each in (one, two, three)] == [2, 1, 1]
    await sender.close()


async def test_a_closed_sender_opens_anew(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    await sender.send(ask())
    await sender.close()
    assert isinstance(await sender.send(ask()), Responded)
    assert receiver.connections == 2


async def test_only_the_loopback_that_is_allowed_serves_localhost(
    sender: GuardedSender, receiver: Receiver, ask: Ask
) -> None:
    outcome = await sender.send(ask(url=receiver.url(host="localhost")))
    assert isinstance(outcome, Responded)
    assert receiver.requests[0].headers["host"] == f"localhost:{receiver.port}"


async def test_the_name_is_kept_for_the_host_header(receiver: Receiver, ask: Ask) -> None:
    sender = GuardedSender(LOOPBACK, lookup=lambda _: ["127.0.0.1"])
    outcome = await sender.send(ask(url=receiver.url(host="Hooks.Example.")))
    await sender.close()
    assert isinstance(outcome, Responded)
    assert receiver.requests[0].headers["host"] == f"hooks.example:{receiver.port}"
    assert outcome.timing.resolve is not None
