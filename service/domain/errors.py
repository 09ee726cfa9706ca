"""Expected failure is a value: a :class:`Refusal` says what was wrong and what to do next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RefusalKind(StrEnum):
    """Why a request was refused; the API's problem table turns each into one status and type."""

    MALFORMED = "malformed"  # not JSON, not UTF-8, wrong framing
    INVALID = "invalid"  # JSON, but not what was asked for
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    REQUEST_TIMEOUT = "request-timeout"  # it did not come in time
    CONFLICT = "conflict"
    GONE = "gone"  # it was here, and is not kept any longer
    TOO_LARGE = "too-large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused"
    UPGRADE_REQUIRED = "upgrade-required"
    TOO_MANY_REQUESTS = "too-many-requests"
    HEAD_TOO_LARGE = "request-head-too-large"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of an input: a JSON pointer (RFC 6901) to it and what is wrong with it."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused request: nothing was changed by it."""

    kind: RefusalKind
    detail: str
    faults: tuple[Fault, ...] = ()
    #: Further members of the problem document, such as ``{"status": "COMPLETED"}``.
    extra: Mapping[str, object] = field(default_factory=dict)
    #: Whole seconds after which to try again, where that can be said.
    retry_after: int | None = None


def invalid(*faults: Fault) -> Refusal:
    """A refusal of bad input that lists every fault found."""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return Refusal(RefusalKind.INVALID, f"The request has {count}; see errors.", faults)


def unauthenticated(what: str) -> Refusal:
    """A refusal of who does not prove who he is; ``what`` was wrong, without a full stop."""
    return Refusal(
        RefusalKind.UNAUTHENTICATED,
        f"{what}. Send 'Authorization: Bearer <key>' with a key made for this service.",
    )


def key_ended() -> Refusal:
    """A refusal of whoever's key was good before."""
    return unauthenticated("The API key is revoked or expired")


def not_found(what: str, name: str) -> Refusal:
    """A refusal that says the same for what is not there and for what belongs to another tenant."""
    return Refusal(RefusalKind.NOT_FOUND, f"There is no {what} {name!r} here.")


def conflict(detail: str, **extra: object) -> Refusal:
    """A refusal because of the present state, which ``detail`` names."""
    return Refusal(RefusalKind.CONFLICT, detail, extra=extra)


def still_running(key: str) -> Refusal:
    """A request with this ``Idempotency-Key`` is under way, here or in another process."""
    return Refusal(
        RefusalKind.CONFLICT,
        f"A request with the Idempotency-Key {key!r} is still running. Repeat this one later to "
        "get its answer.",
        retry_after=1,
    )
