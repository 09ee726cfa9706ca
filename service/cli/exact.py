"""JSON whose numbers stay as they were written: parsing and printing them would change some.

The output is fit for terminals: what is not printable is escaped.
"""

import json
from collections.abc import Iterator
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
    """The JSON text of a value, on one line or indented by two."""
    return "".join(_parts(value, "\n" if pretty else None))


def plain(value: object) -> object:
    """The value with its numbers as numbers, for arithmetic."""
    return json.loads(value) if isinstance(value, Number) else value


def _refuse(word: str) -> object:
    raise ValueError(f"{word} is not JSON")


def _parts(value: object, line: str | None) -> Iterator[str]:
    """The pieces of a value's text; ``line`` begins a line at its depth, ``None``: no lines."""
    match value:
        case Number():
            yield value
        case str():
            yield json.dumps(value, ensure_ascii=not value.isprintable())
        case dict() if value:
            members = ((f"{dumps(str(name))}:", each) for name, each in value.items())
            yield from _enclosed("{}", members, line)
        case list() | tuple() if value:
            yield from _enclosed("[]", (("", each) for each in value), line)
        case _:
            yield json.dumps(value)


def _enclosed(ends: str, members: Iterator[tuple[str, object]], line: str | None) -> Iterator[str]:
    inner = None if line is None else line + _INDENT
    yield ends[0]
    for number, (name, each) in enumerate(members):
        yield ("," if number else "") + (inner or "") + name + (" " if inner and name else "")
        yield from _parts(each, inner)
    yield (line or "") + ends[1]
