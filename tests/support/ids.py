"""Which ids of a page can be read, to the last letter, by who looks at it."""

from typing import Any, Final, NamedTuple

from playwright.async_api import Page

#: Ours are known by how they look, those that others chose by their class. A letter outside of its
#: cell, of the screen, or of what hides all beyond its edge is not seen; what scrolls has to have
#: room for each line.
_READ: Final = """() => {
  const ours = /\\b(op|evt|sub|dlv|att|dl|key|pl)_[0-9a-z]{16,}/;
  const aside = "option, textarea, script, style, .unseen";
  const range = document.createRange();
  const within = (rects, box) => rects.every(each =>
    each.left >= box.left - 1 && each.right <= box.right + 1 &&
    each.top >= box.top - 1 && each.bottom <= box.bottom + 1);
  const isWhole = (node) => {
    range.selectNodeContents(node);
    const rects = [...range.getClientRects()].filter(each => each.width > 0);
    if (rects.length === 0) return false;
    for (let e = node.parentElement; e !== document.body; e = e.parentElement) {
      const flow = getComputedStyle(e).overflowX;
      const scrolls = ["auto", "scroll"].includes(flow);
      if (scrolls) return rects.every(each => each.width <= e.clientWidth);
      const isEdge = flow !== "visible" || e.matches("td, th");
      if (isEdge && !within(rects, e.getBoundingClientRect())) return false;
    }
    return rects.every(each => each.left >= 0 && each.right <= innerWidth);
  };
  const found = {whole: [], cut: []};
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode, text = node.data.trim(), around = node.parentElement;
    if (!text || around.closest(aside) || !around.checkVisibility()) continue;
    if (!around.closest(".id") && !ours.test(text)) continue;
    (isWhole(node) ? found.whole : found.cut).push(text);
  }
  return found;
}"""


class Ids(NamedTuple):
    """The ids on a page."""

    whole: list[str]
    #: Those of which a part cannot be seen, wherever it is that tells them apart.
    cut: list[str]


async def read_ids(page: Page) -> Ids:
    """The ids on a page, as it is now."""
    found: dict[str, Any] = await page.evaluate(_READ)
    return Ids(found["whole"], found["cut"])
