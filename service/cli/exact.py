"""JSON whose numbers stay as they were written: parsing and printing them would change some.

The output is fit for terminals: what is not printable is escaped.
"""

import json
from typing import Any, Final

_INDENT: Final = "  "


class Number(str):
    """A number as it was written."""

    __slots__ = ()


def loads(text: str | bytes) -> Any:  # noqa: ANN401  JSON is what it is
    """Parse JSON; numbers become :class:`Number`. Raises ``ValueError`` for what is not JSON."""
    try:
        return json.loads(text, parse_float=Number, parse_int=Number, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def dumps(value: object, *, pretty: bool = False) -> str:
    """The JSON text of a value, on one line or indented by two; however deep it is nested."""
    written: list[str] = []
    waiting: list[str | tuple[object, int]] = [(value, 0)]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            written.append(each)
        else:
            waiting += reversed(_parts(*each, pretty=pretty))
    return "".join(written)


def plain(value: object) -> object:
    """The value with its numbers as numbers, for arithmetic."""
    return json.loads(value) if isinstance(value, Number) else value


def _refuse(word: str) -> object:
    raise ValueError(f"{word} is not JSON")


def _parts(value: object, depth: int, *, pretty: bool) -> list[str | tuple[object, int]]:
    """The text of a scalar; of others their punctuation, and what is in them with its depth."""
    match value:
        case Number():
            return [str(value)]
        case str():
            return [_text(value)]
        case dict() if value:
            colon = ": " if pretty else ":"
            members = [(_text(name) + colon, each) for name, each in value.items()]
            ends = "{}"
        case list() | tuple() if value:
            members = [("", each) for each in value]
            ends = "[]"
        case _:
            return [json.dumps(value)]
    inner, outer = (f"\n{_INDENT * (depth + more)}" if pretty else "" for more in (1, 0))
    parts: list[str | tuple[object, int]] = []
    for name, each in members:
        parts += [f"{',' if parts else ends[0]}{inner}{name}", (each, depth + 1)]
    return [*parts, outer + ends[1]]


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=not value.isprintable())
