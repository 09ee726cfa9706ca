"""Runs what is open: API server, worker and sweep in one event loop, from start to stop."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, Final, TypeVar

import uvicorn
import uvloop

from service import __version__
from service.api import create_app
from service.api.services import ApiSettings, Services
from service.runtime.keys import ADMIN_KEY_FILE
from service.runtime.protocol import Bounds, GuardedProtocol, most_connections
from service.runtime.wiring import Opened
from service.settings import Settings
from service.web.problems import Problems

T = TypeVar("T")

_BACKLOG: Final = 2048
#: Milliseconds that a client may take nothing of what was sent to it; then it is gone.
_UNREAD: Final = 30_000
#: Bytes in a WebSocket message of a client, who has nothing to say.
_MESSAGE: Final = 4096
#: Seconds for requests under way to end when the service stops.
_GRACE: Final = 5
#: Seconds after which a second Ctrl-C is a second wish, not an echo of the first.
_ASKED_TWICE: Final = 1.0
#: Seconds between two counts of what is open, where a limit on it is set.
_COUNT_EVERY: Final = 1.0


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop's event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


class _Server(uvicorn.Server):
    """uvicorn's server; signals are the host's, since there is more to stop than a server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


class _NoFalseAlarm(logging.Filter):
    """Leaves out what uvicorn says of every WebSocket that is answered with an HTTP problem.

    It takes such an answer, sends it, and then misses a handshake. What really fails in ours is
    logged where it fails.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be logged."""
        return record.msg != "ASGI callable returned without completing handshake."


class Host:
    """One process doing everything."""

    def __init__(self, opened: Opened, settings: Settings) -> None:
        self._opened = opened
        self._settings = settings
        self._stop = asyncio.Event()
        self._asked_at = 0.0
        self._draining = False
        #: Open deliveries at the last count, less those made by then.
        self._counted = 0
        self._server = _Server(self._config())
        logging.getLogger("uvicorn.error").addFilter(_NoFalseAlarm())

    async def serve(self) -> None:
        """Start everything, wait for the signal, stop everything in order."""
        with _listen(self._settings) as listener:
            await self._opened.sweep.start()
            self._opened.worker.start()
            background = self._background()
            serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="api")
            self._on_signals()
            self._greet()
            _settle()
            try:
                await asyncio.wait(
                    [serving, asyncio.create_task(self._stop.wait())],
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                await self._shut_down(serving, background)

    def _background(self) -> list[asyncio.Task[None]]:
        opened = self._opened
        work = [opened.sweep.run(), opened.replays.run(), opened.watch.run()]
        if self._settings.max_pending:
            work.append(self._count())
        return [asyncio.create_task(each) for each in work]

    async def _shut_down(
        self, serving: asyncio.Task[None], background: list[asyncio.Task[None]]
    ) -> None:
        """Readiness first, then the API, then the sends; the store is its opener's to close."""
        self._draining = True
        self._opened.watch.close()
        self._server.should_exit = True
        await serving
        for each in background:
            each.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self._opened.worker.stop()
        await self._opened.deliver.stop(self._settings.request_timeout)

    def _on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: signal.Signals) -> None:
        """Stop cleanly; a second Ctrl-C, well after the first, means now.

        What ends a process group tends to say so twice in a breath, and supervisors repeat SIGTERM.
        """
        now = self._opened.base.clock.monotonic()
        if not self._stop.is_set():
            self._stop.set()
            self._asked_at = now
        elif number is signal.SIGINT and now - self._asked_at > _ASKED_TWICE:
            sys.exit(128 + number)  # the store recovers what was in flight

    def _greet(self) -> None:
        settings = self._settings
        lines = [f"Ringback {__version__} listens on http://{settings.host}:{settings.port}"]
        where = settings.data_folder / ADMIN_KEY_FILE
        if self._opened.new_admin_key is not None:
            lines.append(f"Admin key, shown this once: {self._opened.new_admin_key}")
            lines.append(f"It is kept in {where}")
        elif settings.admin_key is None:
            lines.append(f"The admin key is in {where}")
        print("\n".join(lines), flush=True)  # noqa: T201  the one greeting, for the person who started it

    def _config(self) -> uvicorn.Config:
        bounds = Bounds(Problems(self._settings.public_url), most_connections())
        return uvicorn.Config(
            create_app(services(self._opened, self._ready, self._pending)),
            http=partial(GuardedProtocol, bounds),  # type: ignore[arg-type]  # what is called, not a class
            ws="websockets-sansio",
            ws_max_size=_MESSAGE,
            ws_per_message_deflate=False,  # it costs each watcher tens of kilobytes
            loop="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )

    async def _ready(self) -> str | None:
        if self._draining or self._stop.is_set():
            return "The service is stopping."
        await self._opened.stores.accept.pending()
        return None

    def _pending(self) -> int:
        """What was open at the last count, and what was made since."""
        return self._counted + self._opened.stores.accept.made

    async def _count(self) -> None:
        store = self._opened.stores.accept
        while True:
            made = store.made
            self._counted = await store.pending() - made
            await asyncio.sleep(_COUNT_EVERY)


def services(
    opened: Opened, ready: Callable[[], Awaitable[str | None]], pending: Callable[[], int]
) -> Services:
    """What the API needs of what is open. The arguments are as in :class:`Services`."""
    settings = opened.base.settings
    return Services(
        accept=opened.accept,
        replays=opened.replays,
        operations=opened.operations,
        subscriptions=opened.subscriptions,
        trials=opened.trials,
        watch=opened.watch,
        tickets=opened.tickets,
        keys=opened.administration.keys,
        tenants=opened.administration.tenants,
        reads=opened.stores.read,
        key_reads=opened.stores.keys,
        tenant_reads=opened.stores.tenants,
        public_keys=opened.stores.read,
        audit_log=opened.stores.read,
        stats=opened.stats,
        find_key=opened.administration.key_use.find,
        vault=opened.base.vault,
        clock=opened.base.clock,
        dice=opened.base.dice,
        ready=ready,
        pending=pending,
        metrics=opened.metrics,
        settings=ApiSettings(
            public_url=settings.public_url,
            max_event_bytes=settings.max_event_bytes,
            max_pending=settings.max_pending,
            cors_origins=settings.cors_origins,
            rate_limit=settings.rate_limit,
        ),
    )


async def host(opened: Opened, settings: Settings) -> None:
    """Serve until a signal says stop."""
    await Host(opened, settings).serve()


def _settle() -> None:
    """Take what is there now, which stays for as long as the process, out of garbage collections.

    They would look at all of it each time, and nobody is served meanwhile.
    """
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def _listen(settings: Settings) -> Generator[socket.socket, None, None]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server(
            (settings.host, settings.port), family=family, backlog=_BACKLOG
        )
    except OSError as error:
        raise OSError(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. "
            "Stop what listens there, or set RINGBACK_HOST and RINGBACK_PORT."
        ) from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; what is accepted inherits it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD)
    with listener:
        yield listener
