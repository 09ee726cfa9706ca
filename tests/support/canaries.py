"""Listening sockets that nobody may ever connect to, and which tell when somebody did."""

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

#: Seconds in which what is connected is also accepted.
_PATIENCE = 30.0
_TRIES = 50


def own_addresses() -> tuple[str, ...]:
    """Addresses of this machine besides loopback: those from which others would be called."""
    found = []
    for family, far in ((socket.AF_INET, "8.8.8.8"), (socket.AF_INET6, "2600::")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 9))  # sends nothing
            found.append(str(probe.getsockname()[0]))
    return tuple(found)


@dataclass(slots=True)
class Canaries:
    """One per host, all on the same port; ``0.0.0.0`` and ``::`` are at every address there is."""

    hosts: Iterable[str] = ("0.0.0.0", "::")  # noqa: S104  every address is to be watched
    port: int = 0
    _calls: list[str] = field(default_factory=list)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _knocks: set[str] = field(default_factory=set)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __aenter__(self) -> Self:
        hosts = [host for host in self.hosts if ":" not in host or socket.has_ipv6]
        for _ in range(_TRIES):
            wanted = self.port
            try:
                for host in hosts:
                    await self._listen(host)
            except OSError:  # the port is free at one address and taken at another
                await self.__aexit__()
                self.port = wanted
                if wanted:
                    raise
            else:
                return self
        raise OSError("no port is free at all of these addresses")

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def calls(self) -> list[str]:
        """Who connected, and to which address.

        Knocks at every one first: connections are accepted in the order they came in, so none that
        was made before is left out, and a canary that is dead is found out.
        """
        await asyncio.gather(*(self._knock(server) for server in self._servers))
        return [call for call in self._calls if call not in self._knocks]

    async def _listen(self, host: str) -> None:
        server = await asyncio.start_server(self._note, host, self.port)
        self._servers.append(server)
        self.port = server.sockets[0].getsockname()[1]

    async def _note(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._news:
            self._calls.append(_called(writer.get_extra_info("peername"), self.port))
            self._news.notify_all()
        writer.close()

    async def _knock(self, server: asyncio.Server) -> None:
        address = server.sockets[0].getsockname()[0]
        # what listens everywhere is reached at loopback, too
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104  as above
        _, writer = await asyncio.open_connection(host, self.port)
        knock = _called(writer.get_extra_info("sockname"), self.port)
        self._knocks.add(knock)
        async with asyncio.timeout(_PATIENCE), self._news:
            await self._news.wait_for(lambda: knock in self._calls)
        writer.close()


def _called(peer: tuple[object, ...], port: int) -> str:
    return f"{peer[0]} port {peer[1]} called port {port}"
