"""What the page says, read back: the recording's values, the panel's numbers, where a square is."""

import base64

import numpy as np


def array(data, key):
    return next(array for array in data["arrays"] if array["key"] == key)


def values(data, key, what="v"):
    said = array(data, key)
    return np.frombuffer(base64.b64decode(said[what]), "<f4").reshape(said["shape"])


def number(text):
    """What the page's way of writing a number means."""
    return float(text.replace("−", "-").replace("∞", "inf").replace("\u00a0", "").strip())


def near(text, value):
    """Whether a number that is shown to four places, or with two digits after the first, is this value."""
    return abs(number(text) - value) <= max(6e-5, 6e-3 * abs(value)) if np.isfinite(value) else number(text) == value


def chosen(tab):
    """The number in the panel: its layer's words, name and value."""
    panel = tab.locator("#panel")
    return panel.locator("h2").inner_text(), panel.locator(".value").inner_text()


def square(tab, key, index, which=0):
    """Where the middle of an element's square is, in its canvas's own pixels; `which` of the array's heat maps."""
    canvas = tab.locator(f'canvas[data-key="{key}"]').nth(which)
    canvas.scroll_into_view_if_needed()
    x, y, cell, shown, drawn = canvas.evaluate(
        """(canvas, indices) => {
            const map = canvas.map, index = indexOf(map.array, indices);
            return [...cornerOf(map, index), map.cell, canvas.getBoundingClientRect().width, map.width];
        }""",
        list(index),
    )
    scale = shown / drawn
    return canvas, {"x": (x + cell / 2) * scale, "y": (y + cell / 2) * scale}


def click(tab, key, index, which=0):
    canvas, position = square(tab, key, index, which)
    canvas.click(position=position)
    return canvas


def open_fold(tab, path):
    tab.locator(f'details[data-path="{path}"] > summary').first.click()


def gradients(tab):
    """The three of the panel: backward, chain rule, nudge."""
    return tab.locator("#panel .three dd").all_inner_texts()
