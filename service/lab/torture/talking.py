"""HTTP as producers and the checker speak it: one kept connection, and no patience hidden in it."""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from service.lab.processes import HOST, LabError

#: Seconds for an answer: longer than the service waits for its database before it says 503.
PATIENCE: Final = 30.0
_MAX_HEAD: Final = 64 * 1024
_PAGE: Final = 200


class NoAnswerError(Exception):
    """The connection ended, or time did, before there was an answer: nobody knows what happened."""


class Answer(NamedTuple):
    """One answer; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401  JSON is what it is
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(slots=True)
class Talk:
    """A client with one connection, opened when it is needed."""

    port: int
    key: str
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> Answer:
        """Send one request; its answer.

        Raises:
            NoAnswerError: there was none.
        """
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {HOST}:{self.port}\r\n"
            f"authorization: Bearer {self.key}\r\ncontent-type: {kind}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._exchange(head.encode() + body)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            self.close()
            raise NoAnswerError(f"{type(error).__name__}: {error}") from error
        except BaseException:
            self.close()  # what is left of the answer would be taken for the next one
            raise

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _exchange(self, request: bytes) -> Answer:
        if self._reader is None or self._writer is None:
            opened = await asyncio.open_connection(HOST, self.port, limit=_MAX_HEAD)
            self._reader, self._writer = opened
        self._writer.write(request)
        await self._writer.drain()
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(int(head[0].split()[1]), headers, body)


class Api:
    """What the harness itself asks of the service; it asks again when there is no answer."""

    def __init__(self, port: int, key: str) -> None:
        self._talk = Talk(port, key)

    async def get(self, path: str, **query: object) -> Any:  # noqa: ANN401  JSON is what it is
        """The JSON at a path."""
        target = f"{path}?{urlencode(query)}" if query else path
        return await self._ask("GET", target, 200)

    async def post(self, path: str, body: object, status: int = 202) -> Any:  # noqa: ANN401  JSON is what it is
        """The JSON that answers a POST."""
        return await self._ask("POST", path, status, json.dumps(body).encode())

    async def all(self, path: str, **query: object) -> list[Any]:
        """Every item of a list, page by page."""
        items: list[Any] = []
        place: dict[str, object] = {}
        while True:
            page = await self.get(path, **{"limit": _PAGE, **query, **place})
            items += page["data"]
            following = page["pagination"]["nextCursor"]
            if following is None:
                return items
            place = {"cursor": following}

    async def feed(self) -> list[Any]:
        """Every event of the tenant, in the order of the feed."""
        items: list[Any] = []
        cursor, before = "", None
        while cursor != before:
            before = cursor
            page = await self.get("/v1/events", limit=_PAGE, after=cursor)
            items += page["data"]
            cursor = page["pagination"]["nextCursor"]
        return items

    def close(self) -> None:
        """Hang up."""
        self._talk.close()

    async def _ask(self, method: str, target: str, status: int, body: bytes = b"") -> Any:  # noqa: ANN401  JSON is what it is
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while True:
            with suppress(NoAnswerError):
                answer = await self._talk.ask(method, target, body)
                if answer.status == status:
                    return answer.json()
                said = f"{answer.status} {answer.body.decode()}"
                if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR or loop.time() > end:
                    raise LabError(f"{method} {target} was answered {said}")
            if loop.time() > end:
                raise LabError(f"{method} {target} was not answered")
            await asyncio.sleep(0.1)
