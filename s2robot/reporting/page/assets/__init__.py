"""The script, the style and the plotting library of the page, which holds them itself.

``d3.min.js`` (7.9.0) and ``plot.umd.min.js`` (Observable Plot 0.6.17) are the published files,
unchanged; both have the ISC license, whose texts lie beside them.
"""

from __future__ import annotations

from importlib import resources

import markupsafe

LIBRARIES = {
    "d3.min.js": "f2094bbf6141b359722c4fe454eb6c4b0f0e42cc10cc7af921fc158fceb86539",
    "plot.umd.min.js": "4358086467740777dd788d6b27a95cebdbaefdd50c730a3060117073bd7134cb",
}
"""Files of libraries and their SHA-256."""
LICENSES = ("d3.LICENSE.txt", "plot.LICENSE.txt")
_OWN = ("chart.js", "tables.js", "page.js")


def css() -> markupsafe.Markup:
    """Return the style of the page."""
    return markupsafe.Markup(_read("page.css"))


def scripts() -> list[markupsafe.Markup]:
    """Return the scripts of the page in order: libraries with their licenses, then its own."""
    licenses = "\n".join(_read(name) for name in LICENSES)
    notice = f"/*\nObservable Plot and D3, which this page holds:\n\n{licenses}*/"
    texts = [notice, *(_read(name) for name in (*LIBRARIES, *_OWN))]
    return [markupsafe.Markup(text) for text in texts]


def _read(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
