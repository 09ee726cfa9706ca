"""`ringback event send --from`: many events of a file."""

import json

from tests.support.terminal import Terminal

SEND = ("event", "send", "--from", "-")


def lines(*events: dict[str, str]) -> bytes:
    """Events as a file has them."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in events)


def posted(run: Terminal) -> int:
    """How many events there are."""
    return len(run("event", "list", "--limit", "5000", "-o", "jsonl").lines)


def test_a_file_with_a_key_is_posted_once_however_many_requests_it_takes(run: Terminal) -> None:
    file = lines(*({"operationId": f"o{n}", "type": "note"} for n in range(1_001)))
    first, again = (run(*SEND, "--idempotency-key", "k", stdin=file) for _ in range(2))

    assert (first.code, again.code) == (0, 0)
    assert again.out == first.out
    assert posted(run) == 1_001


def test_a_file_larger_than_a_request_may_be_is_posted(run: Terminal) -> None:
    large = "x" * 250_000
    events = [{"operationId": f"o{n}", "type": "note", "data": large} for n in range(70)]
    done = run(*SEND, "-o", "jsonl", stdin=lines(*events))

    assert (done.code, len(done.lines)) == (0, 70)


def test_what_is_refused_is_told_by_its_line_and_its_faults(run: Terminal) -> None:
    good = {"operationId": "o", "type": "note"}
    file = lines(*[good] * 1_000) + b"\n" + lines({"operationId": "o", "type": "!"}, good)

    table = run(*SEND, stdin=file).out.splitlines()[1_000].split("\t")
    refused = run(*SEND, "-o", "jsonl", stdin=file).lines[1_000]

    assert table[-2] == "1002"
    assert table[-1].startswith("/type: must be 1 to 128 letters")
    assert (refused["line"], refused["problem"]["status"]) == ("1002", "422")


def test_what_stops_a_file_says_where_to_go_on(run: Terminal) -> None:
    file = lines(*[{"operationId": "o", "type": "note"}] * 1_000) + b'{"type": "\xff"}\n'
    done = run(*SEND, "-o", "jsonl", stdin=file)

    assert (done.code, len(done.lines)) == (2, 1_000)
    assert "UTF-8" in done.err
    assert "Stopped at line 1001; 1 are left." in done.err
    assert posted(run) == 1_000


def test_what_stops_a_file_with_a_key_is_gone_on_with_by_that_key(run: Terminal) -> None:
    good = {"operationId": "o", "type": "note"}
    bad = lines(*[good] * 1_000) + b'{"type": "\xff"}\n'
    stopped = run(*SEND, "--idempotency-key", "k", stdin=bad)
    mended = lines(*[good] * 1_001)
    done = run(*SEND, "--idempotency-key", "k", stdin=mended)

    assert "once more, with the same key" in stopped.err
    assert (done.code, posted(run)) == (0, 1_001)
