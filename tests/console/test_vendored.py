"""What others wrote is what they published, with its licence; nothing else came along."""

import hashlib
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parents[2] / "service" / "console" / "static"
#: Files of htmx.org 4.0.1 and of uplot 1.6.32 as npm has them: dist/htmx.min.js, LICENSE;
#: dist/uPlot.iife.min.js, dist/uPlot.min.css, LICENSE.
PINNED: Final = {
    "htmx-4.0.1.min.js": "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
    "htmx-LICENSE.txt": "d3d2456f76414f2456104660ebd65aff1c04cd7966b942bdabd63f3cdb316a38",
    "uPlot-1.6.32.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot-1.6.32.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uPlot-LICENSE.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}


def test_vendored_files_are_those_that_were_published() -> None:
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (STATIC / "vendor").iterdir()
    }

    assert found == PINNED


def test_no_page_and_no_script_names_another_host() -> None:
    templates = STATIC.parent / "templates"
    own = [
        *templates.glob("*.html"),
        STATIC / "console.js",
        STATIC / "charts.js",
        STATIC / "style.css",
    ]
    naming = [path.name for path in own if "//" in _without_comments(path.read_text())]

    assert naming == []


def _without_comments(text: str) -> str:
    lines = (line for line in text.splitlines() if not line.strip().startswith("//"))
    return "\n".join(line.split(" // ")[0].replace("https://example.com", "") for line in lines)
