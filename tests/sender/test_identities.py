"""TLS of single subscriptions: own certificates, own authorities, and connections of their own."""

import asyncio
import datetime as dt
import hashlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import pytest

from service.domain.certificates import TlsIdentity
from service.domain.outcome import ErrorClass, Failed, Outcome, Responded
from service.domain.request import OutboundRequest
from service.sender import GuardedSender, identities
from tests.sender.conftest import LOOPBACK
from tests.support.authority import Authority, Pair, serving
from tests.support.receiver import Act, Received, Receiver, Reply

ROOT = Authority.make("Root")
SERVER = ROOT.server()
MINUTE = dt.timedelta(minutes=1)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def identity(pair: Pair | None = None, authorities: str | None = ROOT.pem) -> TlsIdentity:
    if pair is None:
        return TlsIdentity(authorities=authorities)
    return TlsIdentity(pair.certificate, pair.key, authorities)


def request(url: str, tls: TlsIdentity | None) -> OutboundRequest:
    return OutboundRequest(url, (("webhook-id", "evt_1"),), b"{}", 5.0, tls=tls)


def failed(outcome: Outcome) -> tuple[ErrorClass, str]:
    assert isinstance(outcome, Failed), outcome
    return outcome.error, outcome.message


@asynccontextmanager
async def strict_server(context: ssl.SSLContext) -> AsyncIterator[str]:
    """A server in a thread that tells in an alert why it refuses, as most do and asyncio's not."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            connection, _ = server.accept()
            tls = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            with suppress(ssl.SSLError):
                tls.do_handshake()
            # a socket closed with something unread in it would take the alert back
            with socket.socket(fileno=tls.detach()) as plain, suppress(ConnectionError):
                plain.shutdown(socket.SHUT_WR)
                while plain.recv(4096):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}/"
        # the caller closes its end in a turn of this loop
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()


async def test_a_receiver_that_wants_to_know_who_calls(
    tmp_path: Path, sender: GuardedSender
) -> None:
    tls = ROOT.requiring(SERVER, tmp_path)
    async with Receiver(tls=tls) as receiver:
        outcome = await sender.send(request(receiver.url(), identity(ROOT.client())))

    assert isinstance(outcome, Responded)
    assert outcome.status == 200


async def test_an_intermediate_comes_with_the_certificate(
    tmp_path: Path, sender: GuardedSender
) -> None:
    middle = Authority.make("Middle", ROOT)
    leaf = middle.client()
    chain = Pair(leaf.certificate + middle.pem, leaf.key)
    async with Receiver(tls=ROOT.requiring(SERVER, tmp_path)) as receiver:
        outcomes = [
            await sender.send(request(receiver.url(), identity(each))) for each in (chain, leaf)
        ]

    assert isinstance(outcomes[0], Responded)
    assert failed(outcomes[1])[0] is ErrorClass.TLS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("pair", "says"),
    [
        (None, ("certificate required", "handshake failure")),
        (Authority.make("Other").client(), ("unknown ca",)),
        (ROOT.client(end=-MINUTE), ("certificate expired",)),
    ],
    ids=["none", "of another authority", "expired"],
)
async def test_a_refused_certificate_is_a_failure_of_tls(
    tmp_path: Path,
    sender: GuardedSender,
    *,
    pair: Pair | None,
    says: tuple[str, ...],
    version: ssl.TLSVersion,
) -> None:
    context = ROOT.requiring(SERVER, tmp_path)
    context.maximum_version = version
    async with strict_server(context) as url:
        error, message = failed(await sender.send(request(url, identity(pair))))
    assert error is ErrorClass.TLS
    # an alert that comes before the request was written is lost on the way up
    late = ("had agreed on TLS",) if version is ssl.TLSVersion.TLSv1_3 else ()
    assert any(words in message for words in (*says, *late)), message

    async with Receiver(tls=context) as receiver:
        assert failed(await sender.send(request(receiver.url(), identity(pair))))[0] is error
        assert receiver.requests == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_goes_wrong_behind_tls_is_none_of_its_faults(
    tmp_path: Path, sender: GuardedSender, version: ssl.TLSVersion
) -> None:
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.close()

    context = ROOT.requiring(SERVER, tmp_path)
    context.maximum_version = version
    async with Receiver(lambda _: hang_up, tls=context) as receiver:
        outcome = await sender.send(request(receiver.url(), identity(ROOT.client())))

    assert failed(outcome)[0] is ErrorClass.PROTOCOL
    assert len(receiver.requests) == 1


async def test_own_authorities_stand_in_for_the_systems(tmp_path: Path) -> None:
    other = Authority.make("Other")
    system = ssl.create_default_context(cadata=other.pem)
    sender = GuardedSender(LOOPBACK, tls=system)
    receivers = (Receiver(tls=serving(each.server(), tmp_path)) for each in (ROOT, other))
    first, second = receivers
    async with first, second:
        urls = [first.url(), second.url()]
        own = [await sender.send(request(url, identity())) for url in urls]
        systems = [await sender.send(request(url, None)) for url in urls]
        client = await sender.send(request(urls[0], identity(ROOT.client(), None)))
        await sender.close()

    assert [isinstance(each, Responded) for each in own] == [True, False]
    assert [isinstance(each, Responded) for each in systems] == [False, True]
    for refused in (own[1], systems[0], client):
        assert failed(refused)[0] is ErrorClass.TLS


async def test_an_authority_may_be_an_intermediate_or_the_receiver_itself(
    tmp_path: Path, sender: GuardedSender
) -> None:
    middle = Authority.make("Middle", ROOT)
    server = middle.server()
    stranger = Authority.make("Root")  # of the same name, by another key
    async with Receiver(tls=serving(server, tmp_path)) as receiver:
        outcomes = [
            await sender.send(request(receiver.url(), identity(authorities=each)))
            for each in (middle.pem, server.certificate, stranger.pem)
        ]

    assert [isinstance(each, Responded) for each in outcomes] == [True, True, False]


async def test_an_own_authority_does_not_vouch_for_another_name(
    tmp_path: Path,
) -> None:
    sender = GuardedSender(LOOPBACK, lookup=lambda _: ["127.0.0.1"])
    async with Receiver(tls=serving(SERVER, tmp_path)) as receiver:
        good = await sender.send(request(receiver.url(host="hooks.example"), identity()))
        bad = await sender.send(request(receiver.url(host="other.example"), identity()))
        await sender.close()

    assert isinstance(good, Responded)
    assert "not valid for" in failed(bad)[1]


# --- connections


async def test_no_connection_is_shared(tmp_path: Path, sender: GuardedSender) -> None:
    names = ("acme", "zeta")
    clients = {name: identity(ROOT.client(name)) for name in names}
    async with Receiver(tls=ROOT.requiring(SERVER, tmp_path)) as receiver:
        for turn in range(3):
            for each in names:
                url = receiver.url(f"/{each}/{turn}")
                assert isinstance(await sender.send(request(url, clients[each])), Responded)

    by_name = {
        each: {r.connection for r in receiver.requests if r.path.startswith(f"/{each}")}
        for each in names
    }
    assert [len(found) for found in by_name.values()] == [1, 1]
    assert by_name["acme"].isdisjoint(by_name["zeta"])


async def test_what_has_no_identity_gets_no_connection_of_one_that_has(
    tmp_path: Path,
) -> None:
    system = ssl.create_default_context(cadata=ROOT.pem)
    sender = GuardedSender(LOOPBACK, tls=system)
    context = ROOT.requiring(SERVER, tmp_path)
    context.verify_mode = ssl.CERT_OPTIONAL
    async with Receiver(tls=context) as receiver:
        for tls in (identity(ROOT.client()), None, identity(ROOT.client())):
            assert isinstance(await sender.send(request(receiver.url(), tls)), Responded)
        await sender.close()

    assert len({each.connection for each in receiver.requests}) == 3


async def test_an_equal_identity_is_the_same(tmp_path: Path, sender: GuardedSender) -> None:
    pair = ROOT.client()
    async with Receiver(tls=ROOT.requiring(SERVER, tmp_path)) as receiver:
        for _ in range(2):
            await sender.send(request(receiver.url(), identity(pair)))

    assert [each.connection for each in receiver.requests] == [1, 1]


async def test_at_the_same_time_a_context_is_made_once(
    tmp_path: Path, sender: GuardedSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[TlsIdentity] = []
    load = identities.load

    def counted(wanted: TlsIdentity) -> ssl.SSLContext:
        made.append(wanted)
        return load(wanted)

    monkeypatch.setattr(identities, "load", counted)
    tls = identity(ROOT.client())
    async with Receiver(tls=ROOT.requiring(SERVER, tmp_path)) as receiver:
        sends = [sender.send(request(receiver.url(), tls)) for _ in range(20)]
        assert all(isinstance(each, Responded) for each in await asyncio.gather(*sends))

    assert made == [tls]


async def test_contexts_are_bounded_and_what_hangs_on_them_is_closed(
    tmp_path: Path, sender: GuardedSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "_MOST", {True: 2, False: 2})
    clients = [identity(ROOT.client(f"c{n}")) for n in range(4)]
    made: list[identities.Credentials] = []
    watch_credentials(monkeypatch, made)
    async with Receiver(tls=ROOT.requiring(SERVER, tmp_path)) as receiver:
        for each in clients:
            await sender.send(request(receiver.url(), each))
        await sender.send(request(receiver.url(), clients[3]))
        await sender.send(request(receiver.url(), clients[0]))

        assert [each.retired for each in made] == [True, True, True, False, False]
        connections = [each.connection for each in receiver.requests]
        assert connections[3] == connections[4]
        assert connections[5] not in connections[:5]


async def test_a_send_under_way_outlives_its_context(
    tmp_path: Path, sender: GuardedSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "_MOST", {True: 1, False: 1})
    slow, other = identity(ROOT.client("slow")), identity(ROOT.client("other"))
    gate = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(5)  # it is the sender who hangs up

    def script(received: Received) -> Reply | Act:
        return late if received.path == "/slow" else Reply()

    async with Receiver(script, tls=ROOT.requiring(SERVER, tmp_path)) as receiver:
        send = asyncio.create_task(sender.send(request(receiver.url("/slow"), slow)))
        await receiver.wait_for(1)
        assert isinstance(await sender.send(request(receiver.url("/"), other)), Responded)
        gate.set()
        assert isinstance(await send, Responded)
        assert isinstance(await sender.send(request(receiver.url("/"), slow)), Responded)

    assert [each.connection for each in receiver.requests] == [1, 2, 3]


async def test_who_cannot_be_connected_to_costs_no_context(
    tmp_path: Path, sender: GuardedSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "_MOST", {True: 1, False: 1})
    made: list[identities.Credentials] = []
    watch_credentials(monkeypatch, made)
    with closing(socket.socket()) as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"https://127.0.0.1:{closed.getsockname()[1]}/"
        async with Receiver(tls=ROOT.requiring(SERVER, tmp_path)) as receiver:
            known = identity(ROOT.client())
            await sender.send(request(receiver.url(), known))
            for number in range(5):
                other = identity(ROOT.client(str(number)))
                assert failed(await sender.send(request(nowhere, other)))[0] is ErrorClass.CONNECT
            await sender.send(request(receiver.url(), known))

    assert len(made) == 1
    assert [each.connection for each in receiver.requests] == [1, 1]


async def test_receivers_of_one_owner_crowd_out_only_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "_MOST", {True: 3, False: 3})
    sender = GuardedSender(LOOPBACK, lookup=lambda _: ["127.0.0.1"])
    quiet, *many = (identity(ROOT.client(str(number))) for number in range(6))
    async with Receiver(tls=ROOT.requiring(SERVER, tmp_path)) as receiver:
        await sender.send(request(receiver.url(host="127.0.0.1"), quiet))
        for each in many:
            await sender.send(request(receiver.url(host="hooks.example"), each))
        await sender.send(request(receiver.url(host="127.0.0.1"), quiet))
        await sender.close()

    connections = [each.connection for each in receiver.requests]
    assert connections == [1, 2, 3, 4, 5, 6, 1]


# --- the system's authorities


def hashed(folder: Path, authority: Authority, name: str) -> None:
    """Put an authority where OpenSSL looks for one that is called so in common."""
    text = b"\x0c" + bytes((len(name),)) + name.lower().encode()
    pair = b"\x06\x03\x55\x04\x03" + text
    inner = b"\x30" + bytes((len(pair),)) + pair
    digest = hashlib.sha1(b"\x31" + bytes((len(inner),)) + inner).digest()  # noqa: S324  OpenSSL's
    folder.mkdir(exist_ok=True)
    (folder / f"{int.from_bytes(digest[:4], 'little'):08x}.0").write_text(authority.pem)


@pytest.mark.parametrize("has_file", [True, False])
async def test_a_folder_of_authorities_is_read_only_as_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_file: bool
) -> None:
    folder, file = tmp_path / "authorities", tmp_path / "authorities.pem"
    hashed(folder, ROOT, "Root")
    if has_file:
        file.write_text(ROOT.pem)
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    mine = identity(ROOT.client(), None)
    assert identities.load(mine).cert_store_stats()["x509"] == 0
    sender = GuardedSender(LOOPBACK, tls=ssl.create_default_context())
    async with Receiver(tls=ROOT.requiring(SERVER, tmp_path)) as receiver:
        outcome = await sender.send(request(receiver.url(), mine))
        await sender.close()

    assert isinstance(outcome, Responded)


@pytest.mark.parametrize("has_folder", [True, False])
async def test_a_file_of_more_authorities_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_folder: bool
) -> None:
    other = Authority.make("Other")
    folder, file = tmp_path / "authorities", tmp_path / "authorities.pem"
    if has_folder:
        hashed(folder, other, "Other")
    file.write_text(other.pem + "\n# and\n" + ROOT.pem)
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    sender = GuardedSender(LOOPBACK, tls=ssl.create_default_context())
    first, second = (Receiver(tls=serving(each.server(), tmp_path)) for each in (ROOT, other))
    async with first, second:
        outcomes = [
            await sender.send(request(each.url(), identity(ROOT.client(), None)))
            for each in (first, second)
        ]
        await sender.close()

    assert all(isinstance(each, Responded) for each in outcomes)


def watch_credentials(monkeypatch: pytest.MonkeyPatch, made: list[identities.Credentials]) -> None:
    keep = identities.Identities._keep  # noqa: SLF001  there is no other sign of it

    def kept(
        self: identities.Identities, identity: TlsIdentity, credentials: identities.Credentials
    ) -> None:
        made.append(credentials)
        keep(self, identity, credentials)

    monkeypatch.setattr(identities.Identities, "_keep", kept)


# --- what TLS takes


async def test_what_tls_takes_is_tried_beforehand(sender: GuardedSender) -> None:
    assert sender.check_identity(identity(ROOT.client())) is None
    assert sender.check_identity(identity()) is None


async def test_a_weak_certificate_in_the_chain_is_told(sender: GuardedSender) -> None:
    weak = Authority.weak(ROOT)
    leaf = weak.client()
    pair = Pair(leaf.certificate + weak.pem, leaf.key)

    assert sender.check_identity(identity(pair)) == "ca key too small"


async def test_certificates_that_tls_does_not_take_fail_the_attempt_only(
    tmp_path: Path, sender: GuardedSender
) -> None:
    good = ROOT.client()
    broken = TlsIdentity(good.certificate, ROOT.client().key, ROOT.pem)
    async with Receiver(tls=ROOT.requiring(SERVER, tmp_path)) as receiver:
        for _ in range(2):
            assert failed(await sender.send(request(receiver.url(), broken))) == (
                ErrorClass.TLS,
                "The subscription's certificates could not be used: key values mismatch.",
            )
        assert isinstance(await sender.send(request(receiver.url(), identity(good))), Responded)


def test_private_keys_are_in_no_file_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    pair = ROOT.client()
    identities.load(identity(pair))
    assert list(tmp_path.iterdir()) == []

    monkeypatch.delattr("os.memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert identities.load(identity(pair)).cert_store_stats()["x509"] == 1
    assert list(tmp_path.iterdir()) == []
