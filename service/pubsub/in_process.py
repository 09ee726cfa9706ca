"""The backplane of one process: whoever listens is called, and nothing ever waits in a queue."""

from collections.abc import Callable, Sequence

from service.ports import Moved


class InProcessBackplane:
    """See :class:`service.ports.Backplane`."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Sequence[Moved]], None]] = []

    def publish(self, notes: Sequence[Moved]) -> None:
        """Call everybody who listens."""
        for heard in self._listeners:
            heard(notes)

    def listen(self, heard: Callable[[Sequence[Moved]], None]) -> None:
        """Hear what is published from now on."""
        self._listeners.append(heard)

    async def run(self) -> None:
        """Do nothing: there is no other process to be heard."""

    async def close(self) -> None:
        """Do nothing: nothing is open."""
