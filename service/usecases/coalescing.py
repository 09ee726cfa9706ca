"""Looks that are asked for at the same time are one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

#: Seconds that a look waits for the one before it. One that takes longer may never end, and who
#: waits for the next is not to wait for both.
_PATIENCE: Final = 1.0


class Coalesced(Generic[K, V]):
    """A look that many ask for: one answer for all, never older than the question.

    Whoever asks while a look is under way shares the next one with all others who do: what changed
    before he asked is seen. So under load a look costs each of many little, and alone it waits for
    nothing. A look that is slow holds the next up for a moment only.
    """

    def __init__(self, look: Callable[[K], Awaitable[V]]) -> None:
        self._look = look
        self._running: dict[K, asyncio.Task[V]] = {}
        #: Looks that have not begun, which others may still share.
        self._next: dict[K, asyncio.Task[V]] = {}

    async def ask(self, about: K) -> V:
        """What a look that begins from now on finds; raises what it raises."""
        shared = self._next.get(about)
        if shared is None or shared.done():  # done before it began: somebody cancelled it
            shared = self._next[about] = asyncio.create_task(self._begun(about))
            shared.add_done_callback(_noticed)
        return await asyncio.shield(shared)

    async def _begun(self, about: K) -> V:
        before = self._running.get(about)
        if before is not None:
            await asyncio.wait((before,), timeout=_PATIENCE)
        begun = self._running[about] = self._next.pop(about)
        try:
            return await self._look(about)
        finally:
            if self._running.get(about) is begun:  # else the next did not wait for this one
                del self._running[about]


def _noticed(look: "asyncio.Task[V]") -> None:
    """Those who asked are told of an error; where all of them went away nobody has to be."""
    if not look.cancelled():
        look.exception()
