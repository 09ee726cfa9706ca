"""The whole API over a real store in a temporary file; only the network port is left out."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from service.api import create_app
from service.domain.api_keys import Scope, hash_key
from service.runtime import hosting
from service.runtime.pages import pages
from service.runtime.wiring import Opened, open_service
from service.settings import load
from service.store.database import Tx

BASE = "https://ringback.test"
ADMIN = "rb_00000000_" + "A" * 43


@dataclass
class Api:
    """A client of the API, and what stands behind it."""

    opened: Opened
    client: httpx.AsyncClient
    pending: int = 0
    fault: str | None = None
    headers: dict[str, str] = field(default_factory=lambda: {"authorization": f"Bearer {ADMIN}"})

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content: bytes | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Ask; ``body`` goes as JSON, ``content`` as it is."""
        sent = {**self.headers, **(headers or {})}
        if content is not None:
            sent.setdefault("content-type", "application/json")
            return await self.client.request(method, path, content=content, headers=sent)
        if body is None:
            return await self.client.request(method, path, headers=sent)
        return await self.client.request(method, path, json=body, headers=sent)

    async def get(self, path: str, status: int = 200) -> dict[str, Any]:
        """The JSON at a path."""
        answer = await self.call("GET", path)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def post(self, path: str, body: object = None, status: int = 202) -> dict[str, Any]:
        """The JSON that answers a POST."""
        answer = await self.call("POST", path, body)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def subscribe(
        self, url: str = "https://example.com/hook", **members: object
    ) -> dict[str, Any]:
        """A new subscription."""
        return await self.post("/v1/subscriptions", {"url": url, **members}, 201)

    async def deliver(self) -> None:
        """Send everything that is due now, and settle it."""
        async with asyncio.timeout(10):
            while (lanes := await self.opened.stores.sweep.due_lanes()) or await self._is_busy():
                await self.opened.deliver.serve(lanes)
                await asyncio.sleep(0.002)

    async def _is_busy(self) -> bool:
        """Whether anything is claimed, sent yet or not, or its slot not given back."""
        async with self.opened.base.database.read() as tx:
            leased = await tx.sql("SELECT 1 FROM delivery_queue WHERE token IS NOT NULL LIMIT 1")
        return bool(leased) or self.opened.deliver.in_flight > 0

    async def sql(self, text: str, *arguments: object) -> None:
        """Run one changing statement, as when time had passed."""

        async def job(tx: Tx) -> None:
            await tx.sql(text, arguments)

        await self.opened.base.database.write(job)
        self.opened.administration.key_use.forget()

    async def key(self, *scopes: Scope) -> dict[str, str]:
        """The headers of a new key with these scopes."""
        text = "rb_" + "-".join(scope.value for scope in scopes)
        await self.opened.stores.manage.ensure_key(text, text, hash_key(text), scopes)
        return {"authorization": f"Bearer {text}"}


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The problem document of a refused request."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["type"] == f"{BASE}/problems/{kind}"
    assert document["instance"] == answer.request.url.raw_path.partition(b"?")[0].decode()
    assert document["title"]
    assert document["detail"]
    return document


def pointers(document: Mapping[str, Any]) -> list[str]:
    """Where the faults of a problem are."""
    return sorted(fault["pointer"] for fault in document["errors"])


@asynccontextmanager
async def opened_api(path: Path, **settings: str) -> AsyncIterator[Api]:
    """The API over the database at ``path``."""
    environment = {
        "RINGBACK_DATABASE_URL": f"sqlite:///{path}",
        "RINGBACK_ADMIN_KEY": ADMIN,
        "RINGBACK_ENCRYPTION_KEYS": "k1:" + base64.b64encode(b"k" * 32).decode(),
        "RINGBACK_PUBLIC_URL": BASE,
        "RINGBACK_ALLOW_HTTP": "true",
        "RINGBACK_ALLOW_TARGETS": "127.0.0.0/8",
        **settings,
    }
    loaded = load(environment)
    async with open_service(loaded) as opened:
        api = Api(opened, httpx.AsyncClient())

        async def ready() -> str | None:
            return api.fault

        services = hosting.services(opened, ready, lambda: api.pending)
        transport = httpx.ASGITransport(create_app(services, pages(opened, ready)))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            api.client = client
            yield api
        await opened.deliver.stop(5)
