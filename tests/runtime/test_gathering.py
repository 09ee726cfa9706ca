"""One system call for what is written in one turn; and nothing is lost or reordered by it."""

import asyncio

import pytest

from service.runtime.gathering import Gathering

pytestmark = pytest.mark.anyio


class Wire(asyncio.Transport):
    """Keeps what it was told to do."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[object] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.done.append(bytes(data))

    def write_eof(self) -> None:
        self.done.append("eof")

    def close(self) -> None:
        self.done.append("close")
        self.closing = True

    def abort(self) -> None:
        self.done.append("abort")
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 10


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def gathering(wire: Wire) -> Gathering:
    return Gathering(wire, asyncio.get_running_loop())


async def test_what_is_written_in_one_turn_leaves_at_once(wire: Wire, gathering: Gathering) -> None:
    gathering.write(b"head ")
    gathering.write(bytearray(b"body "))
    assert wire.done == []
    assert gathering.get_write_buffer_size() == 20

    await asyncio.sleep(0)
    gathering.write(b"next")
    await asyncio.sleep(0)

    assert wire.done == [b"head body ", b"next"]


async def test_what_is_whole_leaves_at_once_but_never_before_what_was_said_first(
    wire: Wire, gathering: Gathering
) -> None:
    gathering.write_whole(b"1")
    assert wire.done == [b"1"]
    gathering.write(b"2")
    gathering.write_whole(b"3")
    assert wire.done == [b"1"]
    await asyncio.sleep(0)
    assert wire.done == [b"1", b"23"]


async def test_nothing_whole_is_written_to_who_is_gone(wire: Wire, gathering: Gathering) -> None:
    gathering.close()
    gathering.write_whole(b"1")
    assert wire.done == ["close"]


async def test_what_is_written_after_the_end_is_dropped(wire: Wire, gathering: Gathering) -> None:
    gathering.write(b"1")
    gathering.write_eof()
    gathering.write_whole(b"2")
    gathering.write(b"3")
    await asyncio.sleep(0)
    assert wire.done == [b"1", "eof"]


async def test_who_closes_has_said_all_before(wire: Wire, gathering: Gathering) -> None:
    gathering.write(b"bye")
    gathering.close()
    gathering.write(b"too late")
    await asyncio.sleep(0)

    assert wire.done == [b"bye", "close"]


async def test_who_aborts_says_nothing_more(wire: Wire, gathering: Gathering) -> None:
    gathering.write(b"never")
    gathering.abort()
    await asyncio.sleep(0)

    assert wire.done == ["abort"]
