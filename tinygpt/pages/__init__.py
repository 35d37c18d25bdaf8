"""Pages that one looks at: a template and its data become one HTML file, which asks for nothing from anywhere.

A page NAME is made of NAME.html, NAME.css and NAME.js in this folder, and of `common.css` and `common.js`, which all
share. What would be too long for one file is in several, NAME_PART.js: they come in alphabetical order, and NAME.js,
which starts the page, comes last. NAME.html says where they go: `<!--style-->`, `<!--data-->`, `<!--script-->`.
"""

import base64
import html
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np

from tinygpt.backend import Array


def page(name: str, data: Mapping[str, Any], title: str) -> str:
    """The page as HTML, with its data, styles and scripts in it. data: what JSON holds; arrays go through `packed`."""
    folder = files(__name__)

    def both(kind: str) -> str:
        inside = (file.name for file in folder.iterdir())
        parts = sorted(part for part in inside if part.startswith(f"{name}_") and part.endswith(f".{kind}"))
        whole = (f"common.{kind}", *parts, f"{name}.{kind}")
        return "\n".join((folder / part).read_text(encoding="utf-8") for part in whole)

    written = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")  # no mark-up in it
    filled = (folder / f"{name}.html").read_text(encoding="utf-8").replace("<!--title-->", html.escape(title))
    for place, text in {
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
