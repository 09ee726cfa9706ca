"""Output as people see it, kept in golden/: ids numbered, times replaced, no colour.

``WRITE_GOLDEN=1`` writes the files anew; read what changed before it is kept.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Receiver, Shop
from tests.cli.test_remote import created
from tests.support.terminal import Ended, Terminal, frozen

FOLDER = Path(__file__).with_name("golden")
#: What differs from run to run besides ids and times.
_VARYING = (
    (re.compile(r"\b127\.0\.0\.1:\d+"), "HOST:PORT"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=]+"), "SECRET"),
    (re.compile(r"\brb_[A-Za-z0-9_-]{40,}"), "KEY"),
    (re.compile(r"\brb_[0-9a-f]{8}\b"), "PREFIX"),
    (re.compile(r"#pl_[A-Za-z0-9_-]{43}"), "#LINK"),
    (re.compile(r"\bshop\d+\b"), "TENANT"),
)


def check(name: str, *ended: Ended) -> None:
    """Compare what was said with what is kept."""
    said = "\n".join(f"{each.out}{each.err}[exit {each.code}]" for each in ended)
    for pattern, word in _VARYING:
        for found in set(pattern.findall(said)):
            said = said.replace(found, word.ljust(len(found), "."))
    said = re.sub(r"\.{2,}", "...", frozen(said))
    file = FOLDER / f"{name}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        file.write_text(said)
    assert said == file.read_text()


@pytest.fixture
def told(shop: Shop, receivers: Callable[[int], Receiver]) -> Terminal:
    """A tenant to whom a little of everything has happened."""
    run = shop.terminal()
    created(run, receivers(204).url, "--events", "COMPLETED", "--description", "the sales team")
    created(run, receivers(500).url, "--events", "FAILED,note.*")
    for kind in ("STARTED", "note.made", "COMPLETED"):
        run("event", "send", kind, "--operation", "job-1", "--message", f"{kind} now", "--wait")
    return run


@pytest.mark.parametrize("width", [0, 72, 130])
def test_lists(told: Terminal, shop: Shop, width: int) -> None:
    run = shop.terminal(width)
    check(
        f"lists-{width}",
        run("subscription", "list"),
        run("delivery", "list"),
        run("dead-letter", "list"),
        run("dead-letter", "summary"),
        run("operation", "list", "--type", "nothing"),
        told("operation", "watch", "job-1"),
    )


def test_things(told: Terminal, shop: Shop) -> None:
    run = shop.terminal(100)
    (subscription, _) = told("subscription", "list", "-o", "jsonl").lines
    (letter,) = told("dead-letter", "list", "-o", "jsonl").lines
    check(
        "things",
        run("subscription", "get", subscription["id"]),
        run("dead-letter", "get", letter["id"]),
        run("replay", "--since", "1d", "--dry-run"),
        run("replay", "--since", "1d"),
        run("subscription", "delete", subscription["id"]),
        run("dead-letter", "discard", letter["id"], "--yes"),
        run("portal-link", "create", "--ttl-seconds", "60"),
        run("portal-link", "revoke", "pl_nothing"),
    )


def test_nothing_there_yet(run: Terminal) -> None:
    nouns = ("event", "operation", "subscription", "delivery", "dead-letter")
    check("nothing", *(run(noun, "list") for noun in nouns))


def test_mistakes(run: Terminal) -> None:
    check(
        "mistakes",
        run("event", "send", "STARTED"),
        run("event", "get", "evt_nothing"),
        run("subscription", "create", "ftp://example.com/"),
        run("dead-letter", "replay"),
        run("delivery", "list", "--since", "yesterday"),
        Terminal({"RINGBACK_URL": "http://127.0.0.1:1"})("event", "list"),
    )


def test_help() -> None:
    run = Terminal()
    nouns = (("event",), ("event", "send"), ("portal-link",))
    check("help", run("--help"), *(run(*words, "--help") for words in nouns))
