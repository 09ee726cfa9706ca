"""Pages: templates, and how values are written in them. Everything is text unless it is ours."""

import re
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from jinja2 import Environment, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from service.console.receivers import receiver
from service.domain import ids, times, urls
from service.web import templates

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
#: Of units that are longer than the time, none is named.
_UNITS: Final = ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s"))

#: As :func:`when` writes it; what others wrote has no such brackets.
_DISTANCE: Final = re.compile(r"(?<=</time> <small>)[^<]*")
#: Characters by which a list tells what something is: more is on its own page.
_BRIEF: Final = 80
#: Of an address, what says where in a list it is.
_PLACES: Final = ("cursor", "before", "limit")
#: Characters that show what is around them in another order, as JSON may write them too.
_TURNING: Final = {
    code: f"\\u{code:04x}"
    for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}

#: What the states of things look like. Beside the colour there is always the word.
_LOOKS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("delivered", "active", "closed", "resolved", "COMPLETED", "in force", "ready"), "ok"
    ),
    **dict.fromkeys(("dead", "disabled", "open", "FAILED", "revoked", "failed"), "bad"),
    **dict.fromkeys(
        (
            "paused",
            "half_open",
            "replaying",
            "COMPLETED_WITH_ERRORS",
            "expired",
            "missing",
            "left out",
        ),
        "warn",
    ),
    **dict.fromkeys(("delivering", "PROCESSING", "IN_PROGRESS"), "busy"),
}


@cache
def environment() -> Environment:
    """Templates, with everything escaped that is not known to be markup; compiled once."""
    made = templates.environment("service.console")
    made.filters |= {
        "when": when,
        "seconds": seconds,
        "lasting": lasting,
        "milliseconds": milliseconds,
        "pretty": pretty,
        "known": lambda value: "—" if value is None else value,
        "look": lambda state: _LOOKS.get(str(state), "quiet"),
        "delivery_id": ids.delivery_id,
        "dead_letter_id": ids.dead_letter_id,
        "key_time": ids.key_time,
        "plain": lambda word: str(word).replace("_", " "),
        "rendered": times.render,
        "without": without,
        "asked": asked,
        "brief": brief,
        "typed": escape,
        "receiver": receiver,
        "told": urls.told,
        "shown": shown,
    }
    made.finalize = legible
    return made


def legible(value: object) -> object:
    """What stands in the place of a value on a page: text cannot turn what is around it.

    But for our markup, and for what is ``typed``: fields hold it, and send it back.
    """
    return value.translate(_TURNING) if type(value) is str else value


@pass_context
def when(context: Context, at: int | None) -> str:
    """A moment (ms): its date, and how far it is from now."""
    if at is None or at >= times.NEVER:
        return Markup('<span class="quiet">—</span>')
    if at <= times.HURRIED:
        return "now"
    text = times.render(at)
    moment = f"{text[:10]} {text[11:19]}"
    return Markup('<time datetime="{}" title="{}">{}</time> <small>{}</small>').format(
        text, text, moment, distance(at - context["now"])
    )


def shown(part: str) -> str:
    """What a part of a page shows, in brief: the same as long as only the clock goes on.

    How far each moment is from now is the clock's; the page's own script keeps that up to date.
    """
    return blake2b(_DISTANCE.sub("", part).encode("utf-8", "replace"), digest_size=8).hexdigest()


def distance(ms: int) -> str:
    """``-61000`` -> ``1 min ago``; what is to come is ``in 1 min``."""
    text = seconds(abs(ms) / 1000)
    return f"{text} ago" if ms <= 0 else f"in {text}"


def seconds(value: float | None) -> str:
    """A duration with its largest unit, and the next one below an hour's worth."""
    if value is None:
        return "—"
    whole = int(value)
    for size, unit in _UNITS:
        if whole >= size:
            return f"{whole // size} {unit}"
    return "0 s"


def lasting(value: float) -> str:
    """How long something took (s), in its largest unit and the next one below: ``3 min 5 s``."""
    if round(value, 3) < 1:
        return f"{value * 1000:.3g} ms" if value else "0 s"
    if round(value, 1) < _MINUTE:
        return f"{round(value, 1):g} s"
    whole = round(value)
    index = next(n for n, (size, _) in enumerate(_UNITS) if whole >= size)
    (size, unit), (below, smaller) = _UNITS[index : index + 2]
    rest = whole % size // below
    return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")


def milliseconds(value: float | None) -> str:
    """``1234.5`` -> ``1.23 s``."""
    if value is None:
        return "—"
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms"  # noqa: PLR2004  a second


def pretty(body: bytes | str | None) -> str:
    """JSON, indented; its numbers and texts stay as they were written.

    But for what would show other text than there is: the same texts have it as escapes.
    """
    if body is None:
        return ""
    raw = body.encode() if isinstance(body, str) else body
    try:
        return msgspec.json.format(raw, indent=2).decode().translate(_TURNING)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return raw.decode("utf-8", "replace")


def brief(text: str) -> str:
    """Its beginning, for a list of things."""
    return text if len(text) <= _BRIEF else f"{text[: _BRIEF - 1]}…"


def without(given: Mapping[str, str], *names: str) -> str:
    """What an address says, as a query, apart from some of it and from the place in a list."""
    left_out = {*names, *_PLACES, "done"}
    return urlencode([(name, text) for name, text in given.items() if name not in left_out])


class Asked(NamedTuple):
    """A filter that is on: what it is called, what it has, and the query of an address without."""

    label: str
    text: str
    others: str


def asked(given: Mapping[str, str], labels: Mapping[str, str]) -> list[Asked]:
    """The filters of an address that are on, of those that have a label."""
    return [
        Asked(label, given[name], without(given, name))
        for name, label in labels.items()
        if name in given
    ]


class Templates:
    """Renders pages."""

    def __init__(self) -> None:
        self._environment = environment()

    def render(self, name: str, values: Mapping[str, Any]) -> bytes:
        """The page as it goes out."""
        return self._environment.get_template(name).render(values).encode("utf-8", "replace")
