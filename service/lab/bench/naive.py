"""The naive design, kept as the honest baseline: what one would write first, and correctly.

    python -m service.lab.bench.naive PORT RECEIVER_URL ROLES DATABASE [REDIS_URL]

Starlette and pydantic take an event; the ORM commits it with its delivery; one Dramatiq message a
delivery wakes an actor, which loads both by the ORM, posts them signed through one shared
``httpx.AsyncClient``, and commits the attempt. As the embedded mode's counterpart it has SQLite
with ``synchronous=FULL`` (DATABASE is a file) and Dramatiq's in-process broker, in one process
(ROLES ``api,worker``); as the distributed one's PostgreSQL (DATABASE is a URL), Redis, and a
process for each role. Whoever has the role ``api`` makes the tables.
"""

import asyncio
import hashlib
import hmac
import logging
import signal
import sys
import threading
import time
import uuid
from typing import Any, Final

import dramatiq
import httpx
import uvicorn
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO
from pydantic import BaseModel
from sqlalchemy import ForeignKey, event
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.lab.bench.processes import HOST

_SECRET: Final = b"a secret that everybody knows"
_THREADS: Final = 8
_SERVER: Final = "postgresql://"


class Base(DeclarativeBase):
    """The tables."""


class Event(Base):
    """An event as it came."""

    __tablename__ = "events"
    id: Mapped[str] = mapped_column(primary_key=True)
    operation_id: Mapped[str] = mapped_column(index=True)
    type: Mapped[str]
    body: Mapped[bytes]
    created_at: Mapped[float]


class Subscription(Base):
    """Who wants events."""

    __tablename__ = "subscriptions"
    id: Mapped[int] = mapped_column(primary_key=True)
    url: Mapped[str]


class Delivery(Base):
    """One event on its way to one subscription."""

    __tablename__ = "deliveries"
    id: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(ForeignKey("events.id"))
    subscription_id: Mapped[int] = mapped_column(ForeignKey("subscriptions.id"))
    status: Mapped[str] = mapped_column(index=True)
    attempts: Mapped[int]


class Attempt(Base):
    """One try."""

    __tablename__ = "attempts"
    id: Mapped[int] = mapped_column(primary_key=True)
    delivery_id: Mapped[str] = mapped_column(ForeignKey("deliveries.id"), index=True)
    status_code: Mapped[int]
    duration_ms: Mapped[float]
    response: Mapped[str]


class EventIn(BaseModel):
    """An event as it is posted."""

    operationId: str  # noqa: N815  as the API spells it
    type: str
    data: dict[str, Any]


def _engine(database: str) -> AsyncEngine:
    if database.startswith(_SERVER):
        return create_async_engine(database.replace(_SERVER, "postgresql+asyncpg://", 1))
    made = create_async_engine(f"sqlite+aiosqlite:///{database}")

    @event.listens_for(made.sync_engine, "connect")
    def prepare(connection: Any, _record: object) -> None:  # noqa: ANN401  the driver's own
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

    return made


def _actor(broker: dramatiq.Broker, engine: AsyncEngine) -> "dramatiq.Actor[[str], Any]":
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    client: list[httpx.AsyncClient] = []

    @dramatiq.actor(broker=broker, max_retries=3)
    async def deliver(delivery_id: str) -> None:
        if not client:
            client.append(httpx.AsyncClient(timeout=20.0, trust_env=False))
        async with sessions() as session:
            await _attempt(session, client[0], delivery_id)

    return deliver


async def _attempt(session: AsyncSession, client: httpx.AsyncClient, delivery_id: str) -> None:
    delivery = await session.get_one(Delivery, delivery_id)
    event = await session.get_one(Event, delivery.event_id)
    subscription = await session.get_one(Subscription, delivery.subscription_id)
    begun = time.perf_counter()
    signed = hmac.digest(_SECRET, event.body, hashlib.sha256).hex()
    headers = {
        "content-type": "application/json",
        "webhook-id": event.id,
        "x-webhook-event": event.type,
        "x-webhook-signature": f"sha256={signed}",
    }
    answer = await client.post(subscription.url, content=event.body, headers=headers)
    delivery.status = "delivered" if answer.is_success else "failed"
    delivery.attempts += 1
    took = (time.perf_counter() - begun) * 1000
    session.add(
        Attempt(
            delivery_id=delivery_id,
            status_code=answer.status_code,
            duration_ms=took,
            response=answer.text,
        )
    )
    await session.commit()


def _app(engine: AsyncEngine, deliver: "dramatiq.Actor[[str], Any]") -> Starlette:
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def post(request: Request) -> Response:
        body = await request.body()
        given = EventIn.model_validate_json(body)
        event = Event(
            id=uuid.uuid4().hex,
            operation_id=given.operationId,
            type=given.type,
            body=body,
            created_at=time.time(),
        )
        delivery = Delivery(
            id=uuid.uuid4().hex,
            event_id=event.id,
            subscription_id=1,
            status="pending",
            attempts=0,
        )
        async with sessions() as session:
            session.add(event)
            await session.flush()
            session.add(delivery)
            await session.commit()
        deliver.send(delivery.id)
        return JSONResponse({"data": [{"id": event.id}]}, 202)

    async def ready(_: Request) -> Response:
        return JSONResponse({})

    return Starlette(routes=[Route("/v1/events", post, methods=["POST"]), Route("/readyz", ready)])


async def _prepare(engine: AsyncEngine, url: str) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        session.add(Subscription(id=1, url=url))
        await session.commit()
    await engine.dispose()  # the loop that serves is another one


def main() -> None:
    """Serve until told to stop."""
    _, port, receiver, roles, database, *redis = sys.argv
    logging.disable(logging.WARNING)
    broker = _broker(*redis)
    broker.add_middleware(AsyncIO())
    # an engine for each event loop: Dramatiq's actors have one of their own
    deliver = _actor(broker, _engine(database))
    worker = dramatiq.Worker(broker, worker_threads=_THREADS)
    if "worker" in roles:
        worker.start()
    if "api" in roles:
        asyncio.run(_prepare(_engine(database), receiver))
        app = _app(_engine(database), deliver)
        uvicorn.run(app, host=HOST, port=int(port), access_log=False, log_level="error")
    else:
        _wait()
    worker.stop()


def _broker(redis_url: str | None = None) -> dramatiq.Broker:
    if redis_url is None:
        return StubBroker()
    return RedisBroker(url=redis_url)  # type: ignore[no-untyped-call]  # Dramatiq's own


def _wait() -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()


if __name__ == "__main__":
    main()
