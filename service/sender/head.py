"""Reads the status line out of an answer whose header block never became complete or valid.

A receiver that sent ``HTTP/1.1 200 OK`` has taken the delivery, whatever goes wrong after it.
"""

import re
from typing import NamedTuple

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
# White space is stripped afterwards: to part it from the value here would take quadratic time.
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)\r?\n")
_FIRST_FINAL_STATUS = 200


class Head(NamedTuple):
    """A status and those headers that were complete."""

    status: int
    headers: tuple[tuple[str, str], ...]


def read_head(data: bytes) -> Head | None:
    """The final status line in ``data`` and what came of its headers; ``None`` without one."""
    start = 0
    while (line := _STATUS_LINE.match(data, start)) is not None:
        status = int(line[1])
        if status >= _FIRST_FINAL_STATUS:
            return Head(status, _headers(data, line.end()))
        blank = _BLANK_LINE.search(data, line.end() - 2)
        if blank is None:
            return None
        start = blank.end()
    return None


def is_http(data: bytes, interim: int) -> bool:
    """Whether the answer after so many interim ones begins as HTTP does."""
    start = 0
    for _ in range(interim):
        blank = _BLANK_LINE.search(data, start)
        if blank is None:
            return False
        start = blank.end()
    return data[start:].lstrip(b"\r\n").startswith(b"HTTP/")


def text(raw: bytes) -> str:
    """A header's bytes as text that every store and encoder takes."""
    return raw.decode("utf-8", "replace")


def _headers(data: bytes, start: int) -> tuple[tuple[str, str], ...]:
    found = []
    while (header := _HEADER.match(data, start)) is not None:
        found.append((text(header[1]), text(header[2].strip(b" \t"))))
        start = header.end()
    return tuple(found)
