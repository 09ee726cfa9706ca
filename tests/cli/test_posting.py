"""`ringback event send --from`: many events of a file."""

import json
from pathlib import Path

import pytest

from tests.support.server import free_port
from tests.support.terminal import Terminal

SEND = ("event", "send", "--from", "-")
#: No request takes a line like that.
TOO_LARGE = b'{"type": "%b"}\n' % (b"x" * 16 * 1024 * 1024)


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


def test_the_mended_lines_of_a_file_with_a_key_need_another(run: Terminal) -> None:
    bad, good = ({"operationId": "o", "type": kind} for kind in ("!", "note"))
    keyed = run(*SEND, "--idempotency-key", "k", stdin=lines(bad, good))
    plain = run(*SEND, stdin=lines(bad, good))
    again = run(*SEND, "--idempotency-key", "k", stdin=lines(good))

    assert "with another --idempotency-key" in keyed.err
    assert "--idempotency-key" not in plain.err
    assert (keyed.code, plain.code, again.code) == (7, 7, 2)


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


def test_a_line_that_is_not_utf8_keeps_no_other_back(run: Terminal) -> None:
    good = {"operationId": "o", "type": "note", "message": "zwölf"}
    bad = b'{"operationId": "o", "message": "zw\xf6lf"}\n'
    done = run(*SEND, "-o", "jsonl", stdin=lines(*[good] * 1_000) + b"\n" + bad + lines(good) + bad)
    refused = [(at, each) for at, each in enumerate(done.lines) if "problem" in each]

    assert done.code == 7
    assert "2 of 1003 events were refused; the others are committed." in done.err
    assert [(at, each["line"]) for at, each in refused] == [(1_000, "1002"), (1_002, "1004")]
    assert refused[0][1]["problem"] == {
        "title": "The line cannot be read",
        "status": "400",
        "detail": "The line is not UTF-8 (byte 35). JSON is always UTF-8; save the file so.",
    }
    assert posted(run) == 1_001


def test_a_file_of_nothing_but_what_is_not_utf8_is_told_line_by_line(run: Terminal) -> None:
    done = run(*SEND, stdin=b'"\xff"\n"\xfe"\n')

    assert done.code == 7
    assert done.out.count("is not UTF-8 (byte 1)") == 2
    assert "2 of 2 events were refused; nothing was committed." in done.err


def test_a_mark_that_a_file_begins_with_is_no_part_of_its_first_line(run: Terminal) -> None:
    done = run(*SEND, stdin=b"\xef\xbb\xbf" + lines({"operationId": "o", "type": "note"}))

    assert (done.code, posted(run)) == (0, 1)


def test_a_mark_that_a_file_of_data_begins_with_is_no_part_of_it(
    run: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "data.json").write_bytes(b'\xef\xbb\xbf{"page": 1}')
    typed = ("event", "send", "note", "--operation", "o", "--data", f"@{tmp_path / 'data.json'}")

    assert run(*typed).code == 0


def test_what_stops_a_file_says_where_to_go_on(run: Terminal) -> None:
    file = lines(*[{"operationId": "o", "type": "note"}] * 1_000) + TOO_LARGE
    done = run(*SEND, "-o", "jsonl", stdin=file)

    assert (done.code, len(done.lines)) == (2, 1_000)
    assert "more than the 16777216 bytes" in done.err
    assert "Stopped at line 1001; 1 are left." in done.err
    assert posted(run) == 1_000


def test_what_stops_a_file_with_a_key_is_gone_on_with_by_that_key(run: Terminal) -> None:
    good = {"operationId": "o", "type": "note"}
    bad = lines(*[good] * 1_000) + TOO_LARGE
    stopped = run(*SEND, "--idempotency-key", "k", stdin=bad)
    mended = lines(*[good] * 1_001)
    done = run(*SEND, "--idempotency-key", "k", stdin=mended)

    assert "once more, with the same key" in stopped.err
    assert (done.code, posted(run)) == (0, 1_001)


def test_who_used_the_key_for_another_file_is_not_told_to_keep_it(run: Terminal) -> None:
    one, other = (lines({"operationId": name, "type": "note"}) for name in ("one", "other"))
    assert run(*SEND, "--idempotency-key", "k", stdin=one).code == 0
    done = run(*SEND, "--idempotency-key", "k", stdin=other)

    assert done.code == 2
    assert "a key of its own" in done.err
    assert "Then send the file once more." in done.err


def test_who_got_no_answer_is_told_to_keep_the_key() -> None:
    """It may have been taken: with another key it would be posted twice."""
    away = ("--url", f"http://127.0.0.1:{free_port()}", "--key", "k")
    file = lines({"operationId": "o", "type": "note"})
    done = Terminal()(*SEND, *away, "--idempotency-key", "k", stdin=file)

    assert done.code == 6
    assert "Then send the file once more, with the same key." in done.err


def test_an_array_is_posted_as_lines_are(run: Terminal) -> None:
    exact = '{"n":12345678901234567890.10,"s":"ö"}'
    good = f'{{"operationId": "o", "type": "note",\n "data": {exact}}}'
    bad = '{"operationId": "o", "type": "!"}'
    file = f"\ufeff\n [{good},\n{bad}, {', '.join([good] * 1_000)}]\n".encode()
    done = run(*SEND, "-o", "jsonl", stdin=file)
    refused = [(at, each) for at, each in enumerate(done.lines) if "problem" in each]
    data = run("event", "list", "--operation", "o", "--limit", "1", "-o", "jsonl").out

    assert done.code == 7
    assert [(at, each["element"]) for at, each in refused] == [(1, "2")]
    assert posted(run) == 1_001
    assert f'"data":{exact}' in data


def test_the_elements_of_an_array_are_posted_as_they_are_written(run: Terminal) -> None:
    """Written anew each of these letters takes six bytes: too many for one event."""
    event = {"operationId": "o", "type": "note", "data": "日本語" * 17_000 + "\n"}
    done = run(*SEND, stdin=json.dumps([event], ensure_ascii=False).encode())

    assert (done.code, posted(run)) == (0, 1)


def test_an_object_over_many_lines_is_one_event(run: Terminal) -> None:
    """Each line of it was refused by itself, as none of them is JSON."""
    event = {"operationId": "o", "type": "!", "data": {"n": [1, 2]}}
    refused = run(*SEND, "-o", "jsonl", stdin=b"\n" + json.dumps(event, indent=2).encode())
    event["type"] = "note"
    done = run(*SEND, stdin=json.dumps(event, indent=2).replace("\n", "\r\n").encode())

    assert (refused.code, [each["line"] for each in refused.lines]) == (7, ["2"])
    assert (done.code, posted(run)) == (0, 1)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (b'[{"type": "note"', "is none: "),
        (b'[{"type": "note"}]\n[]', "is none: Extra data"),
        (b"[" * 100_000, "is none: it is nested too deeply"),
        (b'[{"type": "n\xf6te"}]', "is not UTF-8"),
    ],
)
def test_of_a_broken_array_nothing_is_posted(run: Terminal, file: bytes, said: str) -> None:
    done = run(*SEND, stdin=file)

    assert (done.code, done.out, posted(run)) == (2, "", 0)
    assert f"The file begins as a JSON array and {said}" in done.err
    assert "Nothing was posted." in done.err


def test_an_empty_array_holds_no_events(run: Terminal) -> None:
    done = run(*SEND, stdin=b" [ ] ")

    assert (done.code, "The file holds no events." in done.out + done.err) == (0, True)
