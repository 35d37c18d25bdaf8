"""The ways through the step page: links, Back, keys, the tour, a phone, the dark; and nothing from a network."""

import re

import numpy as np
import pytest

from tests.pages.conftest import recorded
from tests.pages.reading import chosen, click, near, number, open_fold, values

SCORE = "#h.0.attn/scores[0,1,3,2]"


def test_the_page_opens_in_under_two_seconds_and_asks_for_nothing(opened):
    loaded = "performance.getEntriesByType('navigation')[0].loadEventEnd"
    assert any(0 < opened().evaluate(loaded) < 2000 for _ in range(3))  # another process may have the machine for once
    tab = opened()
    tab.evaluate("folds.forEach((fold) => openFold(fold))")
    tab.goto(tab.url.split("#")[0] + "#tour-3")
    assert tab.asked and all(url.split("#")[0] == tab.url.split("#")[0] or url == "data:," for url in tab.asked)


def test_the_first_screen_says_what_is_read_what_is_asked_for_and_the_losses(opened, data):
    tab = opened()
    rows = tab.locator("#text tr").all_inner_texts()
    assert rows[0].split("\t")[1:] == list("cat␣sat␣") and rows[1].split("\t")[1:] == list("at␣sat␣o")
    assert [number(text) for text in tab.locator("#losses dd").all_inner_texts()] == [
        pytest.approx(data[which], abs=5e-5) for which in ("loss", "after")
    ]
    assert tab.locator("details[open]").count() == 0  # no wall of numbers


def test_each_box_of_the_drawing_opens_its_layer(opened, data):
    tab = opened()
    links = tab.locator("#drawing a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
    layers = {call["path"] for call in data["calls"]} - {"", "embed", "h.0", "h.1", "h.0.mlp", "h.1.mlp"}
    assert {link[1:] for link in links if "/" not in link} == layers
    assert len([link for link in links if "/" in link]) == 5  # the sums
    for link in links:
        tab.locator(f'#drawing a[href="{link}"]').click()
        key = link[1:].split("/")[0]
        assert tab.locator(f'details[data-path="{key}"][open]').count() >= 1
        assert tab.locator("#wrong-link").count() == 0


def test_back_and_forward_and_reload_keep_the_number(opened):
    tab = opened(SCORE)
    tab.click('#panel button[data-to="h.0.attn/k[0,1,2,3]"]')
    tab.locator("#panel .numbers button").first.click()
    third = chosen(tab)
    tab.go_back()
    assert chosen(tab)[0] == "k[0,1,2,3]"
    tab.go_back()
    assert chosen(tab)[0] == "scores[0,1,3,2]"
    tab.go_forward()
    tab.go_forward()
    assert chosen(tab) == third
    tab.reload()
    assert chosen(tab) == third
    assert "k[0,1,2,3]" in tab.locator(".trail").inner_text()


@pytest.mark.parametrize(
    "link, name",
    [
        ("#h.0.attn/scores%5B0,1,3,2%5D", "scores[0,1,3,2]"),
        ("#h.0.attn/scores", "scores[0,0,0,0]"),
        ("#head/logits[7,10]", "out[7,10]"),  # by another of its names
        ("#loss/loss", "loss"),
        ("#h.1.mlp.c_proj.weight[31,7]", "h.1.mlp.c_proj.weight[31,7]"),
    ],
)
def test_a_link_goes_to_its_number(opened, link, name):
    assert chosen(opened(link))[0] == name


@pytest.mark.parametrize(
    "link, says",
    [
        ("#h.0.attn/attention[0,1]", "no array of this step has that name"),
        ("#h.0.attn/scores[0,9,3,2]", "h.0.attn/scores is 1 × 2 × 8 × 8 here"),
        ("#h.0.attn/scores[,,,]", "h.0.attn/scores is 1 × 2 × 8 × 8 here"),
        ("#h.0.attn/scores[0,1]", "h.0.attn/scores is 1 × 2 × 8 × 8 here"),
        ("#tour-99", "the tour has 10 stops"),
        ("#%E0%A4%A", "no array of this step has that name"),
        ("#<b>", "no array of this step has that name"),
    ],
)
def test_a_wrong_link_says_so_and_shows_the_start(opened, link, says):
    tab = opened(link)
    notice = tab.locator("#wrong-link")
    assert says in notice.inner_text() and notice.is_visible()
    assert tab.locator("#panel h2").inner_text() == "Choose a number"
    open_fold(tab, "h.0.attn")
    click(tab, "h.0.attn/scores", (0, 0, 0, 0))
    assert notice.count() == 0


def test_a_layer_that_was_closed_opens_again_by_the_same_link(opened):
    tab = opened()
    fold = tab.locator('details[data-path="h.1.ln_1"]')
    for _ in range(2):
        tab.evaluate("scrollTo(0, 0)")
        tab.click('#drawing a[href="#h.1.ln_1"]')
        tab.wait_for_function("document.querySelector('details[data-path=\"h.1.ln_1\"]').open")
        fold.locator("summary").click()
        assert fold.get_attribute("open") is None


def test_the_drawing_marks_where_the_chosen_number_is(opened):
    tab = opened(SCORE)
    here = tab.locator('#drawing a[aria-current="true"]')
    assert here.evaluate_all("links => links.map((link) => link.getAttribute('href'))") == ["#h.0.attn"]
    tab.goto(tab.url.split("#")[0] + "#h.1/x[0,0,0]")
    assert here.evaluate_all("links => links.map((link) => link.getAttribute('href'))") == ["#h.1/x"]


def test_a_link_that_is_followed_goes_on_from_the_number_before(opened):
    tab = opened("#h.0.attn/q[0,1,3,2]")
    tab.click('#panel a[href="#h.0.attn/dk"]')  # backward needs it for that
    assert chosen(tab)[0].startswith("dk[") and "q[0,1,3,2]" in tab.locator(".trail").inner_text()


def test_keys_reach_every_open_map_move_in_it_and_choose(opened):
    tab = opened()
    tab.locator('details[data-path="h.0.attn"] > summary').focus()
    tab.keyboard.press("Enter")
    reached = []
    for _ in range(12):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("document.activeElement.dataset.key"))
    assert reached[:6] == [f"h.0.attn/{name}" for name in ("q", "dq", "k", "dk", "v", "dv")]
    tab.locator('canvas[data-key="h.0.attn/scores"]').focus()
    for key in ["ArrowDown"] * 3 + ["ArrowRight"] * 10 + ["ArrowLeft", "ArrowUp"]:  # 8 to the next head, 9 - 8 in it
        tab.keyboard.press(key)
    assert "head 1, query “t” at 2, key “a” at 1: " in tab.locator("#said").inner_text()
    assert tab.locator("#panel h2").inner_text() == "Choose a number"
    tab.keyboard.press("Enter")
    assert chosen(tab)[0] == "scores[0,1,2,1]"
    tab.keyboard.press("End")
    tab.keyboard.press("Space")
    assert chosen(tab)[0] == "scores[0,1,2,7]"
    for key in ["Home", "ArrowLeft", "ArrowUp", "ArrowUp", "ArrowUp", "Enter"]:  # stays at the corner
        tab.keyboard.press(key)
    assert chosen(tab)[0] == "scores[0,0,0,0]"
    assert tab.evaluate("document.activeElement.dataset.key") == "h.0.attn/scores"


def test_a_question_mark_shows_the_keys(opened):
    tab = opened()
    tab.keyboard.press("?")
    assert tab.locator("#keys").is_visible() and "Enter" in tab.locator("#keys").inner_text()
    tab.keyboard.press("Escape")
    assert not tab.locator("#keys").is_visible()


def stops_of(tab):
    """Walks the tour from where it is to its end: title, text and number of each stop."""
    stops = []
    while True:
        assert "undefined" not in (text := tab.locator("#tour").inner_text()) and "NaN" not in text
        assert any(value in text for value in [chosen(tab)[1], *tab.locator("#panel .three dd").all_inner_texts()])
        stops.append((tab.locator("#tour-title").inner_text(), text, chosen(tab)))
        following = tab.locator("#tour a", has_text="Next")
        if not following.count():
            return stops
        following.click()


def test_the_tour_has_ten_stops_and_each_chooses_its_number(opened, data):
    tab = opened()
    tab.click("text=Take the tour")
    stops = stops_of(tab)
    names = [name.split("[")[0] for _, _, (name, _) in stops]
    assert names == ["out", "scores", "scores~2", "weights", "centred", "x", "out", "dk", "wte.weight", "wte.weight"]
    assert tab.evaluate("location.hash") == "#tour-10"
    assert f"{data['after']:.4f}" in stops[-1][1]
    tab.go_back()
    assert tab.locator("#tour-title").inner_text() == stops[8][0]
    tab.click("#tour a:has-text('Previous')")
    assert tab.locator("#tour-title").inner_text() == stops[7][0] and chosen(tab) == stops[7][2]
    tab.keyboard.press("]")
    assert tab.locator("#tour-title").inner_text() == stops[8][0]
    tab.click("text=End the tour")
    assert tab.locator("#tour").count() == 0 and chosen(tab) == stops[8][2]
    tab.reload()
    assert chosen(tab) == stops[8][2]


def test_the_tour_is_true_of_a_text_of_two_characters_that_differ(opened):
    said = [words for _, words, _ in stops_of(opened("#tour-1", of=recorded("abc")))]
    assert len(said) == 10
    assert "No character is read twice" in said[8] and "“a” is read at 0" in said[8]


def test_any_text_is_shown_as_it_is(opened):
    text = '</script>🙂\n\t"é&'
    tab = opened("#tour-7", of=recorded(text))
    assert tab.locator("#text tr").first.inner_text().split("\t")[1:] == list("</script>🙂⏎⇥")
    assert "</script>🙂⏎⇥" in tab.locator("#foot").inner_text()
    assert tab.locator("#tour").is_visible() and tab.locator("script").count() == 2  # the data and the page's own


def test_characters_that_show_nothing_are_shown_and_none_changes_what_follows(opened):
    tab = opened()
    shown = {"\u0301": "◌\u0301", "\u200d": "⬚", "\u2028": "⬚", "\u00a0": "␣", "\x00": "␀", "\r": "␍", "🙂": "🙂"}
    assert tab.evaluate("characters => characters.map(seen)", list(shown)) == list(shown.values())
    assert tab.evaluate("['ש', 'a'].map(inQuotes)") == ["“ש”\u200e", "“a”"]


def test_no_guess_is_said_to_be_sure_that_is_not(opened):
    said = opened().evaluate("[0, 1e-9, 0.004, 0.006, 0.5, 0.994, 0.9999, 1].map(percent)")
    assert said == ["0%", "<1%", "<1%", "1%", "50%", "99%", ">99%", "100%"]


def test_the_tours_sums_hold(opened):
    tab = opened("#tour-6")  # the residual stream: a sum and its two gradients
    a, b, total, gradient, unchanged, branch = map(number, tab.locator("#tour strong").all_inner_texts())
    assert a + b == pytest.approx(total, abs=2e-4) and unchanged + branch == pytest.approx(gradient, abs=2e-4)
    tab.goto(tab.url.replace("tour-6", "tour-9"))  # an embedding: each reading, and the head
    *parts, total = map(number, tab.locator("#tour strong").all_inner_texts())
    assert len(parts) == 3 and sum(parts) == pytest.approx(total, abs=2e-4)
    tab.goto(tab.url.replace("tour-9", "tour-7"))  # softmax minus one
    chance, gradient = map(number, tab.locator("#tour strong").all_inner_texts())
    assert (chance - 1) / 8 == pytest.approx(gradient, abs=1e-4)
    assert near(tab.locator("#panel .three dd").first.inner_text(), gradient)
    tab.goto(tab.url.replace("tour-7", "tour-10"))  # the update
    *_, step, decay, before, after, _, _ = map(number, tab.locator("#tour strong").all_inner_texts())
    assert before + step + decay == pytest.approx(after, abs=2e-4)


def test_the_tours_numbers_are_numpys(opened, data):
    tab = opened()

    def stop(count):
        """The indices of its number, and the numbers in its text."""
        tab.goto(tab.url.split("#")[0] + f"#tour-{count}")
        indices = re.findall(r"\d+", chosen(tab)[0].partition("[")[2])
        return tuple(map(int, indices)), tab.locator("#tour strong").all_inner_texts()

    q, k = values(data, "h.0.attn/q")[0, 0], values(data, "h.0.attn/k")[0, 0]
    scores = q @ k.T / 2
    (*_, query, key), (score,) = stop(2)
    assert near(score, scores[query, key])
    (*_, query, key), (hidden,) = stop(3)
    assert near(hidden, scores[query, key]) and key == query + 1
    (*_, query, key), (weight, slope) = stop(4)
    row = np.exp(scores[query, : query + 1])
    w = row[key] / row.sum()
    assert near(weight, w) and near(slope, w * (1 - w))
    (place, token), (chance, gradient) = stop(7)
    logits = np.exp(values(data, "ln_f/out~2")[0, place] @ values(data, "wte.weight").T)
    p = logits[token] / logits.sum()
    assert near(chance, p) and near(gradient, (p - 1) / 8) and token == data["targets"][place]
    (*_, key, channel), (dk,) = stop(8)
    assert near(dk, (values(data, "h.0.attn/dscores~2")[0, 0].T @ q)[key, channel])


def test_the_tour_shows_the_column_of_dscores_that_dk_sums(opened, data):
    tab = opened("#tour-8")
    dk = chosen(tab)[0].removeprefix("dk[").rstrip("]").split(",")
    assert f"the dscores of column {dk[2]}," in tab.locator("#tour").inner_text()
    links = tab.locator('#panel .numbers button[data-to*="/dscores~2"]').all_inner_texts()
    assert links == [f"dscores~2[{dk[0]},{dk[1]},{query},{dk[2]}]" for query in range(8)]


def test_dark_has_other_colours_and_changes_them_at_once(opened):
    tab = opened(SCORE)
    paper = "getComputedStyle(document.body).backgroundColor"
    pixel = """[...document.querySelector('canvas[data-key="h.0.attn/scores"]').getContext('2d')
        .getImageData(24, 40, 1, 1).data].join()"""
    light = tab.evaluate(paper), tab.evaluate(pixel)
    tab.emulate_media(color_scheme="dark")
    tab.wait_for_function(f"{paper} !== {light[0]!r}")  # the page hears of it with the next frame
    tab.wait_for_function(f"{pixel} !== {light[1]!r}")


@pytest.mark.parametrize("width", [320, 390, 800, 1001, 1440])
def test_no_width_scrolls_sideways(opened, width):
    tab = opened(width=width)
    sideways = "document.documentElement.scrollWidth"
    assert tab.evaluate(sideways) == width
    tab.evaluate("folds.forEach((fold) => openFold(fold)); openFold(updating)")
    assert tab.evaluate(sideways) == width
    for link in ("tour-8", "h.0.mlp.c_fc.weight[7,31]", "h.1.attn/dqkv[2,0,1,6,3]"):
        tab.goto(tab.url.split("#")[0] + f"#{link}")
        assert tab.evaluate(sideways) == width


def test_on_a_phone_the_panel_is_a_bar_that_opens_and_closes(opened):
    tab = opened(SCORE, width=390, height=844)
    panel, bar = tab.locator("#panel"), tab.locator("#panel .bar")
    height = "panel => panel.getBoundingClientRect().height / innerHeight"
    assert panel.evaluate(height) < 0.1
    assert "scores[0,1,3,2]" in bar.inner_text() and "gradient" in bar.inner_text()
    assert not tab.locator("#panel .sheet").is_visible()
    bar.click()
    assert panel.evaluate(height) == 1 and bar.get_attribute("aria-expanded") == "true"
    tab.click('#panel button[data-to="h.0.attn/q[0,1,3,0]"]')
    assert panel.evaluate(height) == 1 and chosen(tab)[0] == "q[0,1,3,0]"  # one reads on where one was
    tab.keyboard.press("Escape")
    assert panel.evaluate(height) < 0.1 and bar.get_attribute("aria-expanded") == "false"
    click(tab, "h.0.attn/q", (0, 0, 1, 1))  # what lies behind can be used again
    assert "q[0,0,1,1]" in bar.inner_text()
    bar.click()
    bar.click()
    assert panel.evaluate(height) < 0.1


def test_on_a_phone_the_tour_opens_what_it_speaks_of(opened):
    tab = opened("#tour-8", width=390, height=844)
    tab.click("#tour >> text=All about this number")
    assert tab.locator("#panel .sheet").is_visible() and "Made from" in tab.locator("#panel").inner_text()
    tab.keyboard.press("Escape")
    assert tab.locator("#tour").is_visible() and not tab.locator("#panel .sheet").is_visible()
    tab.set_viewport_size({"width": 1440, "height": 900})
    assert not tab.locator("#tour >> text=All about this number").is_visible()


def test_a_phone_turned_on_its_side_draws_the_maps_anew(opened):
    tab = opened(SCORE, width=390, height=844)
    cells = "[...maps].filter((map) => map.array.key === 'h.0.attn.c_attn.weight').map((map) => map.cell)"
    tab.evaluate("openFold(folds.find((fold) => fold.path === 'h.0.attn.c_attn'))")
    narrow = tab.evaluate(cells)
    tab.set_viewport_size({"width": 1440, "height": 900})
    tab.wait_for_function(f"{cells}[0] > {narrow[0]}")
    assert tab.locator("#drawing svg.lying").count() == 1


def test_on_paper_every_open_map_is_drawn(opened):
    tab = opened("#h.0.ln_1/xhat[0,2,2]")
    tab.evaluate("folds.forEach((fold) => openFold(fold))")
    assert tab.evaluate("[...maps].some((map) => !map.drawn)")  # those far away wait until one comes near
    tab.pdf()
    assert tab.evaluate("[...maps].every((map) => map.drawn)")
