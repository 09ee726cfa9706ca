"""What the doctor makes of what no test can bring about: old servers, wrong clocks, full disks."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from service.broker import checkup
from service.broker.checkup import Health
from service.runtime.doctor import examine
from service.runtime.findings import Level

WELL = Health("Redis 7.2.4", (7, 2, 4), 0.001, 0.002, "noeviction", 0, 0.0)
Usage = namedtuple("Usage", "total used free")  # noqa: PYI024  as the standard library's, whose types nobody asks


def levels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, health: Health, free: int = 2**40
) -> dict[str, set[Level]]:
    """What is thought of each thing, with such a Redis and so much disk."""
    monkeypatch.setattr(checkup, "ask", lambda *_: health)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 0, free))
    environ = {
        "RINGBACK_DATABASE_URL": f"sqlite:///{tmp_path}/r.db",
        "RINGBACK_REDIS_URL": "redis://cache/0",
    }
    found: dict[str, set[Level]] = {}
    for each in examine(environ):
        found.setdefault(each.check, set()).add(each.level)
    return found


@pytest.mark.parametrize(
    ("changed", "check", "level"),
    [
        ({}, "redis", Level.OK),
        ({"version": (6, 0, 16)}, "redis", Level.FAULT),
        ({"version": ()}, "redis", Level.OK),
        ({"usual": 0.05}, "redis", Level.WARNING),
        ({"usual": 0.3}, "redis", Level.FAULT),
        ({"policy": "allkeys-lru"}, "redis", Level.OK),
        ({"policy": "allkeys-lru", "limit": 1}, "redis", Level.WARNING),
        ({"refusal": "You can't write against a read only replica."}, "redis", Level.FAULT),
        ({"ahead": -999.0}, "clock", Level.OK),
        ({"ahead": -1001.0}, "clock", Level.WARNING),
        ({"ahead": 5001.0}, "clock", Level.FAULT),
    ],
)
def test_how_bad_it_is(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    changed: dict[str, object],
    check: str,
    level: Level,
) -> None:
    health = Health(**{**_members(WELL), **changed})  # type: ignore[arg-type]  # members of many types
    found = levels(monkeypatch, tmp_path, health)

    assert found.pop("settings") == {Level.WARNING}  # a file needs no Redis
    assert found.pop(check) - {Level.OK} == {level} - {Level.OK}
    assert set().union(*found.values()) == {Level.OK}


@pytest.mark.parametrize(
    ("free", "level"), [(2**30, Level.OK), (2**30 - 1, Level.WARNING), (2**27 - 1, Level.FAULT)]
)
def test_a_full_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, level: Level
) -> None:
    assert levels(monkeypatch, tmp_path, WELL, free)["disk"] == {level}


def _members(health: Health) -> dict[str, object]:
    return {name: getattr(health, name) for name in Health.__slots__}
