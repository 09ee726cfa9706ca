"""Status lines out of answers that never became whole."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sender.head import Head, read_head


@pytest.mark.parametrize(
    ("data", "head"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK", None),
        (b"HTTP/1.1 200 OK\r", None),
        (b"HTTP/1.1 200 OK\r\n", Head(200, ())),
        (b"HTTP/1.1 200\r\n", Head(200, ())),
        (b"HTTP/1.0 503 Busy\r\nRetry-After: 5\r\nx-cut: a", Head(503, (("Retry-After", "5"),))),
        (b"HTTP/1.1 200 OK\nx: 1 \n", Head(200, (("x", "1"),))),
        (b"HTTP/1.1 200 OK\r\nx: 1\r\nno header\r\ny: 2\r\n", Head(200, (("x", "1"),))),
        (b"HTTP/1.1 200 OK\r\nx: 1\r\n\r\nbody: 2\r\n", Head(200, (("x", "1"),))),
        (b"HTTP/1.1 103 Early\r\n\r\n", None),
        (b"HTTP/1.1 103 Early\r\nlink: a\r\n\r\nHTTP/1.1 201 Made\r\n", Head(201, ())),
        (b"HTTP/1.1 103 Early\r\nlink: HTTP/1.1 200 OK\r\n", None),
        (b"HTTP/2 200 OK\r\n", None),
        (b"HTTP/1.1 099 Odd\r\n", None),
        (b"HTTP/1.1 2000 Odd\r\n", None),
        (b"ICY 200 OK\r\n", None),
        (b" HTTP/1.1 200 OK\r\n", None),
    ],
)
def test_the_final_status_line(data: bytes, head: Head | None) -> None:
    assert read_head(data) == head


@pytest.mark.parametrize("filler", [b" ", b"\t", b"a", b":", b"\r", b"\n", b"a: b\r", b"\r\r\n"])
def test_a_hostile_head_takes_no_longer_than_a_proper_one(filler: bytes) -> None:
    start = time.thread_time()
    for first in (b"HTTP/1.1 200 OK\r\nx:", b"HTTP/1.1 103 Early\r\nx:", b"HTTP/1.1 200 "):
        read_head(first + filler * (65_536 // len(filler)) + b"\0")
    assert time.thread_time() - start < 0.2


@given(st.binary())
def test_anything_can_be_read(data: bytes) -> None:
    read_head(b"HTTP/1.1 100 Go\r\n" + data)
    read_head(b"HTTP/1.1 200 OK\r\n" + data)
