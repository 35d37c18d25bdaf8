"""The site in a real browser, opened from a file: found by the keyboard, copied from, on a phone and in the dark."""

import re
from urllib.parse import urlsplit

import pytest

from lessons import display
from lessons.course import Course
from lessons.web import site, site_folder
from lessons.web.number_pages import MAKERS
from lessons.web.pages import Pages
from tests.lessons.serving import FOLDER, serving
from tests.pages.conftest import chained, tabs
from tinygpt.recorder import step

SQUARES = "\x1b[38;2;196;82;0m\x1b[48;2;255;255;255m▀▀\x1b[0m\n"  # as `heat` prints them
PRINTED = "a line that no phone has the width for, as arrays print them: " + "0.123 " * 30 + "\n" + SQUARES
PAGES = "index.html", "09_attention.html", "docs/scale.html", "tinygpt/tokenizer/meta.py.html"


@pytest.fixture(scope="module")
def folder(browser, tmp_path_factory):
    """A site, with outcomes of cells that were not run."""
    course = Course(FOLDER, FOLDER / "work", display.make_console(False))
    codes = [index for index, cell in enumerate(course.lessons[9].cells) if cell.is_code]
    ran = {9: dict.fromkeys(codes, (PRINTED, "")) | {codes[3]: (PRINTED, "ValueError: what went wrong\n")}}
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "_nudge", chained)
        patch.setitem(MAKERS, "show.html", lambda _: "<title>show</title>")
        site_folder.write(folder, site.contents_of(Pages(course, number_pages=MAKERS), ran), [])
    return folder


@pytest.fixture
def visited(context, folder):
    """Opens a page of the site; the test fails if a script does, or if anything is asked for that is not the site's."""
    places = []
    with tabs(context) as tab:

        def at(address, width=1440, dark=False, base=None):
            base = base or folder.as_uri()
            places.append((tab(f"{base}/{address}", width, dark), base))
            return places[-1][0]

        yield at
    for place, base in places:
        assert [url for url in place.asked if not url.startswith((base, "data:"))] == []
        failed = [sent.url for sent in place.failed if sent.resource_type != "xhr"]  # which axe tries, and no page
        assert failed == []


def test_the_search_is_found_by_its_key_and_goes_to_a_section(visited):
    tab = visited("docs/speed.html")
    tab.keyboard.press("/")
    tab.keyboard.type("lesson-that-is-nowhere")
    tab.wait_for_function("document.getElementById('found-says').textContent === 'Nothing was found.'")
    tab.keyboard.press("Escape")
    assert tab.locator("#query").input_value() == "" and not tab.locator("#found").is_visible()
    assert tab.evaluate("document.activeElement === document.body")
    tab.keyboard.press("/")
    tab.keyboard.type("All in LINE")
    first = tab.locator("#found .option").first
    first.wait_for()
    assert first.locator(".where").inner_text().startswith("All in one line")  # a heading before what is in a text
    assert first.locator("mark").all_inner_texts()[:3] == ["All", "in", "line"]
    assert re.match(r"\d+ sections have these words", tab.locator("#found-says").inner_text())
    for key, at in (("ArrowDown", 1), ("ArrowUp", 0), ("ArrowUp", tab.locator("#found .option").count() - 1)):
        tab.keyboard.press(key)
        option = tab.locator('#found [aria-selected="true"]')
        assert option.get_attribute("id") == f"found-{at}" == tab.get_attribute("#query", "aria-activedescendant")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/07_layernorm.html#all-in-one-line")
    assert 0 <= tab.locator("#all-in-one-line").bounding_box()["y"] < 200


def test_a_word_that_is_nowhere_is_taken_for_one_that_is_near_or_left_out(visited):
    tab = visited("index.html")
    for asked, says, heading in (
        ("why 1/sqrt(D)?", r"\d+ sections have the most of these words", "Why"),
        ("what is a residual?", r"\d+ sections have these words", "11. The residual block"),  # its rarest word leads
        ("layernrom", r"Nothing has “layernrom”; “layernorm” was taken\. \d+ sections have this word", "7. LayerNorm"),
    ):
        tab.fill("#query", asked)
        tab.locator("#found .option").first.wait_for()
        assert re.match(says, tab.locator("#found-says").inner_text()), asked
        assert tab.locator("#found .where").first.inner_text().startswith(heading), asked


def test_an_answer_that_is_found_is_unfolded(visited):
    tab = visited("09_attention.html#answers")
    assert tab.locator("details.answers").evaluate("fold => fold.open")
    assert tab.locator("#answers").is_visible() and tab.locator("#answers").bounding_box()["y"] < 200


@pytest.mark.parametrize("clipboard", ["there", "missing"])
def test_code_is_copied_also_where_a_file_has_no_clipboard(visited, clipboard):
    tab = visited("09_attention.html")
    if clipboard == "missing":
        tab.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        tab.evaluate("document.addEventListener('copy', () => (globalThis.copied = String(getSelection())))")
        tab.evaluate(
            "document.addEventListener('copy', () => {"
            " const from = document.activeElement; globalThis.copied = from.value ?? String(getSelection()); })"
        )
    else:
        tab.evaluate("navigator.clipboard.writeText = async (text) => { globalThis.copied = text; }")
    block = tab.locator(".cell.code .block:visible").first
    button = block.locator(".copy")
    button.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_function("globalThis.copied")
    assert tab.evaluate("copied") == block.locator("pre").inner_text()
    assert button.inner_text() == "Copied"


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1440, False)], ids=["dark-390", "light-1440"])
def test_nothing_is_wider_than_the_page_and_axe_finds_nothing(visited, found, width, dark):
    for address in PAGES:
        tab = visited(address, width, dark)
        for media in ("print", "screen"):  # paper is white, and printed on in the colours of the day
            tab.emulate_media(media=media)
            paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", paper))) < 200) == (dark and media == "screen")
        if dark == (width == 390) and address != PAGES[-1]:  # once dark, once light
            assert found(tab) == [], address
        tab.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
        assert tab.evaluate("document.documentElement.scrollWidth") == width, address
    tab.keyboard.press("/")
    tab.keyboard.type("gradient")
    tab.locator("#found .option").first.wait_for()
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    if dark == (width == 390):
        assert found(tab) == []


def test_headings_are_listed_beside_the_text_or_in_a_fold(visited):
    wide, narrow = visited("09_attention.html"), visited("09_attention.html", 390)
    beside, text = wide.locator(".contents a").first.bounding_box(), wide.locator("main").bounding_box()
    assert beside["x"] + beside["width"] < text["x"]
    assert not narrow.locator(".contents a").first.is_visible()
    narrow.click(".contents summary")
    narrow.click(".contents a:text-is('The formula')")
    assert narrow.url.endswith("#the-formula") and not narrow.locator(".contents a").first.is_visible()
    wide.click(".contents a:text-is('The formula')")
    wide.locator(".contents a[aria-current]:text-is('The formula')").wait_for()


def test_the_squares_of_heat_are_squares_without_a_gap(visited):
    squares = visited("09_attention.html").locator(".out i").first
    assert squares.evaluate("square => square.offsetHeight") == pytest.approx(
        squares.evaluate("square => parseFloat(getComputedStyle(square.parentElement).lineHeight)"), abs=1
    )
    assert "linear-gradient" in squares.evaluate("square => getComputedStyle(square).backgroundImage")


def test_the_squares_of_heat_keep_their_colours_where_a_person_has_others(visited):
    tab = visited("09_attention.html")
    tab.emulate_media(forced_colors="active")
    square = tab.locator(".out i").first
    assert "rgb(196, 82, 0)" in square.evaluate("square => getComputedStyle(square).backgroundImage")
    assert square.evaluate("square => getComputedStyle(square).color") == "rgba(0, 0, 0, 0)"  # not the sign below it


def test_the_step_page_leads_to_a_lesson_and_back_and_to_the_index(visited):
    tab = visited("step.html#h.0.attn/scores[0,1,3,2]")
    tab.click("#panel a:text('lesson 9')")
    tab.wait_for_url("**/09_attention.html")
    tab.click("a[href^='step.html#h.0.attn/scores']")
    tab.wait_for_url(re.compile(r"/step\.html#h\.0\.attn/scores"))
    assert tab.locator("#panel .value").inner_text()
    tab.click("header a:text('tinygpt, the lessons')")
    tab.wait_for_url("**/index.html")


def test_live_pages_have_the_same_search(context, tmp_path, visited):
    with serving(tmp_path / "work") as server:
        tab = visited("index.html", base=f"http://127.0.0.1:{server.server_port}")
        tab.keyboard.press("/")
        tab.keyboard.type("layernorm formula")
        tab.locator("#found .option").first.wait_for()
        tab.keyboard.press("Escape")
        assert urlsplit(tab.url).path == "/index.html"
