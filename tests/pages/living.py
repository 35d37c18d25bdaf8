"""What a reader does in a live lesson, and what the page then says."""

import re


def cell(tab, number):
    """A cell by its number, which begins at 1."""
    return tab.locator(f"#cell-{number}")


def came(tab, number, state="done"):
    """What a cell shows, once it is in a state."""
    tab.wait_for_selector(f'#cell-{number}[data-state="{state}"]')
    return cell(tab, number).locator(".came").inner_text().strip()


def says(tab, number):
    """What stands beside a cell's buttons."""
    return cell(tab, number).locator(".says").inner_text()


def run(tab, number, text=None, state="done"):
    """Run a cell, with another text if one is given; returns what it shows."""
    if text is not None:
        write(tab, number, text)
    press(tab, number, "run")
    return came(tab, number, state)


def write(tab, number, text):
    """Write another text in the place of a cell's."""
    if not cell(tab, number).locator("textarea").count():
        press(tab, number, "edit")
    cell(tab, number).locator("textarea").fill(text)


def press(tab, number, name):
    """Press one of a cell's buttons."""
    cell(tab, number).locator(f".acts button.{name}").first.click()


def until(tab, number, words):
    """Wait for words beside a cell's buttons."""
    tab.locator(f"#cell-{number} .says", has_text=re.compile(words)).wait_for(state="attached")


def line(tab, text):
    """Give a line to the derivation that is open; returns what is said of it."""
    rows = tab.locator(".tries li")
    before = rows.count()
    tab.fill(".derive-line input", text)
    tab.press(".derive-line input", "Enter")
    rows.nth(before).wait_for()
    return rows.nth(before).inner_text().replace("\n", " ")
