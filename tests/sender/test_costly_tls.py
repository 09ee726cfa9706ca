"""Receivers that make TLS costly: what a handshake costs others, and how much of TLS is read."""

import asyncio
import base64
import math
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from service.domain.certificates import TlsIdentity
from service.domain.outcome import ErrorClass, Failed, Outcome, Responded
from service.domain.request import OutboundRequest
from service.sender import GuardedSender
from service.sender.fair_threads import FairThreads
from tests.sender.conftest import LOOPBACK
from tests.support import hostile
from tests.support.authority import Authority, Pair, serving
from tests.support.receiver import Receiver, Reply
from tests.support.streams import StreamServer

ROOT = Authority.make()
RSA = rsa.generate_private_key(65537, 2048)
GCM, CHACHA, CBC = "AES128-GCM-SHA256", "CHACHA20-POLY1305", "AES128-SHA256"


def asking(url: str, root: Authority = ROOT, timeout: float = 5.0) -> OutboundRequest:
    headers = (("x-mark", "webhook-is-here"),)
    return OutboundRequest(url, headers, b"{}", timeout, tls=TlsIdentity(authorities=root.pem))


def failed(outcome: Outcome) -> tuple[ErrorClass, str]:
    assert isinstance(outcome, Failed), outcome
    return outcome.error, outcome.message


def heavy_key() -> rsa.RSAPrivateKey:
    """One whose signatures take long to verify: a public exponent as long as OpenSSL takes."""
    easy = rsa.generate_private_key(65537, 3072).private_numbers()
    p, q = easy.p, easy.q
    phi = (p - 1) * (q - 1)
    e = phi
    while e >= phi or math.gcd(e, phi) != 1:
        e = secrets.randbits(3070) | 1 | (1 << 3069)
    d = pow(e, -1, phi)
    public = rsa.RSAPublicNumbers(e, p * q)
    parts = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    numbers = rsa.RSAPrivateNumbers(p, q, d, *parts, public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


async def test_a_costly_handshake_is_not_the_loops(tmp_path: Path, sender: GuardedSender) -> None:
    key = heavy_key()
    root = link = Authority.make("0", key=key)
    chain = ""
    for number in range(1, 31):
        link = Authority.make(str(number), link, key)
        chain = link.pem + chain
    leaf = link.server()
    tls = serving(Pair(leaf.certificate + chain, leaf.key), tmp_path)
    async with Receiver(tls=tls) as receiver:
        mine, all_threads = time.thread_time(), time.process_time()
        outcome = await sender.send(asking(receiver.url(), root))
        mine, all_threads = time.thread_time() - mine, time.process_time() - all_threads
    assert isinstance(outcome, Responded)
    assert mine < all_threads / 3


# --- what is agreed on


@pytest.fixture(params=["of the system", "of an identity"])
def send(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], OutboundRequest]:
    if request.param == "of an identity":
        return asking
    path = tmp_path / "authorities.pem"
    path.write_text(ROOT.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return lambda url: OutboundRequest(url, (), b"{}", 5.0)


@pytest.mark.parametrize("cipher", [GCM, CHACHA, CBC, "AES256-GCM-SHA384", "AES256-SHA384"])
@pytest.mark.parametrize("kind", ["RSA", "ECDSA"])
async def test_servers_of_tls_1_2_are_understood(
    tmp_path: Path, send: Callable[[str], OutboundRequest], kind: str, cipher: str
) -> None:
    tls = serving(ROOT.server(key=RSA if kind == "RSA" else None), tmp_path)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers(f"ECDHE-{kind}-{cipher}")
    sender = GuardedSender(LOOPBACK)
    async with Receiver(tls=tls) as receiver:
        outcome = await sender.send(send(receiver.url()))
        await sender.close()
    assert isinstance(outcome, Responded), outcome


@pytest.mark.parametrize("curve", ["prime256v1", "secp384r1", "X25519"])
async def test_the_usual_curves_are_understood(
    tmp_path: Path, send: Callable[[str], OutboundRequest], curve: str
) -> None:
    tls = serving(ROOT.server(), tmp_path)
    tls.set_ecdh_curve(curve)
    sender = GuardedSender(LOOPBACK)
    async with Receiver(tls=tls) as receiver:
        outcome = await sender.send(send(receiver.url()))
        await sender.close()
    assert isinstance(outcome, Responded), outcome


async def test_the_receiver_does_not_choose_the_group(
    tmp_path: Path, send: Callable[[str], OutboundRequest]
) -> None:
    tls = serving(ROOT.server(key=RSA), tmp_path)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("DHE-RSA-AES256-GCM-SHA384")
    tls.load_dh_params(str(dh_group(tmp_path)))
    sender = GuardedSender(LOOPBACK)
    async with Receiver(tls=tls) as receiver:
        outcome = await sender.send(send(receiver.url()))
        await sender.close()
        others = ssl.create_default_context(cadata=ROOT.pem)
        _, writer = await asyncio.open_connection(receiver.host, receiver.port, ssl=others)
        assert writer.get_extra_info("cipher")[0].startswith("DHE")  # the server is sound
        writer.transport.abort()
    assert failed(outcome)[0] is ErrorClass.TLS


def dh_group(folder: Path) -> Path:
    """A modulus of 2,048 bits, and the generator 2."""
    modulus = (secrets.randbits(2048) | 1 | 3 << 2046).to_bytes(257)
    body = b"\x02\x82\x01\x01" + modulus + b"\x02\x01\x02"
    text = base64.encodebytes(b"\x30\x82" + len(body).to_bytes(2) + body).decode()
    path = folder / "group.pem"
    path.write_text(f"-----BEGIN DH PARAMETERS-----\n{text}-----END DH PARAMETERS-----\n")
    return path


async def test_no_connection_is_negotiated_anew(
    tmp_path: Path,
    send: Callable[[str], OutboundRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[ssl.SSLContext] = []
    wrap = ssl.SSLContext.wrap_bio

    def watched(self: ssl.SSLContext, *args: ssl.MemoryBIO, **more: object) -> ssl.SSLObject:
        if more.get("server_hostname"):
            used.append(self)
        return wrap(self, *args, **more)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(ssl.SSLContext, "wrap_bio", watched)
    sender = GuardedSender(LOOPBACK)
    async with Receiver(tls=serving(ROOT.server(), tmp_path)) as receiver:
        assert isinstance(await sender.send(send(receiver.url())), Responded)
        await sender.close()
    assert [bool(each.options & ssl.OP_NO_RENEGOTIATION) for each in used] == [True]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="Python's TLS cannot ask for it")
async def test_a_receiver_that_wants_to_negotiate_anew_gets_nowhere(
    tmp_path: Path, sender: GuardedSender
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    pair = ROOT.server().file(tmp_path)
    command = ("openssl", "s_server", "-tls1_2", "-msg", "-accept", address, "-cert", str(pair))
    server = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert server.stdin is not None
    assert server.stdout is not None
    await server.stdout.readuntil(b"ACCEPT")
    sending = asyncio.create_task(sender.send(asking(f"https://{address}/")))
    said = await server.stdout.readuntil(b"webhook-is-here")
    for _ in range(3):
        server.stdin.write(b"r\n")
        await server.stdin.drain()
    await sending
    server.stdin.close()
    server.kill()
    said += await server.stdout.read()
    await server.wait()
    assert said.count(b"HelloRequest") > 0
    assert said.count(b"ClientHello") == 1


# --- how much is read


@pytest.mark.parametrize(("tickets", "is_taken"), [(2, True), (20, True), (1000, False)])
async def test_so_much_may_come_beside_the_answer(
    tmp_path: Path, sender: GuardedSender, *, tickets: int, is_taken: bool
) -> None:
    tls = serving(ROOT.server(), tmp_path)
    tls.num_tickets = tickets
    async with Receiver(tls=tls) as receiver:
        outcome = await sender.send(asking(receiver.url()))
    if is_taken:
        assert isinstance(outcome, Responded)
    else:
        assert failed(outcome) == (
            ErrorClass.PROTOCOL,
            "The connection was lost: more of TLS came than answers need.",
        )


async def test_what_comes_unasked_ends_the_connection(
    tmp_path: Path, sender: GuardedSender
) -> None:
    twice = hostile.TwoAnswers()
    async with Receiver(
        lambda got: twice if got.connection == 1 else Reply(503),
        tls=serving(ROOT.server(), tmp_path),
    ) as receiver:
        await sender.send(asking(receiver.url()))
        async with asyncio.timeout(10):
            await twice.ended.wait()
        outcome = await sender.send(asking(receiver.url()))
    assert isinstance(outcome, Responded)
    assert outcome.status == 503


@pytest.mark.parametrize(("extra", "is_taken"), [(30, True), (100, False)])
async def test_so_much_may_come_before_tls_is_agreed_on(
    tmp_path: Path, sender: GuardedSender, *, extra: int, is_taken: bool
) -> None:
    leaf = ROOT.server()
    # 80,000 bytes are less than OpenSSL's own limit
    chain = "".join(Authority.make("x" * 60 + str(n)).pem for n in range(extra)) * 2
    tls = serving(Pair(leaf.certificate + chain, leaf.key), tmp_path)
    async with Receiver(tls=tls) as receiver:
        outcome = await sender.send(asking(receiver.url()))
    if is_taken:
        assert isinstance(outcome, Responded)
    else:
        assert failed(outcome) == (
            ErrorClass.TLS,
            "TLS could not be agreed on: more than 65536 bytes came.",
        )


async def test_bytes_that_drip_in_singly_trouble_no_thread(
    tmp_path: Path, sender: GuardedSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    run = FairThreads.run

    def counted(self: FairThreads, *args: Any) -> asyncio.Future[Any]:  # noqa: ANN401  passed on
        nonlocal steps
        steps += 1
        return run(self, *args)

    monkeypatch.setattr(FairThreads, "run", counted)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server, from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = serving(ROOT.server(), tmp_path).wrap_bio(to_server, from_server, server_side=True)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not to_server.write(await reader.read(65_536)) or not shaken(server):
            for byte in from_server.read():
                writer.write(bytes((byte,)))
                await asyncio.sleep(0)
        server.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.write(from_server.read())
        await reader.read(1)

    server = StreamServer(converse)
    port = await server.start()
    outcome = await sender.send(asking(f"https://127.0.0.1:{port}/"))
    await server.stop()
    assert isinstance(outcome, Responded), outcome
    assert steps < 10


def shaken(server: ssl.SSLObject) -> bool:
    with suppress(ssl.SSLWantReadError):
        server.do_handshake()
        return True
    return False


async def test_a_handshake_in_tiny_records_ends(sender: GuardedSender) -> None:
    async def tiny(writer: asyncio.StreamWriter) -> None:
        hello = b"\x02\x00\x3e\x80" + bytes(16_000)
        for byte in hello:
            writer.write(b"\x16\x03\x03\x00\x01" + bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0.001)

    async with Receiver(greeting=tiny) as receiver:
        outcome = await sender.send(asking(receiver.url().replace("http:", "https:")))
    error, message = failed(outcome)
    assert error is ErrorClass.TLS
    assert message == "TLS could not be agreed on: it came in more than 64 pieces."


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 1_000_000])
async def test_requests_of_any_size_arrive_whole(
    tmp_path: Path, sender: GuardedSender, size: int
) -> None:
    body = secrets.token_bytes(size)
    async with Receiver(tls=serving(ROOT.server(), tmp_path)) as receiver:
        request = asking(receiver.url())
        outcome = await sender.send(type(request)(request.url, (), body, 20.0, tls=request.tls))
    assert isinstance(outcome, Responded)
    assert receiver.requests[0].body == body


@pytest.mark.parametrize("size", [0, 5_000, 16_384])
async def test_answers_arrive_whole(tmp_path: Path, sender: GuardedSender, size: int) -> None:
    body = secrets.token_bytes(size)
    tls = serving(ROOT.server(), tmp_path)
    async with Receiver(lambda _: Reply(200, body=body), tls=tls) as receiver:
        outcomes = [await sender.send(asking(receiver.url())) for _ in range(2)]
    assert [each.body for each in outcomes if isinstance(each, Responded)] == [body, body]
    assert [each.connection for each in receiver.requests] == [1, 1]


async def test_an_answer_in_the_smallest_of_records_is_taken(
    tmp_path: Path, sender: GuardedSender
) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok":
            writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(5)

    async with Receiver(lambda _: drip, tls=serving(ROOT.server(), tmp_path)) as receiver:
        outcome = await sender.send(asking(receiver.url()))
    assert isinstance(outcome, Responded)
    assert outcome.body == b"ok"


# --- how it ends


@pytest.mark.parametrize(("framed", "is_cut"), [(True, True), (False, False)])
async def test_the_end_of_the_connection_ends_an_answer_without_length(
    tmp_path: Path, sender: GuardedSender, *, framed: bool, is_cut: bool
) -> None:
    async def end(writer: asyncio.StreamWriter) -> None:
        length = b"content-length: 9\r\n" if framed else b""
        writer.write(b"HTTP/1.1 200 OK\r\n" + length + b"\r\nbody")
        await writer.drain()

    async with Receiver(lambda _: end, tls=serving(ROOT.server(), tmp_path)) as receiver:
        outcome = await sender.send(asking(receiver.url()))
    assert isinstance(outcome, Responded)
    assert (outcome.body, outcome.body_cut) == (b"body", is_cut)


async def test_nothing_is_said_to_a_far_end_that_is_not_allowed(
    sender: GuardedSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = iter([True, False])
    monkeypatch.setattr("service.sender.connector.check_address", lambda *_: next(verdicts))
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)  # noqa: FBT003 - the standard library's signature
        port = server.getsockname()[1]
        outcome = await sender.send(asking(f"https://127.0.0.1:{port}/"))
        connection, _ = await loop.sock_accept(server)
        with connection:
            assert await loop.sock_recv(connection, 100) == b""
    assert failed(outcome)[0] is ErrorClass.BLOCKED
