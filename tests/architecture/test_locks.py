"""The locks install what the project declares: every dependency, pinned within its range."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "deploy" / "lock"
PIN = re.compile(r"^(?P<name>[a-zA-Z0-9._-]+)==(?P<version>[^\s;]+)", re.MULTILINE)


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(lock: str) -> dict[str, Version]:
    """Normalised name to pinned version."""
    text = (LOCKS / lock).read_text()
    return {canonicalize_name(pin["name"]): Version(pin["version"]) for pin in PIN.finditer(text)}


def declared(*groups: str) -> list[Requirement]:
    """The project's own dependencies and those of some of its groups and extras."""
    document = project()
    lines = list(document["project"]["dependencies"])
    more = {**document["dependency-groups"], **document["project"]["optional-dependencies"]}
    for group in groups:
        lines += [line for line in more[group] if isinstance(line, str)]
    return [Requirement(line) for line in lines]


def misfits(requirements: list[Requirement], locked: dict[str, Version]) -> list[str]:
    """Requirements that a lock lacks or pins outside their range."""
    return [
        str(requirement)
        for requirement in requirements
        if (version := locked.get(canonicalize_name(requirement.name))) is None
        or not requirement.specifier.contains(version)
    ]


@pytest.mark.parametrize(
    ("lock", "groups"),
    [
        ("runtime.txt", ["build"]),
        ("otel.txt", ["build", "otel"]),
        ("dev.txt", ["build", "dev", "otel"]),
    ],
)
def test_a_lock_fits_the_project(lock: str, groups: list[str]) -> None:
    assert misfits(declared(*groups), pins(lock)) == []


def test_the_installer_lock_fits_the_project() -> None:
    wanted = [Requirement(line) for line in project()["dependency-groups"]["installer"]]

    assert misfits(wanted, pins("uv.txt")) == []


@pytest.mark.parametrize("lock", ["runtime.txt", "otel.txt"])
def test_tests_run_on_the_versions_that_are_shipped(lock: str) -> None:
    shipped = pins(lock)

    assert {name: pins("dev.txt").get(name) for name in shipped} == shipped


def test_every_pin_has_a_hash() -> None:
    for lock in LOCKS.glob("*.txt"):
        entries = re.split(r"\n(?=[a-z0-9])", lock.read_text())
        bare = [
            entry.splitlines()[0]
            for entry in entries
            if "==" in entry and "--hash=sha256:" not in entry
        ]
        assert bare == []


def test_locks_name_no_host_and_no_place_on_a_machine() -> None:
    for lock in LOCKS.glob("*.txt"):
        assert not re.search(r"://|--(extra-)?index|--find-links|(^|\s)/\w", lock.read_text())


def test_the_build_backend_is_declared_once() -> None:
    document = project()

    assert document["dependency-groups"]["build"] == document["build-system"]["requires"]


@pytest.mark.parametrize(
    ("line", "locked", "fits"),
    [
        ("redis>=7,<9", "8.1.0", True),
        ("redis>=7,<9", "9.0.0", False),
        ("Redis>=7,<9", None, False),
    ],
)
def test_a_misfit_is_seen(line: str, locked: str | None, *, fits: bool) -> None:
    pinned = {"redis": Version(locked)} if locked else {}

    assert (misfits([Requirement(line)], pinned) == []) is fits
