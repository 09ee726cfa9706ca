"""What `.ci/run` does before and after the tests, with stand-ins for what it calls."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.deployment import ROOT

#: Where this folder is, packages of servers start some.
SYSTEMD = "/run/systemd/system"
#: What says whether they do elsewhere.
POLICY = "/usr/sbin/policy-rc.d"
#: What it needs of the system besides the stand-ins.
TOOLS = (
    "bash",
    "chmod",
    "dirname",
    "env",
    "grep",
    "mktemp",
    "rm",
    "sleep",
    "tail",
    "tee",
    "timeout",
)
CALLED = 'echo "$(basename "$0") $*" >> "$CALLED"'
UPDATE = "apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=10 update"
INSTALL = "apt-get -qq install -y --no-install-recommends"
#: Packages, and what stands for each of them.
FOUND = {"chromium": "chromium", "php-cli": "php", "ruby": "ruby", "mono-mcs": "mcs"}
SERVERS = {
    "pgbouncer": "pgbouncer",
    "prometheus": "promtool",
    "caddy": "caddy",
    "nginx-light": "nginx",
}
ALL = " ".join(FOUND | SERVERS)
PROGRAMS = (*FOUND.values(), *SERVERS.values())


def installs(packages: str) -> list[str]:
    return [f"{INSTALL} {each}" for each in packages.split()]


class Place:
    """A checkout that has nothing but the script, and a system that has little more."""

    def __init__(self, folder: Path) -> None:
        self.called = folder / "called"
        self.called.touch()
        self._folder = folder
        self._bin = folder / "bin"
        self._bin.mkdir()
        for name in (*TOOLS, "basename"):
            (self._bin / name).symlink_to(str(shutil.which(name)))
        script = self._script = folder / "checkout" / ".ci" / "run"
        shutil.copytree(ROOT / ".ci", script.parent)
        text = script.read_text()
        assert SYSTEMD in text
        assert POLICY in text
        self._systemd, self.policy = folder / "systemd", folder / "policy"
        script.write_text(
            text.replace(SYSTEMD, str(self._systemd)).replace(POLICY, str(self.policy))
        )
        self.has("make", "echo noise; echo '=== 3 passed in 1s ==='")
        self.has("id", "echo 0")

    def has(self, name: str, does: str) -> None:
        """There is a program of this name."""
        program = self._bin / name
        program.write_text(f"#!/usr/bin/env bash\n{CALLED}\n{does}\n")
        program.chmod(0o755)

    def shortens(self, old: str, new: str) -> None:
        """Its patience, which is as long as a test may not take."""
        text = self._script.read_text()
        assert old in text
        self._script.write_text(text.replace(old, new))

    def has_systemd(self) -> None:
        """The system is run by systemd."""
        self._systemd.mkdir()

    def run(self, status: int = 0) -> tuple[list[str], str]:
        """The programs that were called, without those that only ask, and what was printed."""
        done = subprocess.run(
            [self._folder / "checkout" / ".ci" / "run"],
            env={"PATH": str(self._bin), "CALLED": str(self.called), "HOME": os.devnull},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == status, done.stdout + done.stderr
        calls = self.called.read_text().splitlines()
        return [each for each in calls if not each.startswith("id ")], done.stdout


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


MAKE = "make --keep-going --jobs=2 test"


def test_what_is_missing_is_installed_before_the_tests(place: Place) -> None:
    place.has("apt-get", "true")

    calls, said = place.run()

    assert calls == [UPDATE, *installs(ALL), MAKE]
    assert "NOTE" not in said
    assert said.splitlines()[-2:] == ["closing lines of the test run:", "=== 3 passed in 1s ==="]


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ([*SERVERS.values(), "chromium", "mcs"], "php-cli ruby"),
        ([*SERVERS.values(), "chromium-browser", "ruby", "mcs"], "php-cli"),
        (SERVERS.values(), "chromium php-cli ruby mono-mcs"),
        (set(PROGRAMS) - {"chromium"}, "chromium"),
        (PROGRAMS, ""),
    ],
    ids=["some", "another name", "servers", "all but chromium", "all"],
)
def test_what_is_there_is_taken(place: Place, there: Iterable[str], missing: str) -> None:
    for name in ["apt-get", *there]:
        place.has(name, "true")

    installed = [UPDATE, *installs(missing)] if missing else []
    assert place.run()[0] == [*installed, MAKE]


def test_where_packages_would_start_servers_they_are_left_out_and_named(place: Place) -> None:
    place.has("apt-get", "true")
    place.has("nginx", "true")
    place.has_systemd()

    calls, said = place.run()

    assert calls == [UPDATE, *installs(" ".join(FOUND)), MAKE]
    (note,) = (line for line in said.splitlines() if line.startswith("NOTE"))
    assert "systemd" in note
    assert "pgbouncer prometheus caddy; tests" in note


def test_no_package_starts_a_server_while_it_is_installed(place: Place) -> None:
    """Without systemd they would, too, where nothing says that they may not."""
    place.has("apt-get", f'{place.policy} nginx start; echo "$?" >> "$CALLED"')

    calls, _ = place.run()

    assert calls.count("101") == len(FOUND | SERVERS)
    assert not place.policy.exists()


def test_what_says_whether_servers_start_is_left_as_it_is(place: Place) -> None:
    place.has("apt-get", "true")
    place.policy.write_text("theirs")

    place.run()

    assert place.policy.read_text() == "theirs"


def test_a_slow_source_of_packages_does_not_hold_the_tests_up_for_each_of_them(
    place: Place,
) -> None:
    place.shortens("patience=150", "patience=2")
    place.has("apt-get", '[ "${!#}" = update ] || sleep 1.2')

    calls, said = place.run()

    tried = [each for each in calls if each.startswith(INSTALL)]
    assert 1 <= len(tried) <= 3
    assert calls[-1] == MAKE
    assert "nginx-light; tests that need it will be skipped" in said


def test_a_package_that_cannot_be_had_costs_no_other(place: Place) -> None:
    place.has("apt-get", '[ "${!#}" != php-cli ]')

    calls, said = place.run()

    assert calls == [UPDATE, *installs(ALL), MAKE]
    assert "apt-get): php-cli; tests" in said


@pytest.mark.parametrize(
    ("programs", "tried"),
    [
        ({}, []),
        ({"apt-get": "true", "id": "echo 1000"}, []),
        ({"apt-get": "exit 100"}, [UPDATE]),
        ({"apt-get": '[ "${!#}" = update ]'}, [UPDATE, *installs(ALL)]),
    ],
    ids=["no apt-get", "not root", "no network", "no package"],
)
def test_where_it_cannot_be_had_the_tests_run_without_it(
    place: Place, programs: dict[str, str], tried: list[str]
) -> None:
    for name, does in programs.items():
        place.has(name, does)

    calls, said = place.run()

    assert calls == [*tried, MAKE]
    assert f"{ALL}; tests that need it will be skipped" in said


def test_a_run_that_fails_fails(place: Place) -> None:
    for name in PROGRAMS:
        place.has(name, "true")
    place.has("make", "echo 'FAILED tests/test_x.py::test_y - no'; exit 2")

    assert place.run(status=2)[1].splitlines()[-1] == "FAILED tests/test_x.py::test_y - no"
