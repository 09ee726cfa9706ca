"""`ringback doctor`: each fault is found with its remedy, and nothing is changed by looking."""

import base64
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import chdir, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import server
from tests.support.server import Server, free_port
from tests.support.terminal import Terminal
from tests.support.valkey import Valkey, client

K2 = "k2:" + base64.b64encode(b"2" * 32).decode()


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a service in which a secret is kept."""
    folder = tmp_path_factory.mktemp("used")
    with Server(folder) as running:
        made = httpx.post(
            f"{running.url}/v1/subscriptions",
            json={"url": "http://127.0.0.1:9/"},
            headers={"authorization": f"Bearer {running.admin_key}"},
        )
        assert made.status_code == 201
        assert running.stop() == 0
    return folder / "data"


@pytest.fixture
def folder(tmp_path: Path, used: Path) -> Path:
    shutil.copytree(used, tmp_path / "data")
    return tmp_path


def examined(
    folder: Path, settings: Mapping[str, str] | None = None
) -> tuple[int, dict[str, list[Any]]]:
    """The exit code, and the findings by what was looked at."""
    with chdir(folder):
        done = Terminal(settings or {})("doctor", "-o", "json")
    assert done.err == ""
    findings: dict[str, list[Any]] = {}
    for finding in done.json:
        assert list(finding) == ["check", "level", "found", "remedy"]
        assert finding["remedy"] or finding["level"] == "ok"
        findings.setdefault(finding["check"], []).append(finding)
    return done.code, findings


def fault(folder: Path, check: str, settings: Mapping[str, str] | None = None) -> str:
    """What is said of the only fault."""
    code, findings = examined(folder, settings)
    assert code == 1
    (found,) = [each for one in findings.values() for each in one if each["level"] == "fault"]
    assert found["check"] == check
    return f"{found['found']} {found['remedy']}"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_wrong_before_the_first_start_and_nothing_is_made(tmp_path: Path) -> None:
    code, findings = examined(tmp_path)

    assert code == 0
    assert sorted(findings) == ["database", "disk", "encryption keys", "redis", "settings"]
    assert {each["level"] for one in findings.values() for each in one} == {"ok"}
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_wrong_with_what_a_service_left_and_nothing_is_changed(folder: Path) -> None:
    before = contents(folder)
    code, findings = examined(folder)

    assert code == 0
    assert "schema revision" in findings["database"][0]["found"]
    assert "they open the" in findings["encryption keys"][0]["found"]
    assert contents(folder) == before


def test_a_service_may_run_meanwhile(folder: Path) -> None:
    with Server(folder, {}) as running:
        code, findings = examined(folder)
        assert code == 0
        assert "they open the" in findings["encryption keys"][0]["found"]
        assert running.stop() == 0


def test_for_people_it_is_lines(folder: Path) -> None:
    done = server.ringback(folder, "doctor")

    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert {len(line) for line in lines} == {4}
    assert lines[0] == ["settings", "ok", "nothing to object to", ""]


def test_settings_that_cannot_be_used_are_faults(tmp_path: Path) -> None:
    said = fault(tmp_path, "settings", {"RINGBACK_PROT": "1"})
    assert "did you mean RINGBACK_PORT?" in said


def test_settings_that_are_seldom_meant_are_no_faults(tmp_path: Path) -> None:
    code, findings = examined(tmp_path, {"RINGBACK_ALLOW_HTTP": "true"})
    assert code == 0
    assert [each["level"] for each in findings["settings"]] == ["warning"]


def test_another_programs_database(folder: Path) -> None:
    (folder / "data" / "ringback.db").write_bytes(b"notes of mine " * 100)
    assert "cannot be read as a database" in fault(folder, "database")


@pytest.mark.parametrize(
    ("revision", "level", "remedy"),
    [("0001", "warning", "ringback migrate"), ("9999", "fault", "a newer one")],
)
def test_a_schema_of_another_version(folder: Path, revision: str, level: str, remedy: str) -> None:
    with closing(sqlite3.connect(folder / "data" / "ringback.db")) as file:
        file.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        file.commit()
    code, findings = examined(folder)
    (found,) = findings["database"]
    assert code == (level == "fault")
    assert found["level"] == level
    assert revision in found["found"]
    assert remedy in found["remedy"]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder")
    code, findings = examined(tmp_path)
    assert code == 1
    assert "is not a folder" in findings["database"][-1]["found"]


def test_keys_that_are_gone(folder: Path) -> None:
    (folder / "data" / "encryption.keys").unlink()
    assert "Put that file back" in fault(folder, "encryption keys")


def test_keys_that_do_not_open_what_is_sealed(folder: Path) -> None:
    said = fault(folder, "encryption keys", {"RINGBACK_ENCRYPTION_KEYS": K2})
    assert "'k1'" in said


def test_keys_that_cannot_be_read(folder: Path) -> None:
    said = fault(folder, "encryption keys", {"RINGBACK_ENCRYPTION_KEYS": "k1:c2hvcnQ="})
    assert "has 5 bytes, not 32" in said


def test_a_redis_that_is_well(tmp_path: Path, valkey: Valkey) -> None:
    code, findings = examined(tmp_path, {"RINGBACK_REDIS_URL": valkey.url})
    assert code == 0
    said = " ".join(each["found"] for each in findings["redis"])
    assert "Valkey " in said
    assert "maxmemory-policy noeviction" in said
    assert "answers in " in said
    assert findings["clock"][0]["level"] == "ok"


def test_a_redis_that_is_not_there(tmp_path: Path) -> None:
    said = fault(tmp_path, "redis", {"RINGBACK_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"})
    assert "refused" in said
    assert "Start it, or correct RINGBACK_REDIS_URL" in said


def test_a_redis_that_does_not_answer(tmp_path: Path, valkey: Valkey) -> None:
    valkey.pause()
    assert "Timeout" in fault(tmp_path, "redis", {"RINGBACK_REDIS_URL": valkey.url})


def test_a_redis_that_forgets_when_it_is_full(tmp_path: Path, valkey: Valkey) -> None:
    with client(valkey.url) as asked:
        asked.config_set("maxmemory", "100mb")
        asked.config_set("maxmemory-policy", "allkeys-lru")
    code, findings = examined(tmp_path, {"RINGBACK_REDIS_URL": valkey.url})
    (policy,) = [each for each in findings["redis"] if "policy" in each["found"]]
    assert (code, policy["level"]) == (0, "warning")
    assert "noeviction" in policy["remedy"]


def test_a_narrow_terminal_shows_the_remedies_too(folder: Path) -> None:
    with chdir(folder):
        done = Terminal({"RINGBACK_ALLOW_HTTP": "true"}, width=72)("doctor")
    assert "warning" in done.out
    assert "remedy" in done.out
