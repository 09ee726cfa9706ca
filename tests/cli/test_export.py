"""What a tenant has, written as lines of JSON: whole, once each, and gone on with after a cut."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Receiver, Shop
from tests.cli.test_remote import created
from tests.support.terminal import Terminal

KINDS = ["operations", "events", "deliveries", "attempts", "dead-letters", "audit-log"]


def data(lines: list[Any], kind: str) -> list[Any]:
    return [line["data"] for line in lines if line.get("kind") == kind]


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def told(shop: Shop, receivers: Callable[[int], Receiver]) -> Terminal:
    """A tenant with two operations, of which one event could not be delivered."""
    run = shop.terminal()
    created(run, receivers(204).url, "--events", "STARTED,COMPLETED")
    created(run, receivers(500).url, "--events", "FAILED")
    for kind, job in (("STARTED", "job-1"), ("COMPLETED", "job-1"), ("FAILED", "job-2")):
        run("event", "send", kind, "--operation", job, "--data", '{"price": 1.10}', "--wait")
    return run


def test_everything_is_there_once_and_numbers_as_they_were(told: Terminal) -> None:
    done = told("export")

    assert done.code == 0, done.err
    assert done.err.startswith("Exported 2 operations, 5 events, 3 deliveries")
    head, *lines = done.lines
    assert head["kinds"] == KINDS
    assert {each["operationId"] for each in data(lines, "operations")} == {"job-1", "job-2"}
    types = [each["type"] for each in data(lines, "events")]
    assert types[:3] == ["STARTED", "COMPLETED", "FAILED"]
    assert sorted(types[3:]) == ["dead_letters.threshold", "delivery.dead_lettered"]
    assert '"data":{"price":1.10}' in done.out
    assert Counter(each["status"] for each in data(lines, "deliveries")) == {
        "delivered": 2,
        "dead": 1,
    }
    tries = Counter(each["deliveryId"] for each in data(lines, "attempts"))
    assert sorted(tries.values()) == [1, 1, 2]
    assert [each["eventType"] for each in data(lines, "dead-letters")] == ["FAILED"]
    assert {each["action"] for each in data(lines, "audit-log")} >= {"subscription.created"}
    assert [line["mark"] for line in lines if "mark" in line] == KINDS


def test_what_was_cut_off_is_gone_on_with(
    told: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.cli.exporting._PAGE", 1)  # so that there are many pages
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    assert told("export", "--to", str(whole)).code == 0
    text = whole.read_bytes()

    for cut in range(0, len(text), max(len(text) // 40, 1)):
        part.write_bytes(text[:cut])
        assert told("export", "--to", str(part), "--resume").code == 0
        assert read(part)[1:] == read(whole)[1:]


def test_a_finished_export_is_left_as_it_is(told: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "export.jsonl"
    told("export", "--to", str(path), "--only", "operations,events")
    before = path.read_bytes()
    again = told("export", "--to", str(path), "--resume")

    assert (again.code, again.err) == (0, "It was complete already.\n")
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600
    assert {line.get("kind") for line in read(path)} == {None, "operations", "events"}


def test_a_span_of_time(told: Terminal) -> None:
    later = told("export", "--since", "2999-01-01")
    until = told("export", "--until", "2020-01-01")

    assert [line for line in later.lines if "kind" in line] == []
    assert [line for line in until.lines if "kind" in line] == []


def test_what_is_wrong_is_said(told: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "there.jsonl"
    path.write_text('{"no": "export"}\n')

    assert told("export", "--to", str(path)).code == 5
    assert told("export", "--to", str(path), "--resume").code == 2
    assert path.read_text() == '{"no": "export"}\n'
    assert told("export", "--resume").code == 2
    assert told("export", "--to", str(path), "--resume", "--only", "events").code == 2
    unknown = told("export", "--only", "secrets")
    assert unknown.code == 2
    assert "secrets" in unknown.err
