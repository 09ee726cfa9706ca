"""Runs what is open: what the process's roles are, in one event loop, from start to stop."""

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import uvloop

from service import __version__
from service.api import create_app, create_status_app
from service.api.services import ApiSettings, Services
from service.ports import StoreUnavailableError
from service.runtime.doors import Door, listening, quieten
from service.runtime.keys import ADMIN_KEY_FILE
from service.runtime.pages import pages
from service.runtime.wiring import Opened
from service.settings import ROLES

T = TypeVar("T")

_logger = logging.getLogger("ringback.process")

#: Seconds after which a second Ctrl-C is a second wish, not an echo of the first.
_ASKED_TWICE: Final = 1.0
#: Seconds between two counts of what is open, where a limit on it is set.
_COUNT_EVERY: Final = 1.0
#: Objects that are new since a garbage collection before there is another: some megabytes.
_YOUNG: Final = 20_000


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop's event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


@dataclass(frozen=True, slots=True)
class Part:
    """What a process is to be."""

    #: Of ``api``, ``worker`` and ``sweeper``.
    roles: frozenset[str] = ROLES
    #: Where it tells of its state besides; without the role ``api`` it listens nowhere else.
    status_port: int | None = None


class Host:
    """One process doing its part."""

    def __init__(self, opened: Opened, part: Part) -> None:
        self._opened = opened
        self._settings = opened.base.settings
        self._part = part
        self._stop = asyncio.Event()
        self._asked_at = 0.0
        self._draining = False
        #: Open deliveries at the last count, less those made by then.
        self._counted = 0
        quieten()

    async def serve(self) -> None:
        """Start everything, wait for the signal, stop everything in order."""
        with ExitStack() as closing:
            doors = list(self._doors(closing))
            if self._settings.is_embedded:
                await self._opened.sweep.start()
            if "worker" in self._part.roles:
                self._opened.start_worker()
            background = [asyncio.create_task(each) for each in self._background()]
            answering = [asyncio.create_task(each) for each in self._answering()]
            serving = [door.open() for door in doors]
            self._on_signals()
            self._greet()
            _settle()
            stopped = asyncio.create_task(self._stop.wait())
            try:
                await asyncio.wait([*serving, stopped], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await self._drain(background)
                await self._close(doors, answering)

    def stop(self) -> None:
        """Let :meth:`serve` stop everything in order and return."""
        self._stop.set()

    def _doors(self, closing: ExitStack) -> Iterator[Door]:
        """The API first, so that the state is told for as long as anything is."""
        settings, part = self._settings, self._part
        asked = services(self._opened, self._ready, self._pending)
        if "api" in part.roles:
            mend = "RINGBACK_HOST and RINGBACK_PORT"
            listener = closing.enter_context(listening(settings.host, settings.port, mend))
            app = create_app(asked, pages(self._opened, self._ready))
            yield Door(self._opened.outside.app(app), listener, settings)
        if part.status_port is not None:
            mend = "RINGBACK_HOST and --status-port"
            listener = closing.enter_context(listening(settings.host, part.status_port, mend))
            yield Door(create_status_app(asked), listener, settings)

    def _background(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What ends as soon as the process is to stop."""
        opened, roles = self._opened, self._part.roles
        if "worker" in roles:
            yield opened.feeding.run()
        if "sweeper" in roles:
            yield opened.sweep.run()
            yield opened.replays.run()

    def _answering(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What the API needs for as long as it answers."""
        opened = self._opened
        if "api" in self._part.roles:
            yield opened.noting.run()
            yield opened.watch.run()
            yield opened.base.messaging.backplane.run()
            if self._settings.max_pending:
                yield self._count()

    async def _drain(self, background: list[asyncio.Task[None]]) -> None:
        """Readiness first, then claiming; what is in flight ends, what is not goes back."""
        self._draining = True
        in_flight = self._opened.deliver.in_flight
        _logger.info("stopping", extra={"in_flight": in_flight})
        await _cancelled(background)
        await asyncio.gather(
            self._opened.deliver.stop(self._opened.longest), self._opened.worker.stop()
        )
        await self._opened.feeding.finish()

    async def _close(self, doors: list[Door], answering: list[asyncio.Task[None]]) -> None:
        """Let everybody go who asks; the store is its opener's to close."""
        self._opened.watch.close()
        for door in doors:
            await door.close()
        await _cancelled(answering)
        await self._opened.noting.finish()
        # what is in flight still was given up: others send it once its leases ran out
        _logger.info("stopped", extra={"in_flight": self._opened.deliver.in_flight})

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
            self.stop()
            self._asked_at = now
        elif number is signal.SIGINT and now - self._asked_at > _ASKED_TWICE:
            sys.exit(128 + number)  # the store recovers what was in flight

    def _greet(self) -> None:
        settings, part = self._settings, self._part
        does = "" if part.roles == ROLES else f" as {','.join(sorted(part.roles))}"
        lines = [f"Ringback {__version__} runs{does}"]
        if "api" in part.roles:
            where = f"http://{settings.host}:{settings.port}"
            lines = [
                f"Ringback {__version__} listens on {where}{does}",
                f"Its console is on {where}/console",
                *self._about_the_key(),
            ]
        if part.status_port is not None:
            lines.append(f"Its state is on http://{settings.host}:{part.status_port}/readyz")
        print("\n".join(lines), flush=True)  # noqa: T201  the one greeting, for the person who started it

    def _about_the_key(self) -> list[str]:
        where = self._settings.data_folder / ADMIN_KEY_FILE
        if self._opened.new_admin_key is not None:
            shown = f"Admin key, shown this once: {self._opened.new_admin_key}"
            return [shown, f"It is kept in {where}"]
        if self._settings.admin_key is None and where.exists():
            return [f"The admin key is in {where}"]
        return []

    async def _ready(self) -> str | None:
        if self._draining or self._stop.is_set():
            return "The service is stopping."
        await self._opened.stores.read.check()
        return None

    def _pending(self) -> int:
        """What was open at the last count, and what was made since."""
        return self._counted + self._opened.stores.accept.made

    async def _count(self) -> None:
        store = self._opened.stores.accept
        while True:
            made = store.made
            with contextlib.suppress(StoreUnavailableError):
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
        portals=opened.portals,
        keys=opened.administration.keys,
        tenants=opened.administration.tenants,
        reads=opened.stores.read,
        key_reads=opened.stores.keys,
        tenant_reads=opened.stores.tenants,
        public_keys=opened.stores.read,
        audit_log=opened.stores.read,
        stats=opened.stats,
        find_key=opened.administration.key_use.find,
        presume_key=opened.administration.key_use.presume,
        vault=opened.base.vault,
        clock=opened.base.clock,
        dice=opened.base.dice,
        ready=ready,
        pending=pending,
        metrics=opened.metrics,
        times=opened.times,
        settings=ApiSettings(
            public_url=settings.public_url,
            max_event_bytes=settings.max_event_bytes,
            max_pending=settings.max_pending,
            cors_origins=settings.cors_origins,
            rate_limit=settings.rate_limit,
        ),
    )


async def host(opened: Opened, part: Part) -> None:
    """Serve until a signal says stop."""
    await Host(opened, part).serve()


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _settle() -> None:
    """Take what is there now, which stays for as long as the process, out of garbage collections.

    They would look at all of it each time, and nobody is served meanwhile. What a request makes is
    gone when it ends, nearly all of it without them: so they may be seldom.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)
