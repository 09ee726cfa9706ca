"""Kinds of load: as much as is taken (closed loop), and so much a second (open loop); long polls.

The open loop keeps to its timetable whatever the service does: a request that finds no idle
connection waits, and its time counts from when it was to be sent. So a service that stalls is seen
to be late for everything that it held up (no coordinated omission).
"""

import asyncio
import threading
import time
from collections import deque
from typing import Final, Protocol

from service.lab.bench import stamps
from service.lab.bench.board import Board, Slot
from service.lab.bench.posting import Author, Connection, Route

#: Seconds between looks whether the service has caught up.
_LOOK_EVERY: Final = 0.002
_SECOND: Final = 1_000_000


class Load(Protocol):
    """A load that runs until it is stopped."""

    def start(self) -> None:
        """Begin to post."""

    def stop(self) -> None:
        """Post no more; answers may be outstanding."""


class Closed:
    """Posts on each connection as soon as the last answer came.

    Not ahead of the receiver by more than ``window`` events (0: by as many as it likes): a
    service that takes events faster than it delivers them would be measured at growing a backlog.
    """

    def __init__(
        self, author: Author, connections: list[Connection], board: Board, window: int
    ) -> None:
        self._author = author
        self._connections = connections
        self._board = board
        self._window = window
        #: What was under way before: the receiver may have been sent other things.
        self._before = board[Slot.POSTED] - board[Slot.RECEIVED]
        self._parked: deque[Connection] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._running = False

    def start(self) -> None:
        """Begin to post."""
        self._running = True
        for each in self._connections:
            each.on_idle = self._next
            self._next(each)

    def stop(self) -> None:
        """Post no more."""
        self._running = False

    def _next(self, connection: Connection) -> None:
        if not self._running:
            return
        if self._is_ahead():
            self._parked.append(connection)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY, self._look)
            return
        moment = stamps.now()
        connection.send(self._author.request(moment), moment)

    def _is_ahead(self) -> bool:
        under_way = self._board[Slot.POSTED] - self._board[Slot.RECEIVED] - self._before
        return bool(self._window) and under_way >= self._window

    def _look(self) -> None:
        self._timer = None
        if self._running and self._is_ahead():
            self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY, self._look)
            return
        parked, self._parked = self._parked, deque()
        for each in parked:
            self._next(each)


class Open:
    """Posts ``rate`` requests a second, evenly, come what may."""

    def __init__(self, author: Author, connections: list[Connection], rate: float) -> None:
        self._author = author
        self._rate = rate
        self._idle = deque(connections)
        self._due: deque[int] = deque()
        self._running = False
        self._loop = asyncio.get_running_loop()
        for each in connections:
            each.on_idle = self._next

    def start(self) -> None:
        """Begin to post."""
        self._running = True
        # a thread, since the event loop's timers know no less than a millisecond
        threading.Thread(target=self._keep_time, daemon=True).start()

    def stop(self) -> None:
        """Post no more."""
        self._running = False

    def _keep_time(self) -> None:
        begun, count = stamps.now(), 0
        while self._running:
            moment = begun + round(count * _SECOND / self._rate)
            ahead = moment - stamps.now()
            if ahead > 0:
                time.sleep(ahead / _SECOND)
            self._loop.call_soon_threadsafe(self._post, moment)
            count += 1

    def _post(self, moment: int) -> None:
        if not self._running:
            return
        if not self._idle:
            self._due.append(moment)
            return
        self._idle.popleft().send(self._author.request(moment), moment)

    def _next(self, connection: Connection) -> None:
        if self._due and self._running:
            moment = self._due.popleft()
            connection.send(self._author.request(moment), moment)
        else:
            self._idle.append(connection)


class Polls:
    """Waits on each connection for what is next in an operation's log, again and again.

    What is noted of an answer is when it came.
    """

    def __init__(self, route: Route, connections: list[Connection]) -> None:
        self._route = route
        self._connections = connections
        self._after = dict.fromkeys(connections, 0)
        self._running = False

    def start(self) -> None:
        """Begin to wait."""
        self._running = True
        for each in self._connections:
            each.on_idle = self._next
            self._next(each)

    def stop(self) -> None:
        """Ask no more."""
        self._running = False

    def _next(self, connection: Connection) -> None:
        if self._running:
            self._after[connection] += 1
            connection.send(self._route.poll(self._after[connection]), 0)
