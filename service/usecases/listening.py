"""Who waits for something to be told of it, as long as he is there and the service goes on."""

import asyncio


class Listener:
    """Somebody who waits; ``closing`` is set as soon as the service stops."""

    def __init__(self, closing: asyncio.Event) -> None:
        self._closing = closing
        self._turn: asyncio.Future[None] | None = None
        self._stopped = False

    @property
    def is_over(self) -> bool:
        """Whether there is no point in asking on: he hung up, or the service stops."""
        return self._stopped or self._closing.is_set()

    def stop(self) -> None:
        """Wait no longer, now and later: who asked is gone."""
        self._stopped = True
        self.wake()

    def wake(self) -> None:
        """Look again."""
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    async def pause(self, seconds: float) -> None:
        """Wait until woken, so long at most."""
        loop = asyncio.get_running_loop()
        self._turn = loop.create_future()
        alarm = loop.call_later(seconds, self.wake)
        try:
            await self._turn
        finally:
            alarm.cancel()
