"""The page for people: all of the document, from nowhere else, for any reader."""

import json
import re
from collections import Counter
from itertools import pairwise
from typing import Any, Final

import pytest

from service.api import description
from tests.support.api import BASE, Api
from tests.support.html import Page

pytestmark = pytest.mark.anyio

DOCUMENT: Final[dict[str, Any]] = json.loads(description(BASE))


@pytest.fixture
async def page(api: Api) -> Page:
    return Page((await api.client.get("/docs")).text)


async def test_it_may_load_its_style_sheet_and_nothing_else(api: Api) -> None:
    answer = await api.client.get("/docs")
    style = await api.client.get("/docs/style.css")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert style.headers["content-type"] == "text/css; charset=utf-8"
    assert "url(" not in style.text
    assert "@import" not in style.text


async def test_both_are_asked_for_again_without_a_body(api: Api) -> None:
    for path in ("/docs", "/docs/style.css"):
        tag = (await api.client.get(path)).headers["etag"]
        again = await api.client.get(path, headers={"if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"")


async def test_it_needs_no_script_and_no_other_site(page: Page) -> None:
    tags = Counter(tag for tag, _ in page.elements)

    assert tags["script"] == tags["img"] == tags["iframe"] == tags["style"] == 0
    assert page.all("style") == page.all("onclick") == page.all("src") == []
    outside = [href for href in page.all("href") if "//" in href]
    assert {href.rpartition("/")[0] for href in outside} == {f"{BASE}/problems"}
    assert [dict(attrs) for tag, attrs in page.elements if tag == "link"] == [
        {"rel": "stylesheet", "href": "docs/style.css"}
    ]


async def test_its_links_lead_somewhere(page: Page) -> None:
    names = Counter(page.all("id"))

    assert [name for name, count in names.items() if count > 1] == []
    assert {href[1:] for href in page.all("href") if href.startswith("#")} <= names.keys()
    assert set(page.all("aria-labelledby")) <= names.keys()


async def test_it_shows_all_that_the_document_holds(page: Page) -> None:
    names = set(page.all("id"))
    for item in (*DOCUMENT["paths"].values(), *DOCUMENT["webhooks"].values()):
        for operation in item.values():
            assert operation["operationId"] in names
            assert {each["name"] for each in operation["parameters"]} <= set(page.text.split())
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert f"schema-{name}" in names
        assert schema.get("properties", {}).keys() - {"const"} <= set(page.text.split())


async def test_it_can_be_read_by_ear_and_by_key(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))

    first_link = next(attrs for tag, attrs in page.elements if tag == "a")
    assert first_link["href"] == "#main"
    assert ("html", {"lang": "en"}) in page.elements
    assert all(attrs.get("scope") for tag, attrs in page.elements if tag == "th")
    assert all(attrs.get("tabindex") == "0" for tag, attrs in page.elements if tag == "pre")
    assert {"main", "nav", "header", "title"} <= {tag for tag, _ in page.elements}


async def test_it_fits_dark_rooms_and_small_screens(api: Api) -> None:
    style = (await api.client.get("/docs/style.css")).text

    assert "@media (prefers-color-scheme: dark)" in style
    assert re.search(r"@media \(max-width: \d+rem\)", style)
    (viewport,) = [
        attrs["content"]
        for _, attrs in Page((await api.client.get("/docs")).text).elements
        if attrs.get("name") == "viewport"
    ]
    assert viewport == "width=device-width, initial-scale=1"


async def test_what_the_document_says_is_shown_as_text(api: Api) -> None:
    shown = (await api.client.get("/docs")).text

    assert "Bearer &lt;key&gt;" in shown
    assert "<key>" not in shown
