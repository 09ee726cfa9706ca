"""Markdown as the guides are written, made into HTML that needs no script."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

#: Gives the address that stands in the page for one that stands in the Markdown.
Address = Callable[[str], str]

#: What does not get into an anchor; the rest is as GitHub makes them of headings.
_NOT_IN_ANCHORS: Final = re.compile(r"[^\w\- ]")
_SECTION: Final = "h2"
_FENCE: Final = Markup(
    '<figure class="code">\n<figcaption>{}</figcaption>\n'
    '<pre tabindex="0"><code>{}</code></pre>\n</figure>\n'
)
#: Wide tables are scrolled alone; who has no pointer does so with the keys.
_TABLE: Final = '<div class="scroll" role="group" aria-label="Table" tabindex="0">\n<table>\n'


class Section(NamedTuple):
    """A heading of the second level, and where it is."""

    anchor: str
    words: str


class Page(NamedTuple):
    """A page as it is shown."""

    title: str
    markup: Markup
    sections: list[Section]


class Link(NamedTuple):
    """Where a link leads, and its words."""

    target: str
    words: str


def page(text: str, address: Address) -> Page:
    """The page; its first heading is its title."""
    renderer = _renderer()
    tokens = renderer.parse(text)
    found = [(tag, Section(*_name(token, words))) for tag, token, words in _headings(tokens)]
    for token in _links(tokens):
        token.attrSet("href", address(str(token.attrGet("href"))))
    markup = Markup(renderer.renderer.render(tokens, renderer.options, {}))  # noqa: S704 (HTML in the text is escaped: the renderer has html off)
    return Page(found[0][1].words, markup, [each for tag, each in found if tag == _SECTION])


def lists(text: str) -> list[tuple[str, list[Link]]]:
    """The sections of a page, and the links in each."""
    found: list[tuple[str, list[Link]]] = []
    tokens = _renderer().parse(text)
    for before, token in pairwise(tokens):
        if before.type == "heading_open" and before.tag == _SECTION:
            found.append((_words(token), []))
        elif found and token.children:
            found[-1][1].extend(_linked(token.children))
    return found


def _renderer() -> MarkdownIt:
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    renderer.add_render_rule("heading_open", _heading_open)
    renderer.add_render_rule("heading_close", _heading_close)
    renderer.add_render_rule("fence", _fence)
    renderer.add_render_rule("table_open", lambda *_: _TABLE)
    renderer.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    renderer.add_render_rule("th_open", lambda *_: '<th scope="col">')
    return renderer


def _headings(tokens: Sequence[Token]) -> list[tuple[str, Token, str]]:
    pairs = pairwise(tokens)
    return [(a.tag, a, _words(b)) for a, b in pairs if a.type == "heading_open"]


def _name(token: Token, words: str) -> Section:
    """Give the heading its anchor."""
    anchor = _NOT_IN_ANCHORS.sub("", words.lower()).replace(" ", "-")
    token.attrSet("id", anchor)
    return Section(anchor, words)


def _words(inline: Token) -> str:
    return "".join(each.content for each in inline.children or ())


def _links(tokens: Sequence[Token]) -> list[Token]:
    inside = (each for token in tokens for each in token.children or ())
    return [each for each in inside if each.type == "link_open"]


def _linked(inline: Sequence[Token]) -> list[Link]:
    pairs = pairwise(inline)
    return [Link(str(a.attrGet("href")), b.content) for a, b in pairs if a.type == "link_open"]


def _heading_open(_: object, tokens: Sequence[Token], at: int, *__: Any) -> str:  # noqa: ANN401 (what the library passes besides)
    tag, anchor = tokens[at].tag, tokens[at].attrGet("id")
    return f'<{tag} id="{anchor}"><a class="self" href="#{anchor}">'


def _heading_close(_: object, tokens: Sequence[Token], at: int, *__: Any) -> str:  # noqa: ANN401 (what the library passes besides)
    return f"</a></{tokens[at].tag}>\n"


def _fence(_: object, tokens: Sequence[Token], at: int, *__: Any) -> str:  # noqa: ANN401 (what the library passes besides)
    """Code under the name of its file, or of its language where it is in none."""
    language, _, name = tokens[at].info.partition(" ")
    return _FENCE.format(name if "." in name else language, tokens[at].content)
