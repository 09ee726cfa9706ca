"""However a request's head comes, it is let through where it is within the bound, and else not."""

import asyncio
from itertools import pairwise, takewhile
from unittest.mock import Mock

import uvicorn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.runtime.protocol import Bounds, GuardedProtocol
from tests.support.http_server import TOLD

MOST = 120

#: A request's address, headers and body.
requests = st.tuples(
    st.integers(1, 130).map("a".__mul__),
    st.lists(st.integers(0, 70), max_size=4),
    st.integers(0, 200),
)


def _bytes_of(request: tuple[str, list[int], int]) -> tuple[bytes, int, int]:
    """The request, the bytes of its head as it is sent, and those of what it says."""
    path, sizes, length = request
    headers = [("x", "v" * size) for size in sizes]
    headers += [("content-length", str(length))] if length else []
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"POST /{path} HTTP/1.1\r\n{lines}\r\n".encode()
    said = len(path) + 1 + sum(len(name) + len(value) for name, value in headers)
    return head + b"b" * length, len(head), said


async def _heard(pieces: list[bytes]) -> tuple[list[str], bool]:
    """What is asked of an application by all that comes so, and whether a head was too large."""
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = Mock(asyncio.Transport)
    transport.is_closing.return_value = False
    transport.get_extra_info.return_value = None
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none")
    bounds = Bounds(TOLD, connections=1, head_bytes=MOST)
    protocol = GuardedProtocol(bounds, config=config, server_state=ServerState(), app_state={})
    protocol.connection_made(transport)
    for piece in pieces:
        protocol.data_received(piece)
        await asyncio.sleep(0)
    for _ in range(40):  # each turn leads a request on; there are few
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    written = b"".join(call.args[0] for call in transport.write.call_args_list)
    return asked, b"HTTP/1.1 431 " in written


@settings(max_examples=150, deadline=None)
@given(
    given=st.lists(requests, min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 1_500), max_size=8),
)
@example(given=[("a", [70], 200), ("a" * 100, [70], 0)], cuts=[])
@example(given=[("a", [], 0), ("a", [50, 50, 50], 0)], cuts=[100])
def test_a_head_is_let_through_where_it_is_small_enough(
    given: list[tuple[str, list[int], int]], cuts: list[int]
) -> None:
    parts = [_bytes_of(each) for each in given]
    text = b"".join(whole for whole, _, _ in parts)
    ends = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    asked, is_refused = asyncio.run(_heard([text[one:other] for one, other in pairwise(ends)]))
    possible = list(takewhile(lambda part: part[2] <= MOST, parts))
    assert asked == [f"/{path}" for path, _, _ in given[: len(asked)]]
    assert len(asked) <= len(possible)
    assert is_refused or len(asked) == len(given)
    assert not is_refused or any(raw > MOST for _, raw, _ in parts)
