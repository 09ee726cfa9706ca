"""Settings that can be used and are seldom meant; each with what to do about it."""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from service.settings import Settings

#: A try comes up to so much later than the schedule says.
_JITTER: Final = 1.2

#: What was found, and the remedy.
Advice = tuple[str, str]


def of_settings(settings: Settings) -> Iterator[Advice]:
    """What a second look is worth."""
    yield from _targets(settings)
    yield from _times(settings)
    yield from _addresses(settings)
    if not settings.is_embedded and not settings.redis_url:
        yield (
            "RINGBACK_REDIS_URL is empty: one process does everything, a second would not start",
            "Leave it so for one process; give all processes the same redis:// URL otherwise.",
        )
    if settings.is_embedded and settings.redis_url:
        yield (
            "RINGBACK_REDIS_URL is set, and one SQLite file serves one process, which needs none",
            "Unset it: wakes take a longer way. Several processes need a postgresql:// URL too.",
        )


def _targets(settings: Settings) -> Iterator[Advice]:
    if settings.allow_http:
        yield (
            "RINGBACK_ALLOW_HTTP allows callback URLs that anybody on the way can read",
            "Unset it where receivers are not on your own machine or network.",
        )
    if str(settings.allow_targets):
        yield (
            f"RINGBACK_ALLOW_TARGETS lets subscribers reach {settings.allow_targets}",
            "Unset it unless these are receivers that every subscriber may call.",
        )


def _times(settings: Settings) -> Iterator[Advice]:
    longest = sum(settings.retry_schedule) * _JITTER
    if longest > settings.retention:
        yield (
            f"the last try may come after {longest:.0f} s, and RINGBACK_RETENTION is over before",
            "Shorten RINGBACK_RETRY_SCHEDULE, or lengthen RINGBACK_RETENTION: else events expire.",
        )
    if settings.operation_ttl > settings.retention:
        yield (
            "operations are readable for longer than their events",
            "Lengthen RINGBACK_RETENTION, or shorten RINGBACK_OPERATION_TTL.",
        )


def _addresses(settings: Settings) -> Iterator[Advice]:
    public = urlsplit(settings.public_url).hostname or ""
    if not _is_loopback(settings.host) and (_is_loopback(public) or public in {"0.0.0.0", "::"}):  # noqa: S104  looked for, not listened on
        yield (
            f"others can reach the API, and its links lead to {settings.public_url}",
            "Set RINGBACK_PUBLIC_URL to the address that others use.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
