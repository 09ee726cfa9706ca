"""How values are written on pages."""

import json

import pytest

from service.console.rendering import brief, pretty

TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def test_what_turns_text_around_is_written_as_escapes_of_the_same_text() -> None:
    text = f"a{TURNING}b שלום \u200b é 😀"
    shown = pretty(json.dumps({text: [text]}, ensure_ascii=False))

    assert json.loads(shown) == {text: [text]}
    assert not set(shown) & set(TURNING)
    assert "שלום" in shown
    assert r"a\u061c\u200e" in shown


def test_a_backslash_before_it_stays_one() -> None:
    text = "\\\u202e"
    assert json.loads(pretty(json.dumps(text, ensure_ascii=False))) == text


def test_numbers_stay_as_they_were_written() -> None:
    assert pretty(b'{"n":1.10,"m":1e400}') == '{\n  "n": 1.10,\n  "m": 1e400\n}'


@pytest.mark.parametrize("body", [b"\xff\x00", b"{", "\u202e"])
def test_what_is_no_json_is_shown_all_the_same(body: bytes | str) -> None:
    assert pretty(body)


def test_a_list_tells_how_something_begins() -> None:
    assert brief("x" * 80) == "x" * 80
    assert brief("x" * 81) == "x" * 79 + "…"
