"""What is given on a command line in JSON, in files, in lists, or as a time."""

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from service.cli import exact, moments
from service.domain.signature import PUBLIC_KEY_PREFIX, secret_fault

Json = Any
_STANDARD_INPUT: Final = "-"
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_ITS_OWN: Final = "give the subscription's own: `ringback subscription secret ID` shows it"

Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]


def json_text(text: str) -> Json:
    """A value given as JSON, as ``@FILE``, or as ``-`` for standard input."""
    if text.startswith("@"):
        text = content(text.removeprefix("@"))
    elif text == _STANDARD_INPUT:
        text = content(text)
    try:
        return exact.loads(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"is not JSON ({error}); quote it, as in --data '{{\"page\": 1}}', or give @FILE"
        ) from None


def json_object(text: str) -> dict[str, Json]:
    """As :func:`json_text`, and it must be an object."""
    value = json_text(text)
    if not isinstance(value, dict):
        raise typer.BadParameter('must be a JSON object, such as {"page": 1}')
    return value


def content(name: str) -> str:
    """The text of a file, or of standard input for ``-``; a mark of UTF-8 at its front is none."""
    return read_bytes(name).decode("utf-8-sig", "surrogateescape")


def secret(text: str) -> str:
    """A secret that deliveries are signed with."""
    if text.startswith(PUBLIC_KEY_PREFIX):
        fault: str | None = "this is a public key; `ringback verify` takes it as --public-key"
    else:
        fault = secret_fault(text, _ITS_OWN)
    if fault is not None:
        raise typer.BadParameter(fault, param_hint="--secret")
    return text


def read_bytes(name: str) -> bytes:
    """The bytes of a file, or of standard input for ``-``."""
    if name == _STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{name} cannot be read: {error.strerror or error}") from None


def words(text: str | None) -> list[str] | None:
    """The parts of a comma list; ``None`` stays so."""
    if text is None:
        return None
    return [part for each in text.split(",") if (part := each.strip())]


def numbers(option: str, text: str | None) -> list[exact.Number] | None:
    """The parts of a comma list of numbers, as they are written; ``None`` stays so."""
    parts = words(text)
    bad = [part for part in parts or () if not _NUMBER.fullmatch(part)]
    if bad:
        raise typer.BadParameter(f"{option}: {bad[0]!r} is no number; give it as 0,5,300")
    return None if parts is None else [exact.Number(part) for part in parts]


def pairs(given: list[str] | None, separator: str = ":") -> dict[str, str] | None:
    """Headers given as ``name: value``; ``None`` where none are."""
    if not given:
        return None
    parted = [each.partition(separator) for each in given]
    bad = [name for name, found, _ in parted if not found or not name.strip()]
    if bad:
        raise typer.BadParameter(f"{bad[0]!r} is no header; give it as 'name: value'")
    return {name.strip(): value.strip() for name, _, value in parted}


def since(name: str = "--since") -> Any:  # noqa: ANN401  typer's own
    """An option that takes a time, or how long ago it was."""
    about = "A time, a day, or how long ago: 15m, 2h, 3d."
    return typer.Option(name, metavar="TIME", parser=_moment(ahead=False), help=about)


def until(name: str) -> Any:  # noqa: ANN401  typer's own
    """An option that takes a time to come, or how far off it is."""
    about = "A time, a day, or how long from now: 2h, 30d."
    return typer.Option(name, metavar="TIME", parser=_moment(ahead=True), help=about)


def as_json(about: str) -> Any:  # noqa: ANN401  typer's own
    """An option that takes any JSON."""
    return typer.Option(metavar="JSON", parser=json_text, help=about)


def _moment(*, ahead: bool) -> Callable[[str], str]:
    def parse(text: str) -> str:
        try:
            return moments.read(text, round(time.time() * 1000), ahead=ahead)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parse
