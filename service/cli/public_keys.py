"""Public keys as they are given on a command line: a key, or a set of keys and where it is."""

from collections.abc import Iterable
from itertools import chain
from typing import Final

import typer

from service.cli import inputs
from service.cli.exits import CommandError, Exit
from service.domain.signature import PUBLIC_KEY_PREFIX, IsSigned, public_key_bytes

_ADDRESS: Final = ("https://", "http://")
#: Seconds for a key set to come.
_PATIENCE: Final = 10.0
_HINT: Final = "--public-key"


def checkers(given: Iterable[str]) -> list[IsSigned]:
    """What checks signatures, by each key that is given."""
    keys = list(chain.from_iterable(map(_keys, given)))
    if not keys:
        return []
    from service.vault.ed25519 import checker

    return [checker(key) for key in keys]


def _keys(text: str) -> list[bytes]:
    if text.startswith(PUBLIC_KEY_PREFIX):
        return [_read(text)]
    if text.startswith(_ADDRESS):
        return _of_set(_fetched(text))
    if text.startswith("@"):
        found = inputs.read_bytes(text.removeprefix("@"))
        line = found.strip().decode("utf-8", "replace")
        return [_read(line)] if line.startswith(PUBLIC_KEY_PREFIX) else _of_set(found)
    raise typer.BadParameter("give whpk_..., @FILE or an address", param_hint=_HINT)


def _of_set(document: bytes) -> list[bytes]:
    from service.domain.key_set import public_keys

    try:
        found = public_keys(document)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=_HINT) from None
    if not found:
        raise typer.BadParameter("the set holds no Ed25519 key", param_hint=_HINT)
    return [_read(each) for each in found]


def _read(text: str) -> bytes:
    key = public_key_bytes(text)
    if key is None:
        raise typer.BadParameter("what follows 'whpk_' is not 32 bytes in base64", param_hint=_HINT)
    return key


def _fetched(address: str) -> bytes:
    import httpx

    try:
        answer = httpx.get(address, timeout=_PATIENCE)
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = str(error)
        if isinstance(error, httpx.HTTPStatusError):  # its own words are of several lines
            why = f"it answered {error.response.status_code}"
        raise CommandError(
            f"No key set from {address}: {why or type(error).__name__}.",
            "Check the address; a whpk_ key or @FILE needs no network.",
            Exit.UNAVAILABLE,
        ) from None
    return answer.content
