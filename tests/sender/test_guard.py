"""Where no request ever goes, and connections that cannot be made."""

import asyncio
import errno
import os
import socket
import subprocess
import sys
import threading
from ipaddress import ip_network
from pathlib import Path

import pytest

from service.domain.concurrency import is_distress
from service.domain.outcome import ErrorClass, Failed, Outcome, Responded, Timing
from service.domain.targets import BLOCKED, NOT_ALLOWED, TargetPolicy
from service.sender import GuardedSender
from service.sender import lookups as lookups_module
from service.sender.attempt import Attempt
from tests.sender.conftest import LOOPBACK, Ask
from tests.support.lateness import own_time
from tests.support.receiver import Receiver, Reply

STRICT = TargetPolicy(allow_http=True)


async def send_once(sender: GuardedSender, ask: Ask, url: str) -> Outcome:
    try:
        return await sender.send(ask(url=url))
    finally:
        await sender.close()


def blocked(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed) and outcome.error is ErrorClass.BLOCKED


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "a.localhost", "[::1]", "0.0.0.1"])
async def test_loopback_needs_leave(receiver: Receiver, ask: Ask, host: str) -> None:
    outcome = await send_once(GuardedSender(STRICT), ask, receiver.url(host=host))
    assert isinstance(outcome, Failed)
    assert outcome == Failed(ErrorClass.BLOCKED, BLOCKED, Timing(total=0.0))
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"]],
)
async def test_a_name_that_points_inside_is_blocked(
    receiver: Receiver, ask: Ask, addresses: list[str]
) -> None:
    sender = GuardedSender(STRICT, lookup=lambda _: addresses)
    outcome = await send_once(sender, ask, receiver.url(host="hooks.example"))
    assert isinstance(outcome, Failed)
    assert outcome == Failed(ErrorClass.BLOCKED, BLOCKED, Timing(total=0.0))
    assert receiver.connections == 0


async def test_an_address_is_checked_where_sockets_are_made(
    receiver: Receiver, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the URL and every answer of the name server had slipped through."""
    monkeypatch.setattr("service.sender.resolver.check_address", lambda *_: True)
    sender = GuardedSender(STRICT, lookup=lambda _: ["127.0.0.1"])
    outcome = await send_once(sender, ask, receiver.url(host="hooks.example"))
    assert blocked(outcome)
    assert receiver.connections == 0


async def test_the_far_end_is_checked_before_anything_is_sent(
    receiver: Receiver, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = iter([True, False])
    monkeypatch.setattr("service.sender.connector.check_address", lambda *_: next(verdicts))
    outcome = await send_once(GuardedSender(LOOPBACK), ask, receiver.url())
    assert blocked(outcome)
    assert receiver.requests == []


async def test_nothing_is_sent_where_the_far_end_is_not_known(
    receiver: Receiver, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection was reset between being made and being looked at."""
    monkeypatch.setattr("service.sender.connector.far_end", lambda _: None)
    outcome = await send_once(GuardedSender(LOOPBACK), ask, receiver.url())
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.PROTOCOL
    assert receiver.requests == []


@pytest.mark.parametrize("answer", [["10.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["::ffff:127.0.0.1"]])
async def test_a_name_is_looked_up_and_judged_for_new_connections(
    receiver: Receiver, ask: Ask, monkeypatch: pytest.MonkeyPatch, answer: list[str]
) -> None:
    monkeypatch.setattr("service.sender.resolver._CACHE_SECONDS", 1e-6)
    answers = iter([["127.0.0.1"], ["127.0.0.1"], answer])
    sender = GuardedSender(LOOPBACK, lookup=lambda _: next(answers))
    url = receiver.url(host="hooks.example")
    # the second is sent over the connection of the first
    receiver.script = lambda _: Reply(close=len(receiver.requests) > 1)
    for _ in range(3):
        assert isinstance(await sender.send(ask(url=url)), Responded)
    assert blocked(await send_once(sender, ask, url))
    assert [request.connection for request in receiver.requests] == [1, 1, 2]


async def test_a_name_that_moves_inside_is_blocked_when_it_has_moved(
    receiver: Receiver, ask: Ask
) -> None:
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    policy = TargetPolicy(allow_http=True, allow_networks=(ip_network("127.0.0.0/8"),))
    sender = GuardedSender(policy, lookup=lambda _: next(answers))
    url = receiver.url(host="hooks.example")
    assert isinstance(await send_once(sender, ask, url), Responded)
    assert blocked(await send_once(sender, ask, url))  # closing forgot the first answer


async def test_an_allowed_name_and_port_may_point_inside(receiver: Receiver, ask: Ask) -> None:
    hosts = frozenset({("inside.example", receiver.port)})
    policy = TargetPolicy(allow_http=True, allow_hosts=hosts)
    sender = GuardedSender(policy, lookup=lambda _: ["127.0.0.1"])
    assert isinstance(await sender.send(ask(url=receiver.url(host="inside.example"))), Responded)
    assert blocked(await sender.send(ask(url=receiver.url(host="other.example"))))
    await sender.close()


async def test_two_names_of_one_address_share_no_connection(receiver: Receiver, ask: Ask) -> None:
    sender = GuardedSender(LOOPBACK, lookup=lambda _: ["127.0.0.1"])
    await sender.send(ask(url=receiver.url(host="one.example")))
    await send_once(sender, ask, receiver.url(host="two.example"))
    assert [request.connection for request in receiver.requests] == [1, 2]


async def test_it_does_not_call_itself(receiver: Receiver, ask: Ask) -> None:
    policy = TargetPolicy(
        allow_http=True,
        allow_networks=LOOPBACK.allow_networks,
        deny_self=frozenset({("127.0.0.1", receiver.port)}),
    )
    sender = GuardedSender(policy, lookup=lambda _: ["127.0.0.1"])
    assert blocked(await sender.send(ask(url=receiver.url())))
    assert blocked(await send_once(sender, ask, receiver.url(host="hooks.example")))


async def test_http_is_blocked_where_it_is_not_allowed(ask: Ask) -> None:
    outcome = await send_once(GuardedSender(TargetPolicy()), ask, "http://example.com/")
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.BLOCKED
    assert "RINGBACK_ALLOW_HTTP" in outcome.message


def test_a_url_is_checked_without_a_name_server() -> None:
    def never(_: str) -> list[str]:
        raise AssertionError

    sender = GuardedSender(TargetPolicy(), lookup=never)
    assert sender.check_url("https://bücher.example/hooks") is None
    assert sender.check_url("https://10.0.0.1/") == NOT_ALLOWED
    assert "user name" in str(sender.check_url("https://a:b@example.com/"))


async def test_a_refused_connection(sender: GuardedSender, ask: Ask) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        outcome = await sender.send(ask(url=f"http://127.0.0.1:{port}/"))
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.CONNECT
    assert outcome.message == f"No connection to 127.0.0.1:{port}: connection refused."


async def test_a_connection_that_is_not_accepted_ends_in_time(
    sender: GuardedSender, ask: Ask
) -> None:
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for each in (one, two):  # fill the queue of the kernel, which then drops what follows
            each.setblocking(False)  # noqa: FBT003 - the standard library's signature
            each.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        start = own_time()
        outcome = await sender.send(ask(url=url, timeout=0.5))
        assert own_time() - start < 1.0  # when the kernel tries once more
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.TIMEOUT
    assert "while connecting" in outcome.message


async def test_an_unknown_name(ask: Ask) -> None:
    def unknown(_: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    outcome = await send_once(GuardedSender(STRICT, lookup=unknown), ask, "http://no.example/")
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.DNS
    assert outcome.message == (
        "The name no.example could not be resolved: Name or service not known."
    )


async def test_a_name_of_the_real_resolver_that_cannot_exist(ask: Ask) -> None:
    sender = GuardedSender(STRICT)
    outcome = await sender.send(ask(url="http://name.invalid/", timeout=10.0))
    await sender.close()
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.DNS


async def test_a_name_without_addresses(ask: Ask) -> None:
    sender = GuardedSender(STRICT, lookup=lambda _: [])
    outcome = await send_once(sender, ask, "http://empty.example/")
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.DNS


async def test_a_slow_name_server_ends_in_time_and_holds_one_thread(ask: Ask) -> None:
    release, lookups = threading.Event(), []

    def slow(host: str) -> list[str]:
        lookups.append(host)
        release.wait(10)
        return ["93.184.216.34"]

    sender = GuardedSender(STRICT, lookup=slow)
    outcomes = [await sender.send(ask(url="http://slow.example/", timeout=0.3)) for _ in range(3)]
    release.set()
    await sender.close()
    for outcome in outcomes:
        assert isinstance(outcome, Failed)
        assert outcome.error is ErrorClass.TIMEOUT
        assert 290 < outcome.timing.total < 3000  # a name server's ten seconds are not waited for
    assert lookups == ["slow.example"]


async def test_a_lookup_has_a_limit_of_its_own(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups_module, "_SECONDS", 0.2)
    release = threading.Event()

    def slow(_: str) -> list[str]:
        release.wait(10)
        return []

    sender = GuardedSender(STRICT, lookup=slow)
    outcome = await sender.send(ask(url="http://slow.example/"))
    release.set()
    await sender.close()
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.DNS
    assert outcome.timing.total < 1000


async def test_a_burst_to_one_name_asks_once(receiver: Receiver, ask: Ask) -> None:
    lookups: list[str] = []

    def lookup(host: str) -> list[str]:
        lookups.append(host)
        return ["127.0.0.1"]

    sender = GuardedSender(LOOPBACK, lookup=lookup)
    url = receiver.url(host="hooks.example")
    outcomes = await asyncio.gather(*(sender.send(ask(url=url)) for _ in range(20)))
    await sender.close()
    assert all(isinstance(outcome, Responded) for outcome in outcomes)
    assert lookups == ["hooks.example"]


# --- what this machine is short of


@pytest.mark.parametrize("host", ["127.0.0.1", "hooks.example"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL])
async def test_what_ringback_lacks_is_not_the_receivers_fault(
    receiver: Receiver, ask: Ask, monkeypatch: pytest.MonkeyPatch, host: str, number: int
) -> None:
    def exhausted(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    sender = GuardedSender(LOOPBACK, lookup=lambda _: ["127.0.0.1", "127.0.0.2"])
    with monkeypatch.context() as patch:
        patch.setattr("service.sender.connector.socket.socket", exhausted)
        outcome = await send_once(sender, ask, receiver.url(host=host))
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.UNKNOWN
    assert outcome.message == "Ringback itself had no connection to spare."
    assert not is_distress(outcome)


def test_a_resolver_without_descriptors_does_not_say_that_there_is_no_such_name() -> None:
    """In a process of its own: nothing else works without descriptors."""
    code = """
import errno, os, resource, socket
from service.sender.resolver import system_lookup

try:
    system_lookup("name.invalid")
except socket.gaierror as error:
    print("before:", type(error).__name__)
limit = os.dup(0)
os.close(limit)
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    system_lookup("name.invalid")
except OSError as error:
    print("after:", type(error).__name__, error.errno == errno.EMFILE)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["before: gaierror", "after: OSError True"]


def test_plain_http_agrees_on_no_tls() -> None:
    for secure, phase in ((True, "agreeing on TLS"), (False, "connecting")):
        attempt = Attempt("127.0.0.1", 80, 0.0, secure=secure)
        attempt.dialled = attempt.connected = 1.0
        assert attempt.phase == phase
