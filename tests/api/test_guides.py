"""The guides as they are served: whole pages, from nowhere else, for any reader."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from urllib.parse import urldefrag, urljoin

import pytest

from service.api.guide import markdown
from service.api.guide.serving import address
from tests.support.api import Api, opened_api, problem
from tests.support.guides import FOLDER, PAGES
from tests.support.html import Page

pytestmark = pytest.mark.anyio


async def shown(api: Api, name: str) -> Page:
    return Page((await api.client.get(f"/docs/{name}")).text)


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_needs_its_style_sheet_and_nothing_else(api: Api, name: str) -> None:
    answer = await api.client.get(f"/docs/{name}")
    page = Page(answer.text)
    tags = Counter(tag for tag, _ in page.elements)

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith(
        "default-src 'none'; style-src 'self'; "
    )
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert tags["script"] == tags["img"] == tags["iframe"] == tags["style"] == 0
    assert page.all("style") == page.all("onclick") == page.all("src") == []
    assert [dict(attrs) for tag, attrs in page.elements if tag == "link"] == [
        {"rel": "stylesheet", "href": "../docs/style.css"}
    ]


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_can_be_read_by_ear_and_by_key(api: Api, name: str) -> None:
    page = await shown(api, name)
    main = page.elements[[tag for tag, _ in page.elements].index("main") :]
    levels = [int(tag[1]) for tag, _ in main if re.fullmatch("h[1-6]", tag)]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    first_link = next(attrs for tag, attrs in page.elements if tag == "a")
    assert first_link["href"] == "#main"
    assert all(attrs.get("scope") for tag, attrs in page.elements if tag == "th")
    assert all(attrs.get("tabindex") == "0" for tag, attrs in page.elements if tag == "pre")
    assert [count for count in Counter(page.all("id")).values() if count > 1] == []
    assert page.all("aria-current").count("page") >= 1


async def test_every_link_of_every_page_leads_somewhere(api: Api) -> None:
    pages: dict[str, Page | None] = {}

    async def open_once(url: str) -> Page | None:
        if url not in pages:
            answer = await api.client.get(url)
            assert answer.status_code == 200, url
            is_page = answer.headers["content-type"].startswith("text/html")
            pages[url] = Page(answer.text) if is_page else None
        return pages[url]

    for name in PAGES:
        here = f"/docs/{name}"
        for href in (await shown(api, name)).all("href"):
            url, anchor = urldefrag(urljoin(here, href))
            if "://" in url:
                continue
            found = await open_once(url)
            if anchor:
                assert found is not None, href
                assert anchor in found.all("id"), f"{name}: {href}"
    assert {f"/docs/{name}" for name in PAGES} <= pages.keys()


async def test_the_contents_are_the_index_and_lead_through_all_pages(api: Api) -> None:
    seen = ["index"]
    while following := re.search(
        r'Next: <a href="([a-z]+)"', (await api.client.get(f"/docs/{seen[-1]}")).text
    ):
        seen.append(following[1])

    assert sorted(seen) == sorted(PAGES)


async def test_code_stands_under_its_file_or_language(api: Api) -> None:
    text = (await api.client.get("/docs/signatures")).text

    assert "<figcaption>verify.rs</figcaption>" in text
    assert "<figcaption>sh</figcaption>" in text
    assert "if (version !== &#34;v1&#34;) continue;" in text


async def test_files_that_pages_link_to_are_beside_them(api: Api) -> None:
    vectors = await api.client.get("/docs/vectors.json")
    example = await api.client.get("/docs/follow.html")

    assert vectors.headers["content-type"] == "application/json"
    assert vectors.content == (FOLDER / "vectors.json").read_bytes()
    assert example.headers["content-type"] == "text/plain; charset=utf-8"
    assert example.content == (FOLDER.parent / "follow.html").read_bytes()
    for other in ("nothing", "index.md", "follow", "..", "%2e%2e%2fapp.py", "style"):
        assert (await api.client.get(f"/docs/{other}")).status_code == 404, other


async def test_it_is_asked_for_again_without_a_body(api: Api) -> None:
    for name in ("index", "vectors.json"):
        tag = (await api.client.get(f"/docs/{name}")).headers["etag"]
        again = await api.client.get(f"/docs/{name}", headers={"if-none-match": tag})
        assert (again.status_code, again.content) == (304, b"")


async def test_addresses_in_it_are_under_the_public_url(database_path: Path) -> None:
    async with opened_api(database_path, RINGBACK_PUBLIC_URL="https://other.test/hooks") as api:
        text = (await api.client.get("/docs/quickstart")).text

    assert "https://other.test/hooks/v1/events" in text
    assert "127.0.0.1:8080" not in text
    assert 'href="../docs#createApiKey"' in text


async def test_the_reference_leads_to_the_guides(api: Api) -> None:
    hrefs = Page((await api.client.get("/docs")).text).all("href")

    assert "docs/index" in hrefs


def test_html_in_the_text_is_text() -> None:
    page = markdown.page("# A <b>\n\n<script>alert(1)</script>\n\n```<i>\n</code>\n```\n", address)

    assert "<script" not in page.markup
    assert "<i>" not in page.markup
    assert page.markup.count("</code>") == 1
    assert page.title == "A <b>"


@pytest.mark.parametrize(
    ("written", "served"),
    [
        ("#here", "#here"),
        ("retries.md", "retries"),
        ("retries.md#the-schedule", "retries#the-schedule"),
        ("../follow.py", "follow.py"),
        ("http://127.0.0.1:8080/docs#getEvent", "../docs#getEvent"),
        ("https://example.com/a.md", "https://example.com/a.md"),
    ],
)
def test_links_are_those_of_the_repository(written: str, served: str) -> None:
    assert address(written) == served


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


async def test_a_browser_is_led_back_from_a_page_that_is_not_there(api: Api) -> None:
    path = "/docs/no<b>pe"
    answer = await api.client.get(path, headers={"accept": BROWSER})

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["vary"] == "accept"
    known = await api.client.get("/docs/index")
    policy = "content-security-policy"
    assert answer.headers[policy] == known.headers[policy]
    shown = Page(answer.text)
    assert "There is no page no<b>pe" in shown.text
    assert {*PAGES, "../docs", "../docs/style.css"} <= {*shown.all("href")}


@pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
async def test_a_program_is_told_by_a_problem(api: Api, accept: str) -> None:
    answer = await api.client.get("/docs/nope", headers={"accept": accept})

    assert problem(answer, 404, "not-found")["detail"] == (
        "There is no page 'nope' here. The guides are listed at https://ringback.test/docs/index, "
        "and what programs ask for is described at https://ringback.test/openapi.json."
    )
