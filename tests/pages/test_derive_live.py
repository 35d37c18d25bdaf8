"""A function derived in the page, line by line, before the lesson shows it."""

import json
import re

from tests.pages.living import came, cell, line, press, run

BACKWARD, ONE_LINE = 11, 17  # cells of lesson 7
LINES = [
    "db = dout.sum(axis=0)",
    "dw = (dout * xhat).sum(axis=0)",
    "dxhat = dout * w",
    "drstd = (dxhat * centred).sum(axis=-1, keepdims=True)",
    "dcentred = dxhat * rstd",
    "dvar = drstd * -0.5 * rstd**3",
    "dcentred = dcentred + dvar * 2 * centred / C",
    "dmean = -dcentred.sum(axis=-1, keepdims=True)",
    "dx = dcentred",
    "dx = dx + dmean / C",
]


def derived(live):
    path = live.work / "progress.json"
    return json.loads(path.read_text())["lessons"]["7"]["derived"] if path.exists() else []


def begin(tab, number):
    cell(tab, number).locator(".derive .begin").click()
    tab.wait_for_selector(".derive-line input:focus")


def test_a_function_is_derived_before_it_is_shown(live):
    tab = live()
    tab.wait_for_selector(".tools")
    box = cell(tab, BACKWARD).locator(".derive")
    assert "hidden till then" in box.inner_text() and "Is it right?" in box.inner_text()
    assert not cell(tab, BACKWARD).locator(".own").is_visible()
    after = cell(tab, BACKWARD + 1)
    assert after.locator("h2").first.is_visible() and not after.get_by_text("Line by line").is_visible()

    begin(tab, BACKWARD)  # which runs first what is above
    assert "0 of 10 stand" in box.inner_text()
    assert "dout (3,6)" in box.inner_text() and "dcentred in 2 parts" in box.inner_text()
    assert "shape (3, 6), and (6,) is expected" in line(tab, "dw = dout * xhat")
    assert tab.locator(".derive-line input").input_value() == "dw = dout * xhat"  # to be mended
    assert "(3, 6)" in line(tab, "dout.shape")
    assert tab.locator(".derive-line input").input_value() == ""
    tab.keyboard.press("ArrowUp")
    assert tab.locator(".derive-line input").input_value() == "dout.shape"
    for number, text in enumerate(LINES[:3], 1):
        assert f"stands ({number} of 10)" in line(tab, text)
    assert "3 of 10 stand" in box.inner_text()

    tab.reload()
    tab.locator(".derive .count", has_text="3 of 10 stand").wait_for()
    for text in LINES[3:-1]:
        line(tab, text)
    assert derived(live) == []
    tab.fill(".derive-line input", LINES[-1])
    tab.keyboard.press("Enter")
    assert came(tab, BACKWARD) == ""
    assert tab.evaluate("document.activeElement.closest('.cell').id") == f"cell-{BACKWARD}"
    assert 0 < box.bounding_box()["y"] < tab.viewport_size["height"]  # it has become shorter, and is still in view
    assert cell(tab, BACKWARD).locator(".own").is_visible() and after.get_by_text("Line by line").is_visible()
    assert cell(tab, BACKWARD).locator(".tries li").all_inner_texts() == LINES
    assert derived(live) == ["backward(dout, forward(x, w, b)[1])"]

    tab.reload()
    assert came(tab, BACKWARD) == ""
    assert cell(tab, BACKWARD).locator(".own").is_visible() and not box.is_visible()
    press(tab, BACKWARD, "derive-again")
    tab.wait_for_selector(".derive-line input")
    assert "0 of 10 stand" in box.inner_text() and not cell(tab, BACKWARD).locator(".own").is_visible()


def test_a_derivation_is_helped_skipped_and_outlives_its_process(live):
    tab = live()
    run(tab, 8)
    begin(tab, BACKWARD)
    line(tab, LINES[0])
    cell(tab, BACKWARD).get_by_role("button", name="The lesson's next line").click()
    tab.locator(".tries .revealed", has_text="dw = (dout * xhat).sum(axis=0)").wait_for()
    tab.fill(".derive-line input", "all(n == 0 for n in iter(int, 1))")
    tab.keyboard.press("Enter")
    tab.locator(".dock", has_text="A line is tried").get_by_role("button", name="Stop").click()
    tab.locator(".tries .falls", has_text=re.compile("Stopped|not judged")).wait_for()
    run(tab, 4, "import os\nos._exit(3)", state="before")
    assert "judged again" in cell(tab, BACKWARD).locator(".note").inner_text()
    press(tab, 4, "reset")
    begin(tab, BACKWARD)
    tab.locator(".derive .count", has_text="2 of 10 stand").wait_for()
    for _ in range(8):
        before = tab.locator(".tries li").count()
        tab.fill(".derive-line input", "!")
        tab.keyboard.press("Enter")
        if before < 9:
            tab.locator(".tries li").nth(before).wait_for()
    assert came(tab, BACKWARD) == ""
    assert derived(live) == []  # for the lesson gave lines

    begin(tab, ONE_LINE)
    tab.keyboard.press("Enter")  # nothing: asks, as the terminal does
    tab.get_by_role("button", name="Show it").wait_for()
    tab.get_by_role("button", name="Go on writing").click()
    cell(tab, ONE_LINE).get_by_role("button", name="Skip").click()
    tab.keyboard.press("Enter")
    assert came(tab, ONE_LINE) == ""
    assert "def one_line" in cell(tab, ONE_LINE).locator(".own").inner_text()
    assert derived(live) == []
    tab.reload()
    assert came(tab, ONE_LINE) == ""
    assert cell(tab, ONE_LINE).locator(".own").is_visible()  # it was shown already
