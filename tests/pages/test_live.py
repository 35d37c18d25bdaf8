"""A live lesson in a browser: cells run, edited, stopped and reset, and what is said when something has gone wrong."""

import json
import re

from lessons.web import tab as tabs
from tests.lessons.serving import FOLDER
from tests.pages.living import came, cell, press, run, says, until, write

NARROW, WIDE = 390, 1440


def sideways(tab):
    """How many pixels the page can be scrolled sideways."""
    return tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def announced(tab):
    return tab.locator("body > .unseen[role=status]").inner_text()


def focused(tab):
    """What has the focus: the number of its cell, and its class."""
    return tab.evaluate(
        "[Number(document.activeElement.closest('.cell')?.dataset.cell) + 1, document.activeElement.className]"
    )


def test_cells_are_run_edited_made_stale_and_reset(live):
    tab = live()
    tab.wait_for_selector(".tools")
    assert [text for text in tab.locator(".came").all_inner_texts() if text] == []  # nothing foretells what comes
    assert says(tab, 2) == ""  # it only imports
    assert "rstd 0.5" in run(tab, 4)
    assert came(tab, 2) == ""
    assert "shows nothing" in says(tab, 2)
    assert says(tab, 6) == says(tab, 9) == ""
    run(tab, 6)
    assert "What will it show?" in says(tab, 8)  # the one that is next

    run(tab, 8)
    run(tab, 9)
    squares = cell(tab, 9).locator(".came").inner_html()  # its letters are the same whatever the colours
    assert run(tab, 8, "x = 10 * x\nprint('turned')") == "turned"
    until(tab, 9, "Stale: .*x.* changed since it ran")
    assert "1 cell is stale" in tab.locator(".dock").inner_text()
    cell(tab, 9).get_by_text("Run all that is stale").click()
    tab.wait_for_selector("#cell-9:not(.is-stale)")
    came(tab, 9)
    assert cell(tab, 9).locator(".came").inner_html() != squares
    assert "edited" in says(tab, 8)

    tab.reload()
    assert came(tab, 8) == "turned"
    assert "edited" in says(tab, 8)
    assert cell(tab, 8).locator("pre.source").first.inner_text() == "x = 10 * x\nprint('turned')"
    write(tab, 4, "half a thought")
    tab.reload()
    until(tab, 4, "edited")
    assert cell(tab, 4).locator("pre.source").first.inner_text() == "half a thought"

    press(tab, 8, "reset")
    until(tab, 8, "^$")
    assert "agrees with the engine: True" in came(tab, 8)
    press(tab, 8, "back")
    assert cell(tab, 8).locator("textarea").input_value() == "x = 10 * x\nprint('turned')"


def test_a_cell_that_does_not_behave_is_stopped_and_said(live, monkeypatch):
    tab = live()
    tab.wait_for_selector(".tools")
    shown = run(tab, 4, "print('x' * 10_000_000)")
    assert 200_000 <= len(shown) < 201_000 and "10,000,00" in shown
    assert "much to read" in announced(tab)  # and not read out

    write(tab, 4, "print('begun', flush=True)\nwhile True:\n    pass")
    press(tab, 4, "run")
    tab.locator("#cell-4 .came", has_text="begun").wait_for()  # as it comes
    tab.locator(".dock", has_text="Cell 4 runs").wait_for()
    press(tab, 8, "run")
    until(tab, 8, "Waits")
    tab.locator(".dock button").click()
    assert "Stopped" in came(tab, 4, "failed")
    until(tab, 8, "Not run: it was stopped")

    write(tab, 4, "name = input('who? ')\nprint('hello', name)")
    press(tab, 4, "run")
    asked = cell(tab, 4).get_by_label("It asks for a line:")
    asked.fill("Ada")
    asked.press("Enter")
    assert "hello Ada" in came(tab, 4)

    monkeypatch.setattr(tabs, "STUCK", 0.1)
    write(tab, 4, "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf')\nwhile True:\n    pass")
    press(tab, 4, "run")
    tab.locator("#cell-4 .came", has_text="deaf").wait_for()
    press(tab, 4, "stop")
    cell(tab, 4).get_by_role("button", name="End its process").click()
    assert came(tab, 4, "before") == "deaf"
    assert "ended, as you asked" in says(tab, 4)

    assert "NameError: name 'nothing' is not defined" in run(tab, 4, "nothing", state="failed")
    assert "did not come to its end" in says(tab, 4)
    run(tab, 6, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", state="before")
    assert re.search("ended by SIGKILL.* begins anew", says(tab, 6))
    assert "From before" in says(tab, 4)
    press(tab, 6, "reset")
    press(tab, 8, "run")  # which runs first what is above, as the reader has it
    until(tab, 8, "Not run: cell 4 above did not come to its end")
    press(tab, 8, "run")
    assert "agrees with the loops" in came(tab, 8)  # without it


def test_where_no_server_or_key_is_the_page_says_so_and_keeps_its_text(live):
    tab = live()
    run(tab, 4)
    tab.route("**/*", lambda route: route.abort())
    banner = tab.locator(".banner")
    banner.wait_for()
    assert "does not answer" in banner.inner_text()
    assert "python -m lessons web 7" in banner.inner_text()
    write(tab, 4, "print('kept')")
    press(tab, 4, "run")
    until(tab, 4, "Not run: the lessons' server does not answer")
    tab.unroute_all()
    banner.wait_for(state="detached")
    press(tab, 4, "run")
    tab.locator("#cell-4 .came", has_text="kept").wait_for()

    live.server.key = "another"
    banner.wait_for()
    assert "key of this page is not the server's" in banner.inner_text()
    tab.goto(f"http://127.0.0.1:{live.server.server_port}/07_layernorm.html#key=another")  # where the page is already
    banner.wait_for(state="detached")
    assert came(tab, 4) == "kept"
    assert "key" not in tab.url
    tab.evaluate("localStorage.removeItem('key')")
    tab.reload()
    banner.wait_for()
    assert "no key" in banner.inner_text()
    assert not tab.locator(".acts").count()


def test_two_tabs_have_variables_of_their_own(live):
    one, other = live(), live()
    for tab in (one, other):
        tab.wait_for_selector(".tools")
    run(one, 4, "x = 'one'\nprint(x)")
    run(other, 4)
    assert run(one, 9, "print(x if isinstance(x, str) else x.shape)") == "(3, 6)"
    live.server.tabs.end()  # as after a long absence
    until(one, 4, "From before")
    run(one, 9)
    assert came(one, 4) == "one"  # what the reader wrote is there in the new process
    assert "another text" not in says(one, 4)


def test_the_place_and_the_end_are_kept(live):
    tab = live("01_arrays.html", height=1600)
    tab.get_by_label("Run cells as they come into view").check()
    assert came(tab, 4)  # by itself, as with the terminal's w
    assert json.loads((live.work / "progress.json").read_text())["waits"] is False
    tab.get_by_label("Run cells as they come into view").uncheck()
    run(tab, 12)
    assert not tab.locator(".back-to").count()
    assert json.loads((live.work / "progress.json").read_text())["lessons"]["1"]["place"] == 11
    again = live("01_arrays.html")
    again.locator(".back-to", has_text="You were at cell 12").get_by_role("button").click()
    assert focused(again) == [12, "button run"]

    tab.locator(".tools").get_by_text("Run all").click()
    end = tab.locator(".lesson-end")
    end.scroll_into_view_if_needed()
    end.get_by_text("The end of lesson 1").wait_for()
    assert "#exercise-windows_at" in end.get_by_text("write windows_at").get_attribute("href")
    kept = json.loads((live.work / "progress.json").read_text())["lessons"]["1"]
    assert (kept["place"], kept["ended"]) == (0, True)


def test_a_lesson_is_worked_through_by_keyboard_alone(live):
    tab = live(height=700)
    tab.wait_for_selector(".tools")
    for _ in range(60):  # as the terminal's Enter
        tab.keyboard.press("Shift+Enter")
        if tab.evaluate("document.activeElement.closest('.derive') !== null"):
            break
    assert all(came(tab, number) is not None for number in (2, 4, 6, 8, 9))
    assert focused(tab)[0] == 11
    for _ in range(20):  # comes down to it, and begins
        tab.keyboard.press("Shift+Enter")
        if tab.evaluate("document.querySelector('.derive[aria-busy], .derive-line') !== null"):
            break
    tab.wait_for_selector(".derive-line input:focus")

    press(tab, 4, "edit")
    tab.keyboard.press("Control+A")
    tab.keyboard.type("for i in range(2):\nprint(i)")
    area = cell(tab, 4).locator("textarea")
    assert area.input_value() == "for i in range(2):\n    print(i)"
    tab.keyboard.press("Control+Z")
    assert area.input_value() != "for i in range(2):\n    print(i)"
    area.fill("print('by hand')")
    tab.keyboard.press("Control+Enter")
    tab.locator("#cell-4 .came", has_text="by hand").wait_for()
    assert focused(tab)[0] == 4
    tab.keyboard.press("Escape")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")  # Stop stands in the place of Run meanwhile
    assert came(tab, 4) == "by hand" and focused(tab) == [4, "button run"]
    tab.keyboard.press("?")
    tab.wait_for_selector("dialog[open]")
    tab.keyboard.press("Escape")
    tab.wait_for_selector("dialog", state="hidden")


def test_axe_finds_nothing_and_nothing_is_wider_than_the_page(live, found):
    tab = live()

    def looked_at():
        for width, dark in ((NARROW, True), (WIDE, False)):
            tab.set_viewport_size({"width": width, "height": 900})
            tab.emulate_media(color_scheme="dark" if dark else "light")
            assert sideways(tab) == 0
            assert found(tab) == []

    try:
        run(tab, 4, "with plot('live') as axes:\n    axes.plot([1, 2])\nprint('x' * 3000)\nx = 1")
    finally:
        (FOLDER / "out" / "07_layernorm-live.png").unlink(missing_ok=True)
    assert cell(tab, 4).locator("img.plot").get_attribute("alt") == "plot: live"
    tab.wait_for_selector("#cell-11 .begin")
    looked_at()
    cell(tab, 11).locator(".begin").click()
    tab.wait_for_selector(".derive-line")
    press(tab, 4, "reset")
    run(tab, 8, "x = -x")
    tab.wait_for_selector("#cell-9.is-stale")
    tab.route("**/*", lambda route: route.abort())
    tab.wait_for_selector(".banner")
    looked_at()
    tab.locator(".tools").get_by_text("Keys").click()
    assert found(tab) == []
