"""What tests say to a running service, over HTTP and knowing nothing of its insides."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from standardwebhooks.webhooks import Webhook

from tests.support.receiver import Received, Receiver
from tests.support.server import Server

POLL = 0.02


@dataclass
class Blackbox:
    """A client with the admin key. Waits have deadlines; nothing sleeps for a fixed time."""

    http: httpx.AsyncClient
    #: Subscriptions made here, so that they can be put away.
    made: list[str] = field(default_factory=list)

    async def get(self, path: str, **params: object) -> Any:  # noqa: ANN401  any JSON
        """The JSON at a path; ``params`` come to those that the path has."""
        query = {name: str(value) for name, value in params.items()}
        answer = await self.http.get(httpx.URL(path).copy_merge_params(query))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(
        self,
        path: str,
        body: object = None,
        status: int = 202,
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401  any JSON
        """The JSON that answers a POST."""
        answer = await self.http.post(path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def send(self, path: str, content: bytes, kind: str = "application/json") -> Any:  # noqa: ANN401  any JSON
        """The verdicts on events posted byte for byte as given; every one is to be accepted."""
        answer = await self.http.post(path, content=content, headers={"content-type": kind})
        assert answer.status_code == 202, answer.text
        return answer.json()["data"]

    async def subscribe(self, url: str, **members: object) -> Any:  # noqa: ANN401  any JSON
        """A new subscription, with its secret."""
        made = await self.post("/v1/subscriptions", {"url": url, **members}, 201)
        self.made.append(made["id"])
        return made

    async def event(self, operation: str, kind: str, **members: object) -> Any:  # noqa: ANN401  any JSON
        """Post one event; the verdict on it."""
        body = {"operationId": operation, "type": kind, **members}
        return (await self.post("/v1/events", body))["data"][0]

    async def all(self, path: str, **params: object) -> list[Any]:
        """Every item of a list, page by page."""
        items: list[Any] = []
        cursor: dict[str, object] = {}
        while True:
            page = await self.get(path, **{"limit": 200, **params}, **cursor)
            items += page["data"]
            if page["pagination"]["nextCursor"] is None:
                return items
            cursor = {"cursor": page["pagination"]["nextCursor"]}

    async def feed(self, **which: object) -> tuple[list[Any], str]:
        """Every event of the feed that is asked for, and the cursor behind all of them.

        A page looks at so many events, whomever they are of: it may hold few of them, or none.
        """
        items: list[Any] = []
        cursor, before = "", None
        while cursor != before:
            before = cursor
            page = await self.get("/v1/events", **{"limit": 200, **which}, after=cursor)
            items += page["data"]
            cursor = page["pagination"]["nextCursor"]
        return items, cursor

    async def until(
        self,
        path: str,
        wanted: Callable[[Any], object],
        timeout: float = 30.0,  # noqa: ASYNC109  every wait in a test has a limit it can set
        **params: object,
    ) -> Any:  # noqa: ANN401  any JSON
        """The JSON at a path as soon as ``wanted`` holds of it."""
        deadline = time.monotonic() + timeout
        while not wanted(found := await self.get(path, **params)):
            assert time.monotonic() < deadline, f"{path} after {timeout} s is still {found}"
            await asyncio.sleep(POLL)
        return found

    async def operation_ended(self, name: str, timeout: float = 30.0) -> Any:  # noqa: ANN401, ASYNC109  as until
        """The operation as soon as it is over."""
        over = {"COMPLETED", "FAILED", "CANCELLED"}
        return await self.until(f"/v1/operations/{name}", lambda o: o["status"] in over, timeout)

    async def deliveries(
        self,
        subscription: Mapping[str, Any],
        count: int,
        status: str,
        timeout: float = 30.0,  # noqa: ASYNC109  as until
    ) -> list[Any]:
        """The subscription's deliveries with a status, as soon as there are ``count``."""
        which: dict[str, object] = {"subscriptionId": subscription["id"], "status": status}
        deadline = time.monotonic() + timeout
        while len(found := await self.all("/v1/deliveries", **which)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} {status}"
            await asyncio.sleep(POLL)
        return found

    async def delivery(self, subscription: Mapping[str, Any], status: str) -> Any:  # noqa: ANN401  any JSON
        """The subscription's only delivery, with its attempts, once it has the status."""
        (found,) = await self.deliveries(subscription, 1, status)
        return await self.get(f"/v1/deliveries/{found['id']}")

    async def dead_letter(self, subscription: Mapping[str, Any], **params: object) -> Any:  # noqa: ANN401  any JSON
        """The subscription's only dead letter, once it is there."""
        which = {"subscriptionId": subscription["id"], **params}
        found = await self.until("/v1/dead-letters", lambda page: page["data"], **which)
        (only,) = found["data"]
        return only


@asynccontextmanager
async def blackbox(server: Server) -> AsyncIterator[Blackbox]:
    """A client of the server; what it subscribed is gone afterwards."""
    async with server.client() as client:
        box = Blackbox(client)
        yield box
        for name in box.made:
            with suppress(httpx.TransportError):  # a test may have ended the service
                await client.delete(f"/v1/subscriptions/{name}")


def problem(answer: httpx.Response, status: int, kind: str) -> Any:  # noqa: ANN401  any JSON
    """The problem document of a refused request."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["type"].endswith(f"/problems/{kind}"), document
    assert document["status"] == status
    assert document["instance"] == answer.request.url.raw_path.partition(b"?")[0].decode()
    assert document["title"]
    assert document["detail"]
    return document


def verify(secret: str, request: Received) -> None:
    """Check both signatures with code that is not the service's."""
    Webhook(secret).verify(request.body, request.headers, json_parse=False)
    verify_body(secret, request)


def verify_body(secret: str, request: Received) -> None:
    """Check ``x-webhook-signature``, which has one value only."""
    key = Webhook(secret)._whsecret  # noqa: SLF001  the key's bytes, as that library reads them
    digest = hmac.new(key, request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-webhook-signature"] == f"sha256={digest}"


async def received(
    receiver: Receiver,
    path: str,
    count: int,
    timeout: float = 30.0,  # noqa: ASYNC109  every wait in a test has a limit it can set
) -> list[Received]:
    """The requests for one path, as soon as there are ``count``."""
    deadline = time.monotonic() + timeout
    while len(found := [r for r in receiver.requests if r.path == path]) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} requests for {path}"
        await asyncio.sleep(POLL)
    return found
