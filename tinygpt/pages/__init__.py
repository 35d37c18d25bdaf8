"""Pages that one looks at: a template and its data become one HTML file, which asks for nothing from anywhere.

A page NAME is made of NAME.html, NAME.css and NAME.js in this folder, and of `common.css` and `common.js`, which all
share. What would be too long for one file is in several, NAME_PART.js: they come in alphabetical order, and NAME.js,
which starts the page, comes last. NAME.html says where they go: `<!--style-->`, `<!--data-->`, `<!--script-->`; and
where a link to the page that it belongs to: `<!--back-->`.
"""

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.backend import Array

FOLDER = Path(__file__).parent


def page(name: str, data: Mapping[str, Any], title: str, back: tuple[str, str] | None = None) -> str:
    """The page as HTML, with its data, styles and scripts in it. data: what JSON holds; arrays go through `packed`.
    back: the address and the name of the page that this one belongs to; None if it stands alone.
    """

    def both(kind: str) -> str:
        parts = FOLDER / f"common.{kind}", *sorted(FOLDER.glob(f"{name}_*.{kind}")), FOLDER / f"{name}.{kind}"
        return "\n".join(part.read_text(encoding="utf-8") for part in parts)

    written = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")  # no mark-up in it
    filled = (FOLDER / f"{name}.html").read_text(encoding="utf-8").replace("<!--title-->", html.escape(title))
    link = '<p class="small"><a href="{}">{}</a></p>\n'.format(*map(html.escape, back)) if back else ""
    for place, text in {
        "<!--back-->": link,
        "<!--style-->": f"<style>\n{both('css')}\n</style>",
        "<!--data-->": f'<script type="application/json" id="data">{written}</script>',
        "<!--script-->": f"<script>\n{both('js')}\n</script>",
    }.items():
        before, after = filled.split(place)
        filled = before + text + after
    return filled


def packed(array: Array, dtype: str = "<f4") -> str:
    """An array's elements in C order as base64 of their bytes. dtype: "<f4", "<u2" or "u1", as JavaScript reads it."""
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes()).decode()
