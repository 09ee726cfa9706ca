"""What could keep the service from working here, and the remedy for it. Nothing is changed."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from service.broker import checkup as redis_checkup
from service.ports import StoreUnavailableError
from service.runtime import keys as own_keys
from service.runtime import storage
from service.runtime.clock import SystemClock
from service.runtime.counsel import of_settings
from service.runtime.findings import Finding, Level
from service.runtime.server_doctor import of_server
from service.settings import Settings, SettingsError, load
from service.store.checkup import State

#: The oldest Redis that has what is used.
_OLDEST_REDIS: Final = (6, 2)
_WITHOUT_REDIS: Final = (
    "without it deliveries start up to a second later, and watchers hear of events up to two "
    "seconds later; nothing is lost."
)
#: Milliseconds by which clocks may differ: unusual, and a fault.
_ODD_SKEW: Final = 1_000
_BAD_SKEW: Final = 5_000
#: Seconds to Redis and back that are slow; whoever wakes gives up after 0.25 s.
_SLOW: Final = 0.02
_TOO_SLOW: Final = 0.25
#: Bytes of free disk: little, and too little.
_LITTLE: Final = 2**30
_TOO_LITTLE: Final = 2**27


def examine(environ: Mapping[str, str]) -> list[Finding]:
    """Look at everything; what cannot be looked at for the faults of settings is left out."""
    try:
        settings = load(environ)
    except SettingsError as error:
        remedy = "Correct or unset the variable; the README lists them all."
        return [Finding("settings", Level.FAULT, fault, remedy) for fault in error.faults]
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _settings,
        _database,
        _encryption_keys,
        _redis,
        _disk,
    )
    return [finding for check in checks for finding in check(settings)]


def _settings(settings: Settings) -> Iterator[Finding]:
    advice = [Finding("settings", Level.WARNING, *each) for each in of_settings(settings)]
    yield from advice or [Finding("settings", Level.OK, "nothing to object to")]


def _database(settings: Settings) -> Iterator[Finding]:
    try:
        state = asyncio.run(storage.state(settings, SystemClock()))
    except StoreUnavailableError as error:
        remedy = "Start it, or correct RINGBACK_DATABASE_URL: until then producers get 503."
        if settings.is_embedded:
            remedy = "Put the right file there, from a backup if need be, or let it be read."
        yield Finding("database", Level.FAULT, str(error), remedy)
        return
    yield _revision(state, migrates_itself=settings.is_embedded)
    if state.ahead is not None:
        yield _skew("the database", state.ahead)
    if state.careless:
        found = f"{state.name} has {' and '.join(state.careless)} off"
        remedy = (
            "Turn it on: a crash of its machine takes events along that were answered 202. Where "
            "commits are kept safe by other means, set RINGBACK_TRUST_DATABASE=true."
        )
        level = Level.WARNING if settings.trust_database else Level.FAULT
        yield Finding("database", level, found, remedy)
    if settings.is_embedded:
        yield from _folder(settings.data_folder)
    if state.server is not None:
        yield from of_server(state.server, state.name)


def _revision(state: State, *, migrates_itself: bool) -> Finding:
    if state.revision is None and migrates_itself:
        return Finding("database", Level.OK, f"{state.name} is empty; the first start makes it")
    if state.revision is None:
        remedy = "Run `ringback migrate`: no process starts before that."
        return Finding("database", Level.FAULT, f"{state.name} has no schema yet", remedy)
    found = f"{state.name} is at schema revision {state.revision}"
    if state.revision == state.wanted:
        return Finding("database", Level.OK, found)
    found += f"; this version works with {state.wanted}"
    if state.revision < state.wanted:
        remedy = "Run `ringback migrate`: the processes of before go on working meanwhile."
        if migrates_itself:
            remedy = "The next start brings it up to date; `ringback migrate` does it now."
        level = Level.WARNING if migrates_itself else Level.FAULT
        return Finding("database", level, found, remedy)
    if not migrates_itself:
        remedy = "Nothing, while an upgrade is under way; bring this process to that version next."
        return Finding("database", Level.WARNING, found, remedy)
    remedy = "Run the version of Ringback that made it, or a newer one."
    return Finding("database", Level.FAULT, found, remedy)


def _folder(folder: Path) -> Iterator[Finding]:
    existing = _existing(folder)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        found = f"{existing} is not a folder that this user may write to"
        remedy = "Give the user the folder, or set RINGBACK_DATABASE_URL to a file elsewhere."
        yield Finding("database", Level.FAULT, found, remedy)


def _encryption_keys(settings: Settings) -> Iterator[Finding]:
    existed = not settings.is_embedded or settings.database_path.exists()
    try:
        ring = own_keys.present_key_ring(settings, database_existed=existed)
        samples = asyncio.run(storage.sealed_samples(settings, SystemClock()))
        if ring is not None:
            own_keys.check(ring, samples)
    except (SettingsError, OSError) as error:
        told = error.faults if isinstance(error, SettingsError) else (str(error),)
        remedy = "Put back the keys that the secrets were sealed with: no others open them."
        yield from (Finding("encryption keys", Level.FAULT, each, remedy) for each in told)
        return
    except (StoreUnavailableError, sqlite3.Error) as error:
        found = f"the sealed values could not be read: {error}"
        yield Finding("encryption keys", Level.FAULT, found, "See what is said of the database.")
        return
    found = "none yet; the first start makes one" if ring is None else "there is nothing to open"
    if samples:
        found = f"they open the {len(samples)} sealed values that were tried"
    yield Finding("encryption keys", Level.OK, found)


def _redis(settings: Settings) -> Iterator[Finding]:
    if not settings.redis_url:
        yield Finding("redis", Level.OK, "none: broker and pub/sub are inside the process")
        return
    health = redis_checkup.ask(settings.redis_url, SystemClock())
    if isinstance(health, str):
        remedy = f"Start it, or correct RINGBACK_REDIS_URL: {_WITHOUT_REDIS}"
        yield Finding("redis", Level.FAULT, health, remedy)
        return
    yield _version(health)
    yield _latency(health)
    yield _policy(health)
    if health.refusal:
        remedy = (
            "Name a primary in RINGBACK_REDIS_URL, as a user who may write, and give it memory: "
            f"{_WITHOUT_REDIS}"
        )
        yield Finding("redis", Level.FAULT, f"it takes no wakes: {health.refusal}", remedy)
    yield _skew("redis", health.ahead)


def _version(health: redis_checkup.Health) -> Finding:
    if health.version and health.version < _OLDEST_REDIS:
        return Finding("redis", Level.FAULT, health.product, "Use Redis 6.2 or newer, or Valkey.")
    return Finding("redis", Level.OK, health.product)


def _latency(health: redis_checkup.Health) -> Finding:
    found = f"answers in {health.usual * 1000:.1f} ms, at worst {health.worst * 1000:.1f} ms"
    if health.usual < _SLOW:
        return Finding("redis", Level.OK, found)
    level = Level.WARNING if health.usual < _TOO_SLOW else Level.FAULT
    return Finding("redis", level, found, "Put Redis near, and look what keeps it busy.")


def _policy(health: redis_checkup.Health) -> Finding:
    found = f"maxmemory-policy {health.policy or 'not told'}"
    if health.limit == 0 or health.policy in {"", "noeviction"}:
        return Finding("redis", Level.OK, found)
    remedy = (
        "Set maxmemory-policy noeviction: else a full Redis drops wakes, and deliveries wait for "
        "the sweep."
    )
    return Finding("redis", Level.WARNING, found, remedy)


def _skew(of: str, ahead: float) -> Finding:
    """What to think of a clock that is so many ms ahead of ours."""
    found = f"the clock of {of} is {abs(ahead):.0f} ms {'ahead' if ahead > 0 else 'behind'}"
    if abs(ahead) < _ODD_SKEW:
        return Finding("clock", Level.OK, found)
    level = Level.WARNING if abs(ahead) < _BAD_SKEW else Level.FAULT
    return Finding("clock", level, found, "Let all machines set their clocks by NTP.")


def _disk(settings: Settings) -> Iterator[Finding]:
    if not settings.is_embedded:
        return  # see what is said of the server's
    folder = _existing(settings.data_folder)
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:.1f} GiB free for {folder}"
    if free >= _LITTLE:
        yield Finding("disk", Level.OK, found)
        return
    level = Level.WARNING if free >= _TOO_LITTLE else Level.FAULT
    remedy = (
        "Make room, or shorten RINGBACK_RETENTION. While the disk is full producers get 503, and "
        "nothing that was accepted is lost."
    )
    yield Finding("disk", level, found, remedy)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.exists())
