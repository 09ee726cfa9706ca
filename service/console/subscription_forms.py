"""A subscription as a form: each member of the API's body as a text, and back.

What is typed is judged by the rules of the API; here is only how each member is written.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

import msgspec

from service.console.forms import Filled, Texts
from service.console.rendering import pretty
from service.domain.attempt_log import MASK
from service.domain.errors import Fault
from service.domain.subscription import Signing, Subscription, Verification

#: What can be chosen where one of few words is wanted.
CHOICES: Final = {
    "payload": ("full", "thin"),
    "ordering": ("none", "operation"),
    "signing": tuple(Signing),
    "verification": tuple(Verification),
}
#: What is stored sealed and never shown; where nothing is typed it stays as it is.
SEALED: Final = ("clientCertificate", "clientKey", "caCertificate")
#: What of it can be taken away, by the name of the box, with the members that go.
REMOVALS: Final[Mapping[str, tuple[str, ...]]] = {
    "noClientCertificate": ("clientCertificate", "clientKey"),
    "noCaCertificate": ("caCertificate",),
}
#: What does not come back in a form, apart from the values of headers.
_SECRETS: Final = ("secret", *SEALED)
#: A name as HTTP has it, so that no value stands in its place where the colon was forgotten.
_HEADER: Final = re.compile(r"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:\s*(?P<value>.*)")
_AS: Final = "is to be written as name: value"
_ENOUGH: Final = 1e18


def _text(text: str) -> object:
    return text


def _words(text: str) -> list[str]:
    parts = text.replace("\n", ",").split(",")
    return [part.strip() for part in parts if part.strip()]


def _number(text: str) -> float | str:
    """The number, or what stands in its place: the API's rules say what is wrong with it."""
    try:
        value = float(text)
    except ValueError:
        return text
    return value if abs(value) < _ENOUGH else text  # what no JSON should hold


def _numbers(text: str) -> list[float | str]:
    return [_number(each) for each in _words(text)]


def _pairs(text: str) -> dict[str, str]:
    """``name: value`` by line; of a line that is not written so, the form says that."""
    return {name: value for name, value in _header_lines(text) if value}


def _json(text: str) -> object:
    """JSON as it was typed, its numbers too; what is none is a text, and so refused."""
    try:
        return msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return text


#: How each member is read, in the order of the form.
READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "url": _text,
    "eventTypes": _words,
    "operationTypes": _words,
    "description": _text,
    "operationId": _text,
    "headers": _pairs,
    "payload": _text,
    "ordering": _text,
    "signing": _text,
    "verification": _text,
    "timeoutSeconds": _number,
    "retrySchedule": _numbers,
    "rateLimitPerSecond": _number,
    "maxConcurrency": _number,
    "metadata": _json,
    **dict.fromkeys(SEALED, _text),
}


def body_of(texts: Texts, names: Iterable[str]) -> dict[str, object]:
    """These members as the API's body; ``null``, its default, where nothing was typed."""
    body: dict[str, object] = {
        name: READERS[name](texts[name]) if texts[name] else None for name in names
    }
    if body.get("url", "") is None:
        body["url"] = ""  # nothing is its default
    return body


def shown(subscription: Subscription) -> dict[str, str]:
    """The texts that stand for a subscription."""
    it = subscription
    texts: dict[str, object] = {
        "url": it.url,
        "eventTypes": ", ".join(it.event_types),
        "operationTypes": ", ".join(it.operation_types),
        "description": it.description,
        "operationId": it.operation_id,
        "headers": "\n".join(f"{name}: {MASK}" for name in it.header_names),
        "payload": it.payload,
        "ordering": it.ordering,
        "signing": it.signing,
        "verification": it.verification,
        "timeoutSeconds": _plain(it.timeout_seconds),
        "retrySchedule": ", ".join(map(_plain, it.retry_schedule or ())),
        "rateLimitPerSecond": _plain(it.rate_limit_per_second),
        "maxConcurrency": it.max_concurrency,
        "metadata": pretty(it.metadata),
    }
    found = {name: "" if text is None else str(text).strip() for name, text in texts.items()}
    return {**found, **dict.fromkeys(SEALED, "")}


def header_faults(texts: Texts) -> list[Fault]:
    """What is wrong with headers as they were typed, and does not come to the API's rules.

    A header without a value is one: its value may have been left out when the form came back. So
    is a name on two lines, of which no body could hold both.
    """
    lines = _header_lines(texts["headers"])
    faults = [Fault(f"/headers/{n}", _AS) for n, (_, value) in enumerate(lines) if not value]
    names = [name for name, value in lines if value]
    twice = next((name for name in names if names.count(name) > 1), None)
    return faults if twice is None else [*faults, Fault("/headers", f"{twice!r} is given twice")]


def returned(filled: Filled) -> Filled:
    """A form as it comes back: without what may be secret, and with what was left out so."""
    texts = {**filled.texts, **dict.fromkeys(_SECRETS, "")}
    left_out = {name for name in _SECRETS if filled.text(name)}
    lines = _header_lines(filled.text("headers"))
    kept = [f"{name}: {MASK}" if value == MASK else f"{name}:" for name, value in lines]
    texts["headers"] = "\n".join(kept)
    if any(value != MASK for _, value in lines):
        left_out.add("headers")
    return replace(filled, texts=texts, left_out=frozenset(left_out))


def _header_lines(text: str) -> list[tuple[str, str]]:
    """Name and value of each line; where either is missing, no value, and no text for a name."""
    found = [_HEADER.fullmatch(line.strip()) for line in text.splitlines() if line.strip()]
    return [("", "") if each is None else (each["name"], each["value"]) for each in found]


def _plain(value: float | None) -> str:
    """The number as people write it: ``30.0`` is ``30``."""
    if value is None:
        return ""
    return str(int(value)) if value == int(value) else repr(value)
