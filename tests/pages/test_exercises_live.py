"""An exercise in a live page, in a real browser: written by keyboard, checked, and gone on with in a terminal."""

import re

import pytest

from lessons.__main__ import main
from lessons.exercises import EXERCISES
from tests.lessons.serving import small_steps
from tests.pages.conftest import NEEDED

PAGE = "08_mlp.html"
RIGHT = EXERCISES["gelu"].solution()
WRONG = RIGHT.replace("return x * phi", "return phi")


@pytest.fixture(scope="module")
def axe():
    return pytest.importorskip("axe_playwright_python.sync_playwright", reason=NEEDED).Axe()


@pytest.fixture
def tab(live):
    tab = live(PAGE)
    tab.exercise = tab.locator('[data-exercise="gelu"]')
    tab.exercise.get_by_role("button", name="Begin").wait_for()
    return tab


def begun(tab):
    tab.exercise.get_by_role("button", name="Begin").press("Enter")
    editor = tab.exercise.get_by_label("gelu.py")
    editor.wait_for()
    tab.wait_for_function("document.activeElement.tagName === 'TEXTAREA'")
    return editor


def press(tab, name):
    tab.exercise.get_by_role("button", name=name, exact=True).click()


def said(tab, words):
    tab.exercise.locator(".said, .shown, .notice, .status").get_by_text(words).first.wait_for()


def lines(editor):
    return editor.input_value().split("\n")


def shown_by_the_editor(tab):
    """The line that is marked, and how far the numbers are scrolled beside the text."""
    return tab.exercise.locator(".editor").evaluate(
        """(frame) => {
            const [numbers, text] = frame.children;
            const marked = [...numbers.children].findIndex((span) => span.classList.contains("marked")) + 1;
            return [marked, numbers.scrollTop - text.scrollTop];
        }"""
    )


def test_keys_indent_and_can_be_undone_and_escape_then_tab_leaves(tab, live):
    editor = begun(tab)
    blank = EXERCISES["gelu"].blank()
    assert editor.input_value() == blank == (live.work / "gelu.py").read_text()
    first = blank.split("\n").index('    raise NotImplementedError("forward is yours to write")')
    keys = tab.keyboard
    keys.type("if x:")  # in the place of what was to be replaced
    keys.press("Enter")
    keys.type("y = [")
    keys.press("Enter")
    assert lines(editor)[first : first + 3] == ["    if x:", "        y = [", "            "]
    keys.press("Backspace")
    keys.press("Tab")
    keys.press("Backspace")
    keys.type("]")
    assert lines(editor)[first + 2] == "        ]"
    for _ in range(2):
        keys.press("Shift+ArrowUp")
    keys.press("Shift+Tab")
    assert lines(editor)[first : first + 3] == ["if x:", "    y = [", "    ]"]
    keys.press("Tab")
    keys.press("Tab")
    assert lines(editor)[first : first + 3] == ["        if x:", "            y = [", "            ]"]
    for _ in range(60):
        keys.press("Control+z")
    assert editor.input_value() == blank
    keys.press("Escape")
    keys.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Check"
    keys.press("Shift+Tab")
    keys.press("Escape")
    keys.press("Shift+Tab")
    assert tab.evaluate("document.activeElement.tagName") != "TEXTAREA" and editor.input_value() == blank


def test_from_a_blank_over_mistakes_and_the_terminal_to_a_file_that_is_right(tab, live, capsys, axe):
    path, editor = live.work / "gelu.py", begun(tab)
    press(tab, "Check")
    said(tab, "is as it was given")
    press(tab, "Difference")
    said(tab, "gelu was not tried yet")

    editor.fill(WRONG.replace("return phi", "return phi * = 2"))
    editor.press("Control+Enter")
    said(tab, "gelu is not right yet.")
    number = lines(editor).index("    return phi * = 2, (x, phi, approximate)") + 1
    assert path.read_text() == editor.input_value() and shown_by_the_editor(tab) == [number, 0]
    assert "^" in tab.exercise.locator(".excerpt").inner_text()
    editor.press("Control+Home")
    press(tab, f"Go to line {number}")
    where = editor.evaluate("(area) => area.value.slice(area.selectionStart, area.selectionEnd)")
    assert where == "return phi * = 2, (x, phi, approximate)"
    press(tab, "Hint")
    tab.exercise.get_by_text("Hint 1 of 3").wait_for()
    press(tab, "Difference")
    said(tab, "gives the answer away")
    press(tab, "Show it all the same")
    assert "phi * = 2" in tab.exercise.locator(".difference .yours").first.inner_text()
    for dark in (False, True):
        tab.set_viewport_size({"width": 390, "height": 800})
        tab.emulate_media(color_scheme="dark" if dark else "light")
        assert not axe.run(tab, context='[data-exercise="gelu"]').response["violations"]
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390

    path.write_text(WRONG)  # in another editor
    assert main(["check", "gelu", f"--work={live.work}"]) == 1
    tab.evaluate("dispatchEvent(new Event('focus'))")
    said(tab, "Taken over as it is on the disk.")
    assert editor.input_value() == WRONG and "2 attempts" in tab.exercise.locator(".how").inner_text()
    press(tab, "Check")
    said(tab, "gelu is not right yet.")
    words = tab.exercise.locator(".verdict .what").inner_text()
    assert words in capsys.readouterr().out
    with small_steps(), tab.context.expect_page() as opened:
        press(tab, "See where it parts from the engine")
    tab.exercise.get_by_role("link", name="The training step").wait_for()
    opened.value.wait_for_url(re.compile(r"/step-\S+#h\.0\.mlp"))
    opened.value.locator("#panel h2").wait_for()
    opened.value.close()
    assert tab.exercise.locator(".verdict .what").inner_text() == words

    editor.fill(RIGHT)
    press(tab, "Check")
    said(tab, "gelu is right.")
    following = tab.exercise.get_by_role("link", name="mlp")
    assert following.get_attribute("href").endswith("#exercise-mlp") and tab.locator("#exercise-mlp").count() == 1
    assert tab.exercise.locator(".how").inner_text() == "right" and shown_by_the_editor(tab)[0] == 0
    assert main(["check", "gelu", f"--work={live.work}"]) == 0
    press(tab, "Reset")
    press(tab, "Begin anew")
    said(tab, "gelu.1.py.bak")
    assert editor.input_value() == EXERCISES["gelu"].blank() and (live.work / "gelu.1.py.bak").read_text() == RIGHT

    editor.fill(f"# {'wide ' * 60}\n" + "\n" * 60)
    further = """(text) => {
        const reach = (element) => element.scrollHeight - element.clientHeight;
        return reach(text.previousElementSibling) - reach(text);
    }"""
    assert editor.evaluate(further) > 15  # the numbers, for a scroll bar below the text takes room from it alone


def test_no_text_is_lost_to_another_editor_or_a_server_that_is_gone(tab, live):
    path, editor = live.work / "gelu.py", begun(tab)
    tab.route("**/exercise", lambda route: route.abort())
    editor.fill("mine = 1\n")
    said(tab, "Not saved: the lessons' server does not answer.")
    asked = []
    tab.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    tab.evaluate("void setTimeout(() => location.reload())")
    tab.wait_for_event("dialog")
    assert asked == ["beforeunload"] and editor.input_value() == "mine = 1\n"
    path.write_text("theirs = 1\n")
    tab.unroute("**/exercise")
    editor.press("Control+s")
    said(tab, "was changed elsewhere, and here too.")
    assert path.read_text() == "theirs = 1\n" and editor.input_value() == "mine = 1\n"
    press(tab, "This one")
    said(tab, "gelu.1.py.bak")
    assert path.read_text() == "mine = 1\n" and (live.work / "gelu.1.py.bak").read_text() == "theirs = 1\n"
    editor.fill("while True:\n    pass\n")
    editor.press("Control+Enter")
    tab.exercise.get_by_text("Checking").wait_for()
    tab.reload()
    tab.exercise.get_by_text("Checking").wait_for()
    press(tab, "Stop")
    said(tab, "Stopped")
    tab.exercise.get_by_role("button", name="Check", exact=True).wait_for()
