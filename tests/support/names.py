"""A name server for tests, and the service as a program that asks it.

Names below ``.test`` (RFC 6761: never real) are asked of the address in ``TEST_NAME_SERVER``; all
others stay the system's. What is replaced is the system's function, below all of the service's own
code; the service has no setting for it.

    python -m tests.support.names serve
"""

import asyncio
import json
import os
import socket
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self

PROGRAM = ("-m", "tests.support.names")
VARIABLE = "TEST_NAME_SERVER"
#: An answer that never comes.
SILENCE: list[str] = []

_MAX_DATAGRAM = 65_535
_PATIENCE = 60.0


class NameServer(asyncio.DatagramProtocol):
    """Answers from its zone: a list of addresses to the first question, the next to the next.

    The last answer stays. Counts the questions about each name.
    """

    def __init__(self, zone: Mapping[str, Iterable[list[str]]]) -> None:
        self.asked: Counter[str] = Counter()
        self._zone = {name: list(answers) for name, answers in zone.items()}
        self._transport: Any = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    @property
    def environment(self) -> dict[str, str]:
        """What makes a program ask here."""
        host, port = self._transport.get_extra_info("sockname")
        return {VARIABLE: f"{host}:{port}"}

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401  as in asyncio
        name = data.decode()
        answers = self._zone.get(name, [["unknown"]])
        answer = answers[min(self.asked[name], len(answers) - 1)]
        self.asked[name] += 1
        if answer is not SILENCE:
            self._transport.sendto(json.dumps(answer).encode(), addr)


def _ask(server: str, name: str) -> list[str]:
    host, _, port = server.partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as question:
        question.settimeout(_PATIENCE)
        question.sendto(name.encode(), (host, int(port)))
        answer = json.loads(question.recv(_MAX_DATAGRAM))
    if answer == ["unknown"]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [str(address) for address in answer]


def _replace_lookups(server: str) -> None:
    system = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **named: Any) -> Any:  # noqa: ANN401  the standard library's
        if not str(host).endswith(".test"):
            return system(host, port, *rest, **named)
        kind = socket.SOCK_STREAM
        return [
            (socket.AF_INET6, kind, 6, "", (address, port or 0, 0, 0))
            if ":" in address
            else (socket.AF_INET, kind, 6, "", (address, port or 0))
            for address in _ask(server, str(host))
        ]

    socket.getaddrinfo = getaddrinfo


def main() -> None:
    """Run the service's command line."""
    from service.cli import main as ringback  # noqa: PLC0415  only here it is a program

    _replace_lookups(os.environ[VARIABLE])
    sys.argv[0] = "ringback"
    ringback()


if __name__ == "__main__":
    main()
