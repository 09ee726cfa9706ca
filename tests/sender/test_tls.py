"""TLS: whose certificates are taken, and what is said of the others."""

import ssl
from pathlib import Path

import pytest

from service.domain.outcome import ErrorClass, Failed, Responded
from service.sender import GuardedSender
from tests.sender.conftest import LOOPBACK, Ask
from tests.support import hostile
from tests.support.certificates import certificate, server_context
from tests.support.lateness import Lateness
from tests.support.receiver import Receiver, Reply


def trusting(path: Path) -> GuardedSender:
    context = ssl.create_default_context(cafile=str(path))
    return GuardedSender(LOOPBACK, tls=context, lookup=lambda _: ["127.0.0.1"])


async def test_a_trusted_certificate_for_the_name(tmp_path: Path, ask: Ask) -> None:
    path = certificate(tmp_path)
    sender = trusting(path)
    async with Receiver(lambda _: Reply(body=b"ok"), tls=server_context(path)) as receiver:
        first = await sender.send(ask(url=receiver.url(host="hooks.example")))
        second = await sender.send(ask(url=receiver.url(host="hooks.example")))
        await sender.close()
    assert isinstance(first, Responded)
    assert first.timing.tls is not None
    assert first.timing.connect is not None
    assert 0 < first.timing.tls < first.timing.total
    assert second.timing.tls is None
    assert [request.connection for request in receiver.requests] == [1, 1]


async def test_a_self_signed_certificate_is_not_accepted(
    tmp_path: Path, ask: Ask, sender: GuardedSender
) -> None:
    async with Receiver(tls=server_context(certificate(tmp_path))) as receiver:
        outcome = await sender.send(ask(url=receiver.url()))
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.TLS
    assert outcome.message == (
        "The receiver's certificate was not accepted: self-signed certificate."
    )
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("host", "expired", "words"),
    [("other.example", False, "not valid for"), ("hooks.example", True, "expired")],
)
async def test_a_certificate_that_does_not_fit(
    tmp_path: Path, ask: Ask, *, host: str, expired: bool, words: str
) -> None:
    path = certificate(tmp_path, expired=expired)
    sender = trusting(path)
    async with Receiver(tls=server_context(path)) as receiver:
        outcome = await sender.send(ask(url=receiver.url(host=host)))
        await sender.close()
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.TLS
    assert words in outcome.message


async def test_a_good_name_opens_no_door_for_another(tmp_path: Path, ask: Ask) -> None:
    path = certificate(tmp_path)
    sender = trusting(path)
    async with Receiver(tls=server_context(path)) as receiver:
        good = await sender.send(ask(url=receiver.url(host="hooks.example")))
        bad = await sender.send(ask(url=receiver.url(host="other.example")))
        await sender.close()
    assert isinstance(good, Responded)
    assert isinstance(bad, Failed)
    assert bad.error is ErrorClass.TLS


async def test_plain_http_on_a_tls_port(sender: GuardedSender, ask: Ask) -> None:
    async with Receiver(greeting=hostile.no_http) as receiver:
        url = receiver.url().replace("http:", "https:")
        outcome = await sender.send(ask(url=url))
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.TLS


async def test_a_handshake_that_hangs_ends_in_time(sender: GuardedSender, ask: Ask) -> None:
    async with Receiver(greeting=hostile.hang) as receiver:
        url = receiver.url().replace("http:", "https:")
        lateness = Lateness()
        outcome = await sender.send(ask(url=url, timeout=0.5))
        late = lateness.stop().seconds * 1000
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.TIMEOUT
    assert "agreeing on TLS" in outcome.message
    assert outcome.timing.total <= 600 + late


async def test_a_handshake_broken_off(sender: GuardedSender, ask: Ask) -> None:
    async with Receiver(greeting=hostile.reset) as receiver:
        url = receiver.url().replace("http:", "https:")
        outcome = await sender.send(ask(url=url))
    assert isinstance(outcome, Failed)
    assert outcome.error is ErrorClass.TLS
