"""Asks a Redis how it is, as whoever sends wakes over it would meet it."""

from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.broker import NAMESPACE
from service.broker.on_redis import ANSWER
from service.ports import Clock

#: Seconds that it may take to answer here, where nobody waits for it.
_PATIENCE: Final = 5.0
_PINGS: Final = 20
#: A list that nobody takes from.
_LIST: Final = f"{NAMESPACE}:doctor"


@dataclass(frozen=True, slots=True)
class Health:
    """What it said."""

    #: ``Valkey 9.1.2`` or ``Redis 7.2.4``, and the Redis it is compatible with as numbers.
    product: str
    version: tuple[int, ...]
    #: Seconds to and fro, as usual and at worst.
    usual: float
    worst: float
    #: What it does when it is full (``noeviction``, ...); empty where it does not tell.
    policy: str
    #: Bytes at which it is full; 0: none.
    limit: int
    #: Milliseconds by which its clock is ahead of ours; half a round trip may be wrong with it.
    ahead: float
    #: What it says to a message such as wakes are; empty: it takes them.
    refusal: str = ""


def ask(url: str, clock: Clock) -> Health | str:
    """What a Redis says of itself; a sentence when it does not answer, or will not."""
    try:
        with _client(url) as client:
            return _asked(client, clock)
    except (redis.RedisError, OSError) as error:
        return f"{error}."


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_timeout=_PATIENCE,
        socket_connect_timeout=ANSWER,
        retry=Retry(NoBackoff(), 0),
    )


def _asked(client: redis.Redis, clock: Clock) -> Health:
    took = sorted(_seconds(client, clock) for _ in range(_PINGS))
    before = clock.now()
    seconds, micros = client.time()
    between = (before + clock.now()) / 2
    server, memory = _info(client, "server"), _info(client, "memory")
    version = str(server.get("redis_version", ""))
    name = str(server.get("server_name", "redis")).capitalize()
    own = server.get(f"{name.lower()}_version", version)
    return Health(
        product=f"{name} {own}",
        version=tuple(int(part) for part in version.split(".") if part.isdecimal()),
        usual=median(took),
        worst=took[-1],
        policy=str(memory.get("maxmemory_policy", "")),
        limit=int(memory.get("maxmemory", 0)),
        ahead=seconds * 1000 + micros / 1000 - between,
        refusal=_refusal(client),
    )


def _refusal(client: redis.Redis) -> str:
    try:
        client.rpush(_LIST, b"")
        client.ltrim(_LIST, 1, 0)  # which leaves nothing
    except redis.ResponseError as error:
        return str(error)
    return ""


def _seconds(client: redis.Redis, clock: Clock) -> float:
    begun = clock.monotonic()
    client.ping()
    return clock.monotonic() - begun


def _info(client: redis.Redis, section: str) -> dict[str, Any]:
    try:
        return client.info(section)
    except redis.ResponseError:  # hosted ones may keep it to themselves
        return {}
