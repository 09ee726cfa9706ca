"""A small HTTP server on the loopback, for receivers that people run by hand."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final, TypeVar

_HOST: Final = "127.0.0.1"
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Request:
    """A POST as it came in; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


class RequestServer(ThreadingHTTPServer, ABC):
    """Listens on a loopback port, any free one for 0; what to answer is for subclasses to say.

    Raises ``OSError`` where it cannot listen.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__((_HOST, port), _Handler)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{_HOST}:{self.server_port}"

    @abstractmethod
    def take(self, request: Request) -> int:
        """Take a request, in a thread of its connection's; the status to answer."""

    def answered(self, request: Request) -> None:
        """Know that the answer to a request is out."""

    def handle_error(self, *_: object) -> None:
        """Say nothing: who sent it is gone, or sent no HTTP."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RequestServer

    def do_POST(self) -> None:
        """Take one delivery."""
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.path, headers, body)
        answer = self.server.take(request)
        self.send_response(answer)
        if answer != HTTPStatus.NO_CONTENT:
            self.send_header("content-length", "0")
        self.end_headers()
        self.wfile.flush()
        self.server.answered(request)

    def log_message(self, *_: object) -> None:
        """Say nothing: the screen is somebody else's."""


Server = TypeVar("Server", bound=RequestServer)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Let a server work, for as long as it is needed."""
    with server:
        thread = Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
