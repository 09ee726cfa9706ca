"""How values are written on pages."""

import json
import re
from pathlib import Path

import pytest

from service.console import rendering
from service.console.rendering import brief, environment, lasting, pretty, shown

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


def test_text_turns_nothing_around_on_a_page_but_fields_keep_it() -> None:
    page = environment().from_string("<p>{{ text }}</p><input value='{{ text | typed }}'>")

    shown = page.render(text="<\u202ea")

    assert shown == "<p>&lt;\\u202ea</p><input value='&lt;\u202ea'>"


def test_a_part_of_a_page_is_the_same_as_long_as_only_the_clock_goes_on() -> None:
    page = environment().from_string("<p>{{ at | when }}</p><p>{{ text }}</p>")

    def part(now: int, at: int = 1_000_000, text: str = "a") -> str:
        return shown(page.render(now=now, at=at, text=text))

    assert part(1_000_000) == part(9_000_000)
    assert part(1_000_000) != part(1_000_000, at=1_001_000)
    assert part(1_000_000) != part(1_000_000, text="</time> <small>b")


def test_every_field_keeps_what_is_typed_into_it() -> None:
    folder = Path(rendering.__file__).parent / "templates"
    pages = "".join(each.read_text("utf-8") for each in folder.glob("*.html"))
    fields = re.findall(r'value="\{\{ ((?:given|filled)[^}]*)', pages)

    assert fields
    assert [each for each in fields if "| typed" not in each] == []


def test_a_list_tells_how_something_begins() -> None:
    assert brief("x" * 80) == "x" * 80
    assert brief("x" * 81) == "x" * 79 + "…"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0004, "0.4 ms"),
        (0.25, "250 ms"),
        (0.9996, "1 s"),
        (1.2, "1.2 s"),
        (3, "3 s"),
        (59.96, "1 min"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (3599.7, "1 h"),
        (3725, "1 h 2 min"),
        (90_000, "1 d 1 h"),
        (86_400 * 400, "400 d"),
        (1e18, "11574074074074 d 1 h"),
    ],
)
def test_a_duration_is_told_in_units_that_people_read(seconds: float, text: str) -> None:
    assert lasting(seconds) == text
