"""Sends requests. The network never raises past here: whatever happens becomes an Outcome."""

import functools
import ssl
from time import perf_counter

from service.domain.certificates import TlsIdentity
from service.domain.outcome import (
    MAX_RESPONSE_BYTES,
    ErrorClass,
    Failed,
    Outcome,
    Responded,
    Timing,
)
from service.domain.request import OutboundRequest
from service.domain.targets import BLOCKED, TargetPolicy, parse_target
from service.sender.attempt import Attempt
from service.sender.contexts import restrained
from service.sender.errors import ConnectionLostError
from service.sender.faults import Fault, explain
from service.sender.head import read_head, text
from service.sender.identities import fault_of
from service.sender.line import Line
from service.sender.lookups import Lookup
from service.sender.message import Address, Message, compose
from service.sender.names import to_ascii
from service.sender.resolver import system_lookup

#: A keep-alive race shows within a round trip; later the receiver may well have read the request.
_RACE_SECONDS = 0.25

_REMEMBERED_URLS = 16_384


class GuardedSender:
    """Sends signed requests to addresses the policy allows, over kept-alive connections.

    Everything it opens belongs to the event loop of the first ``send``.

    Args:
        policy: What may be called.
        connections: How many may be in use at once, and kept open in all; more sends wait.
        user_agent: Sent with requests that name none.
        lookup: Finds a name's addresses; the system's resolver unless a test says otherwise.
        tls: How to judge receivers' certificates; the system's authorities by default.
    """

    def __init__(
        self,
        policy: TargetPolicy,
        *,
        connections: int = 512,
        user_agent: str = "Ringback",
        lookup: Lookup = system_lookup,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._defaults = (("accept-encoding", "identity"), ("user-agent", user_agent))
        self._open = functools.partial(Line, policy, lookup, connections, tls or _tls_context())
        self._line: Line | None = None
        self._address = functools.lru_cache(_REMEMBERED_URLS)(self._read_url)

    def check_url(self, url: str) -> str | None:
        """Judge a URL's text, without a name server: ``None``, or the fault in plain words."""
        target = parse_target(url, self._policy, to_ascii)
        return target if isinstance(target, str) else None

    def check_identity(self, identity: TlsIdentity) -> str | None:
        """Try certificates on: ``None``, or in words why TLS does not take them."""
        return fault_of(identity)

    async def send(self, request: OutboundRequest) -> Outcome:
        """Send the request and wait for the answer, at most ``request.timeout`` seconds in all.

        A complete final status line makes it :class:`Responded`, even if the rest was cut by size
        or time; otherwise it is :class:`Failed`. Only cancellation gets out of here.
        """
        address = self._address(request.url)
        if isinstance(address, str):
            return _blocked()
        attempt = Attempt(address.host, address.port, perf_counter(), secure=address.secure)
        line = self._line = self._line or self._open()
        fault: Fault = (ErrorClass.UNKNOWN, "No answer.")
        try:
            message = compose(request, address, self._defaults)
            with line.deadlines.within(request.timeout):
                await _converse(line, message, request.tls, attempt)
        except Exception as error:  # noqa: BLE001 - an expected failure is a value
            fault = explain(error, attempt, request.timeout)
        return _conclude(attempt, fault, attempt.timing(perf_counter()))

    async def close(self) -> None:
        """Close every connection. A sender that is used again opens new ones."""
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    def _read_url(self, url: str) -> Address | str:
        target = parse_target(url, self._policy, to_ascii)
        return target if isinstance(target, str) else Address.of(target)


def _tls_context() -> ssl.SSLContext:
    return restrained(ssl.create_default_context())


async def _converse(
    line: Line, message: Message, tls: TlsIdentity | None, attempt: Attempt
) -> None:
    try:
        await line.send(message, tls, attempt)
    except ConnectionLostError:
        # The receiver closed an idle connection just as we wrote to it. That says nothing
        # about the receiver and would cost the delivery an attempt and its endpoint's health
        # a failure, many times an hour for servers that keep connections for 5 s. So: once
        # more, within the same deadline, on a new connection. Receivers dedupe by webhook-id.
        if not _lost_a_race(attempt):
            raise
        attempt.start_afresh()
        await line.send(message, tls, attempt)


def _lost_a_race(attempt: Attempt) -> bool:
    if attempt.ready is None or not attempt.reused or attempt.head:
        return False
    return perf_counter() - attempt.ready < _RACE_SECONDS


def _conclude(attempt: Attempt, fault: Fault, timing: Timing) -> Outcome:
    if attempt.status is not None:
        headers = tuple([(text(name), text(value)) for name, value in attempt.headers])
        body = attempt.body[:MAX_RESPONSE_BYTES]
        return Responded(attempt.status, headers, body, attempt.body_cut, timing)
    head = read_head(attempt.head)
    if head is not None:
        return Responded(head.status, head.headers, b"", body_cut=True, timing=timing)
    return _blocked() if fault[0] is ErrorClass.BLOCKED else Failed(*fault, timing)


def _blocked() -> Failed:
    # No times: how long a name server took tells whether it knows a name of the inside.
    return Failed(ErrorClass.BLOCKED, BLOCKED, Timing(total=0.0))
