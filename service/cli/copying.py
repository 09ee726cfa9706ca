"""A delivery's request as a curl command that can be copied."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from service.domain.signature import key_bytes, sign_body, sign_standard

#: How the service shows the value of a header that users may have put a token in.
_MASK: Final = "****"
#: Who has one of these and the body can pass for the service.
_SIGNATURES: Final = frozenset({"webhook-signature", "x-webhook-signature"})
#: curl writes these itself, or they belong to the connection.
_OWN: Final = frozenset({"host", "content-length", "connection", "accept-encoding"})
#: Bytes of an argument that a program can be given: Linux takes 128 KiB, with the end of it.
_ARGUMENT: Final = 128 * 1024


@dataclass(frozen=True, slots=True)
class Signing:
    """A secret to sign anew with, and the time to sign at, in unix seconds."""

    secret: str
    at: int


@dataclass(frozen=True, slots=True)
class Copy:
    """A command, and the names of the headers that are not in it as they were."""

    command: str
    without: tuple[str, ...]
    masked: tuple[str, ...]


def curl(url: str, headers: Mapping[str, str], body: str, signing: Signing | None) -> Copy:
    """The command that sends the request once more, signed anew or not at all."""
    sent = {name.lower(): value for name, value in headers.items() if name.lower() not in _OWN}
    left_out = tuple(sorted(_SIGNATURES & sent.keys()))
    kept = {name: value for name, value in sent.items() if name not in _SIGNATURES}
    if signing is not None:
        kept |= _signed(kept, body, signing, with_body="x-webhook-signature" in left_out)
    lines = [f"curl -i -X POST {_quoted(url)}"]
    lines += [f"  -H {_quoted(f'{name}: {value}')}" for name, value in kept.items()]
    fits = len(body.encode()) < _ARGUMENT
    lines.append(f"  --data-raw {_quoted(body)}" if fits else "  --data-binary @-")
    command = ("" if fits else f"{_printed(body)} |\n") + " \\\n".join(lines)
    masked = tuple(name for name, value in kept.items() if value == _MASK)
    return Copy(command, () if signing else left_out, masked)


def _signed(
    headers: Mapping[str, str], body: str, signing: Signing, *, with_body: bool
) -> dict[str, str]:
    key, sent = key_bytes(signing.secret), body.encode()
    message = headers.get("webhook-id", "")
    fresh = {
        "webhook-timestamp": str(signing.at),
        "webhook-signature": sign_standard([key], message, signing.at, sent),
    }
    if with_body:
        fresh["x-webhook-signature"] = sign_body(key, sent)
    return fresh


def _quoted(text: str) -> str:
    """For any POSIX shell; what a terminal would obey is left to ``printf`` to write."""
    if text.isprintable():
        return shlex.quote(text)
    kept = text.rstrip("\n")
    line_ends = text[len(kept) :]
    # the shell drops the line ends that a command's output ends with
    return f'"$({_printed(kept)})"' + (f"'{line_ends}'" if line_ends else "")


def _printed(text: str) -> str:
    """What writes it: a part of every shell, for which no text is too long."""
    doubled = text.replace("\\", r"\\")
    written = "".join(each if each.isprintable() else _escaped(each) for each in doubled)
    return f"printf '%b' {shlex.quote(written)}"


def _escaped(character: str) -> str:
    """As ``%b`` has it, to which three digits are all that belongs to a byte."""
    return "".join(f"\\0{byte:03o}" for byte in character.encode("utf-8", "replace"))
