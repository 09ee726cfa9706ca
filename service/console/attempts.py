"""Attempts as people look at them: what was sent, what came back, where the time went."""

import shlex
from dataclasses import dataclass
from typing import Final

import msgspec

from service.domain.attempt_log import MASK, Detail, ResponseDetail, Timings
from service.ports import AttemptView

_decoder: Final = msgspec.json.Decoder(Detail)
#: What a request made by hand has of its own, or what only the holder of the secret can make.
_LEFT_OUT: Final = frozenset({"content-length", "host", "connection", "accept-encoding"})
_SIGNATURES: Final = frozenset({"webhook-signature", "x-webhook-signature"})


@dataclass(frozen=True, slots=True)
class Seen:
    """One attempt, its detail opened; there is none when the worker died in the middle of it."""

    view: AttemptView
    detail: Detail | None

    @property
    def response(self) -> ResponseDetail | None:
        """What came back."""
        return None if self.detail is None else self.detail.response

    @property
    def outcome(self) -> str:
        """``delivered``, ``failed``, or ``delivering`` while nothing is known."""
        view = self.view
        if view.error_class is not None:
            return "failed"
        return "delivering" if view.status_code is None else "delivered"

    @property
    def parts(self) -> list[tuple[str, float]]:
        """Names of the parts of its time and their milliseconds, in their order."""
        timings = None if self.detail is None else self.detail.timings
        return [] if timings is None else _parts(timings)


def seen(view: AttemptView) -> Seen:
    """The attempt with its detail opened."""
    return Seen(view, None if view.detail is None else _decoder.decode(view.detail))


def curl(detail: Detail, body: bytes) -> str:
    """A command that sends the same once more, without signatures and what was masked."""
    kept = [
        f"  --header {shlex.quote(f'{name}: {value}')} \\"
        for name, value in detail.request.headers.items()
        if value != MASK and name.lower() not in _LEFT_OUT | _SIGNATURES
    ]
    lines = [
        f"curl --request POST {shlex.quote(detail.url)} \\",
        *kept,
        f"  --data-raw {shlex.quote(body.decode('utf-8', 'replace'))}",
    ]
    return "\n".join(lines)


def _parts(timings: Timings) -> list[tuple[str, float]]:
    named = (
        ("resolve", timings.resolve_ms),
        ("connect", timings.connect_ms),
        ("TLS", timings.tls_ms),
        ("first byte", timings.first_byte_ms),
    )
    return [(name, ms) for name, ms in named if ms is not None]
