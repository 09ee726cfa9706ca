"""The ports on which a process is asked: uvicorn's server behind each, from opening to closing."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Generator
from functools import partial
from typing import Any, Final

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.runtime.protocol import Bounds, GuardedProtocol, most_connections
from service.settings import Settings
from service.web.forwarding import Forwarded
from service.web.parting import Parting
from service.web.problems import Problems

_BACKLOG: Final = 2048
#: Milliseconds that a client may take nothing of what was sent to it; then it is gone.
_UNREAD: Final = 30_000
#: Bytes in a WebSocket message of a client, who has nothing to say.
_MESSAGE: Final = 4096
#: Seconds for requests under way to end when the door closes.
_GRACE: Final = 5
#: Seconds for which a connection may idle: more than the 60 for which proxies and load balancers
#: keep theirs. Whoever asks is to let go first; else a request meets a connection that just closed.
_IDLE: Final = 75


class Door:
    """An application behind a port; ``app`` is what uvicorn takes."""

    def __init__(self, app: Any, listener: socket.socket, settings: Settings) -> None:  # noqa: ANN401  uvicorn's own
        self._listener = listener
        self._server = _Server(_config(app, settings))
        self._serving: asyncio.Task[None] | None = None

    def open(self) -> asyncio.Task[None]:
        """Begin to answer; what is returned ends when the door is closed, or cannot be opened."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        return self._serving

    async def close(self) -> None:
        """Take no more requests, and let those under way end; not for ever."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving


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


def quieten() -> None:
    """Keep what is no fault out of the log."""
    logging.getLogger("uvicorn.error").addFilter(_NoFalseAlarm())


def _config(app: Any, settings: Settings) -> uvicorn.Config:  # noqa: ANN401  uvicorn's own
    told = Problems(settings.public_url)
    bounds = Bounds(told, most_connections())
    inner: Any = Parting(app, told)  # to uvicorn the same types have other names
    behind: Any = ProxyHeadersMiddleware(inner, _trusted())
    return uvicorn.Config(
        Forwarded(inner, behind),
        http=partial(GuardedProtocol, bounds),  # type: ignore[arg-type]  # what is called, not a class
        ws="websockets-sansio",
        ws_max_size=_MESSAGE,
        ws_per_message_deflate=False,  # it costs each watcher tens of kilobytes
        loop="none",
        interface="asgi3",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # uvicorn would look at all requests
        timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=_GRACE,
    )


def _trusted() -> list[str] | str:
    """The proxies whose word counts: uvicorn reads them from FORWARDED_ALLOW_IPS."""
    return uvicorn.Config("", log_config=None).forwarded_allow_ips


@contextlib.contextmanager
def listening(host: str, port: int, mend: str) -> Generator[socket.socket, None, None]:
    """A socket that listens.

    Raises:
        OSError: it cannot; the text says why, and ``mend`` what to set instead.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OSError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}. "
            f"Stop what listens there, or set {mend}."
        ) from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; what is accepted inherits it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD)
    with listener:
        yield listener
