"""The page of `tinygpt show` in a real browser: what one chooses is what one sees, by mouse and by keys."""

import re

import numpy as np
import pytest

from tests.pages.conftest import NEEDED
from tinygpt import GPT, GPTConfig
from tinygpt.observed import observe
from tinygpt.pages import page as made_page
from tinygpt.pages.show import show_data
from tinygpt.tokenizer import CharTokenizer

TEXT = "def f(a):\n\treturn </b>\n" * 2
T = len(TEXT)


def written(folder, text=TEXT, n_layer=2, n_head=3):
    """A page of a model with large random weights; returns its path, and what was observed."""
    tokenizer = CharTokenizer.train(TEXT + text)
    config = GPTConfig(block_size=64, vocab_size=tokenizer.vocab_size, n_layer=n_layer, n_head=n_head, n_embd=24)
    model = GPT(config, seed=5)
    for array in model.params.values():
        array *= 12 if array.ndim == 2 else 1
    ids = tokenizer.encode(text).astype(np.int64)
    observed = observe(model, ids)
    path = folder / "show.html"
    data = show_data(ids, observed, tokenizer, config, "a model", ["a note"])
    path.write_text(made_page("show", data, "a title"), encoding="utf-8")
    return path, observed


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return written(tmp_path_factory.mktemp("page"))


@pytest.fixture
def visited(browser, drawn):
    """Opens the page, of a width and in a scheme; the test fails where it asks for anything or a script fails."""
    contexts, troubles = [], []

    def open(address="", width=1440, scheme="light", path=drawn[0]):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on(
            "request", lambda request: troubles.append(request.url) if not request.url.startswith("file:") else None
        )
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.goto(path.as_uri() + address)
        return page

    yield open
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture(scope="module")
def axe():
    return pytest.importorskip("axe_playwright_python.sync_playwright", reason=NEEDED).Axe()


def token_of(page):
    return page.locator("#panel h3").first.inner_text()


def percents(locator):
    return [float(re.search(r"[\d.]+(?=%)", text)[0]) / 100 for text in locator.all_inner_texts()]


def test_it_opens_in_less_than_two_seconds_with_all_tokens_and_heads(visited):
    pages = [visited() for _ in range(3)]  # of which one may find the machine busy
    took = [page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") for page in pages]
    assert 0 < min(took) < 2000
    page = pages[0]
    assert page.title() == "a title" and page.locator("#notes").inner_text() == "a note"
    assert page.locator("#tokens .token").count() == T and page.locator("#heads button").count() == 6
    assert "".join(page.locator("#tokens .token").all_inner_texts()).replace("\n", "") == (
        TEXT.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")
    )


def test_the_totals_are_the_models(visited, drawn):
    loss = drawn[1].losses.mean()
    totals = visited().locator("#totals").inner_text()
    assert f"{loss:.4f}" in totals and f"{loss / np.log(2):.4f}" in totals and f"{T}\n" in totals


def test_it_opens_at_the_token_that_was_expected_least(visited, drawn):
    assert token_of(visited()).startswith(f"Token {drawn[1].losses.argmax() + 1}:")


def test_a_token_that_is_clicked_shows_what_was_expected_and_what_came_and_back_goes_back(visited, drawn):
    observed = drawn[1]
    page = visited("#token-3")
    page.locator("#t7").click()
    assert token_of(page) == "Token 7: “a”".replace("a", TEXT[7]) and "#token-7/layer-0-head-0" in page.url
    says = page.locator("#panel p").inner_text()
    assert f"a loss of {observed.losses[6]:.2f} nats" in says
    here = page.locator("#panel .bars").first
    np.testing.assert_allclose(percents(here.locator(".share"))[:10], observed.probabilities[6], atol=0.0006)
    came = here.locator("li.came")
    assert came.count() == 1 and came.locator(".name").inner_text() == TEXT[7]
    assert f"{observed.ranks[6]}" in says or observed.ranks[6] == 1
    page.go_back()
    assert token_of(page).startswith("Token 3:")
    page.go_forward()
    assert token_of(page).startswith("Token 7:")


def test_small_and_nearly_certain_shares_are_not_rounded_away(visited):
    shown = visited().evaluate(
        "[1, 1 - 1e-9, 0.99949, 0.4321, 0.001, 0.00094, 1e-5, 9e-6, 0].map(percent).concat([1.0955, 49.126, 56008.7, "
        "6.4e7, Infinity].map(inFull))"
    )
    assert shown[:9] == ["100%", "> 99.9%", "99.9%", "43.2%", "0.1%", "0.094%", "0.0010%", "< 0.001%", "0%"]
    assert shown[9:] == ["1.0955", "49.13", "56,009", "6.40e7", "∞"]


def test_each_character_is_seen_whichever_way_it_runs(visited, tmp_path):
    text = "e\u0301 \u05e9\u200d\r."
    page = visited(path=written(tmp_path, text)[0])
    assert page.locator("#tokens .token").all_inner_texts() == ["e", "◌\u0301", "␣", "\u05e9", "⬚", "␍", "."]
    page.locator("#t3").click()
    captions = page.locator("#heads .caption, #most .name").all_inner_texts()
    assert all(re.fullmatch("\u2068.+\u2069 [0-9.]+%?", caption) for caption in captions), captions


def test_the_heads_to_begin_with_are_those_that_look_most_there(visited, drawn, tmp_path):
    page = visited()
    weights = np.rint(drawn[1].weights * 255)
    kinds = [np.diagonal(weights, -1, 2, 3)[..., 1:], np.diagonal(weights, 0, 2, 3)[..., 2:], weights[..., 2:, 0]]
    says = page.locator("#begin").inner_text()
    for place, kind in enumerate(kinds):
        shares = kind.mean(axis=-1)
        layer, head = np.unravel_index(shares.argmax(), shares.shape)
        link = page.locator("#begin button").nth(place)
        assert link.inner_text() == f"layer {layer}, head {head}" and f"({shares.max() / 2.55:.1f}% on average)" in says
        link.click()
        assert page.locator("#head-title").inner_text() == f"Layer {layer}, head {head}"
    for text, heads in (("de", 3), (TEXT, 1)):  # nothing to compare
        path = written(tmp_path, text, n_layer=1, n_head=heads)[0]
        assert visited(path=path).locator("#begin").inner_text() == ""


@pytest.mark.parametrize("heads", [1, 24])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_maps_of_few_and_of_many_heads_begin_at_the_left(visited, tmp_path, heads, width):
    page = visited(width=width, path=written(tmp_path, TEXT, n_layer=1, n_head=heads)[0])
    left = page.locator("#heads").bounding_box()["x"]
    assert page.locator("#h0-0").bounding_box()["x"] - left < 80
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    numbers = page.locator("#heads .head").evaluate_all(
        "all => all.map((one) => { const range = new Range(); range.selectNodeContents(one);"
        "const box = range.getBoundingClientRect(); return [getComputedStyle(one).visibility, box.left, box.right]; })"
    )
    seen = [(start, end) for visible, start, end in numbers if visible == "visible"]
    assert all(end < start for (_, end), (start, _) in zip(seen, seen[1:], strict=False))


def test_a_head_that_is_clicked_is_shown_large_with_where_the_token_looks(visited, drawn):
    page = visited("#token-9")
    page.locator("#h1-2").click()
    assert page.locator("#head-title").inner_text() == "Layer 1, head 2"
    assert page.url.endswith("#layer-1-head-2/token-9")
    row = drawn[1].weights[1, 2, 9]
    most = int(np.rint(row * 255).argmax())
    assert re.search(rf"token 9\) takes .* from .*token {most}\)", page.locator("#cell").inner_text())
    shown = percents(page.locator("#most .share"))
    np.testing.assert_allclose(shown, np.sort(row)[::-1][: len(shown)], atol=0.003)
    assert page.locator("#looks .token").count() == 10
    page.go_back()
    assert page.locator("#head-title").inner_text() == "Layer 0, head 0"


def test_addresses_lead_to_a_token_and_a_head_and_wrong_ones_to_the_page(visited):
    page = visited("#layer-1-head-1")
    assert page.locator("#head-title").inner_text() == "Layer 1, head 1"
    page = visited("#token-0")
    assert token_of(page).startswith("Token 0:") and "nothing stands before it" in page.locator("#panel").inner_text()
    page = visited(f"#token-{T - 1}/layer-0-head-2")
    assert token_of(page).startswith(f"Token {T - 1}:") and "where the text ends" in page.locator("#panel").inner_text()
    assert page.locator("#head-title").inner_text() == "Layer 0, head 2"
    for wrong in (f"#token-{T}", "#layer-2-head-0", "#token-x", "#%F0%9F", "#text"):
        assert visited(wrong).locator("#head-title").inner_text() == "Layer 0, head 0"


def test_keys_go_through_the_text_the_heads_and_the_map(visited):
    page = visited("#token-3")
    page.keyboard.press("Tab")  # past the link that leads to the text
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "t3"
    for key, token in [("ArrowRight", 4), ("ArrowLeft", 3), ("ArrowDown", 13), ("ArrowUp", 3), ("End", T - 1),
                       ("ArrowRight", T - 1), ("Home", 0), ("ArrowLeft", 0)]:  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.id") == f"t{token}", key
        assert token_of(page).startswith(f"Token {token}:")
    page.keyboard.press("End")
    for _ in range(4):  # past the links to three heads
        page.keyboard.press("Tab")
    for key, head in [("ArrowRight", "h0-1"), ("ArrowDown", "h1-1"), ("ArrowDown", "h1-1"), ("ArrowLeft", "h1-0")]:
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.id") == head
    assert page.locator("#head-title").inner_text() == "Layer 1, head 0"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "map"
    page.keyboard.press("ArrowUp")
    assert token_of(page).startswith(f"Token {T - 2}:")
    before = page.locator("#cell").inner_text()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#cell").inner_text() != before or "token 0)." in before


def test_what_the_mouse_points_at_on_the_map_is_said_and_a_click_chooses_it(visited, drawn):
    page = visited("#token-3/layer-1-head-1")
    side = page.evaluate("({edge: layout.edge, cell: layout.cell})")
    place = {"x": side["edge"] + 4.5 * side["cell"], "y": side["edge"] + 20.5 * side["cell"]}
    page.locator("#map").hover(position=place)
    says = page.locator("#cell").inner_text()
    share = float(re.search(r"takes (?:< )?([\d.]+)%", says)[1])
    assert "(token 20) takes" in says and says.endswith("(token 4).")
    assert share == pytest.approx(100 * drawn[1].weights[1, 1, 20, 4], abs=0.3)
    page.locator("#map").click(position=place)
    assert token_of(page).startswith("Token 20:")
    page.locator("#map").click(position={"x": place["y"], "y": place["x"]})  # above the diagonal: nobody looks there
    assert token_of(page).startswith("Token 20:")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_and_axe_finds_nothing(visited, axe, width, scheme):
    page = visited("#token-9/layer-1-head-1", width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    violations = axe.run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in violations] == []


def test_one_token_and_many_heads_fit_and_have_nothing_for_axe(visited, axe, tmp_path):
    path, _ = written(tmp_path, "d", n_layer=12, n_head=12)
    page = visited(width=390, path=path)
    assert page.locator("#heads button").count() == 144 and "no loss" in page.locator("#panel").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert [one["id"] for one in axe.run(page).response["violations"]] == []


def test_a_change_of_the_scheme_changes_the_colours(visited):
    page = visited()
    colour = "getComputedStyle(document.getElementById('t1')).backgroundColor"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{colour} !== {light!r}")
