"""The step page: a number is chosen, and what is said of it is what was recorded."""

import copy

import pytest

from tests.pages.conftest import marked, recorded
from tests.pages.reading import array, chosen, click, gradients, near, number, open_fold, square, values
from tinygpt.pages import packed, page

SCORE = (0, 1, 3, 2)


@pytest.mark.parametrize(
    "path, key, index",
    [
        ("h.0.attn", "h.0.attn/scores", SCORE),
        ("h.0.mlp.c_fc", "h.0.mlp.c_fc.weight", (7, 31)),
        ("h.1.ln_2", "h.1.ln_2/rstd", (0, 5, 0)),
        ("loss", "loss/losses", (4,)),
        ("head", "head/out", (7, 10)),
        ("h.1.attn", "h.1.attn/dqkv", (2, 0, 1, 6, 3)),
    ],
)
def test_a_square_that_is_clicked_shows_the_recordings_number(opened, data, path, key, index):
    tab = opened()
    open_fold(tab, path)
    click(tab, key, index)
    name, value = chosen(tab)
    assert name == key.split("/")[-1] + str(list(index)).replace(" ", "")
    assert near(value, values(data, key)[index])
    assert tab.evaluate("decodeURIComponent(location.hash)") == f"#{key}{str(list(index)).replace(' ', '')}"


def test_a_chain_is_followed_to_what_a_number_was_made_from_and_back(opened, data):
    tab = opened(f"#h.0.attn/scores{list(SCORE)}")
    tab.click('#panel button[data-to="h.0.attn/q[0,1,3,0]"]')
    name, value = chosen(tab)
    assert name == "q[0,1,3,0]" and near(value, values(data, "h.0.attn/q")[0, 1, 3, 0])
    assert "scores[0,1,3,2]" in tab.locator(".trail").inner_text()
    tab.locator('#panel .numbers button[data-to="h.0.attn/scores[0,1,3,2]"]').click()
    assert chosen(tab)[0] == "scores[0,1,3,2]"


def test_the_products_of_a_score_add_up_to_it(opened):
    tab = opened(f"#h.0.attn/scores{list(SCORE)}")
    value = number(chosen(tab)[1])
    tables = tab.locator("#panel .numbers table")
    for table in (tables.nth(0), tables.nth(1)):  # by way of q, by way of k
        products = [number(text) for text in table.locator("tbody td:last-child").all_inner_texts()]
        assert len(products) == 4 and sum(products) == pytest.approx(value, abs=3e-4)


@pytest.mark.parametrize(
    "link, says",
    [
        ("h.0.attn/scores[0,1,3,2]", "what moves it by way of one is the other’s value, times 0.5000."),
        ("h.0.ln_1/along[0,3,0]", "what moves it by way of one is the other’s value, times 0.1250."),
        ("h.0.attn/dk[0,0,5,1]", "what moves it by way of one is the other’s value."),
        ("h.0.mlp.gelu/out[0,1,2]", "what moves it by way of one is the other’s value."),
        ("embed/x[0,1,2]", "The products add up to this number: "),
        ("h.0.attn/weights[0,1,3,2]", "The products do not add up to this number, "),
        ("h.0.ln_1/rstd[0,1,0]", "The products do not add up to this number, "),
    ],
)
def test_what_is_said_of_the_products_is_so(opened, link, says):
    assert says in opened(f"#{link}").locator("#panel .sum").inner_text()


LINES_THAT_BEND = {
    "var", "rstd", "exps", "weights", "phi", "log_total", "loss", "dlogits", "dlogits~2", "scale", "du", "density",
    "dx", "dscores",
}  # fmt: skip


def test_products_are_said_to_add_up_of_every_number_of_a_line_that_is_a_sum_and_of_no_other(opened):
    count = """D.arrays.flatMap((array) => array.terms ? [[array.key, array.size, (() => {
        let bends = 0;
        for (let index = 0; index < array.size; index++) {
            const terms = termsOf(array, index);
            const groups = Object.values(Object.groupBy(terms, (term) => term.array.id));
            const one = addUpTo(array.v[index], terms) || groups.every((group) => addUpTo(array.v[index], group));
            if (terms.length && !one) bends += 1;
        }
        return bends;
    })()]] : [])"""
    bending = {key: (size, bends) for key, size, bends in opened().evaluate(count) if bends}
    assert {key.split("/")[1] for key in bending} <= LINES_THAT_BEND
    assert all(key.split("/")[0].endswith(("ln_1", "ln_2", "ln_f", "gelu")) for key in bending if key.endswith("/dx"))
    whole = [key for key, (size, bends) in bending.items() if size == bends]
    assert {"h.0.ln_1/rstd", "h.1.ln_2/dx", "h.0.mlp.gelu/phi", "loss/loss"} <= set(whole)


def test_numbers_that_differ_by_rounding_alone_are_said_to(opened, data):
    tab = opened("#h.0.attn.c_attn.bias[9]")  # a key's: the softmax takes away what all keys have in common
    backward, chain, nudge = gradients(tab)
    assert backward != chain and abs(number(chain)) < 1e-7 and abs(number(nudge)) < 1e-7
    largest = tab.evaluate("shown(largestOf(byKey.get('h.0.attn.c_attn.bias').fd))")
    rounding = f"All three agree: beside the largest gradient of this array, {largest}, they differ by rounding alone."
    assert rounding in tab.locator("#panel").inner_text()


@pytest.mark.parametrize("coarse", [False, True])
def test_how_near_a_nudge_must_come_depends_on_how_fine_the_step_is(opened, data, coarse):
    other = copy.deepcopy(data) | {"coarse": coarse}
    scores = array(other, "h.0.attn/scores")
    nudged = values(data, "h.0.attn/scores", "fd").copy()
    nudged[SCORE] += 1e-4 * abs(nudged).max()
    scores |= {"fd": packed(nudged), "err": 1e-4}
    tab = opened(f"#h.0.attn/scores{list(SCORE)}", of=other)
    said, verdict = tab.locator("#panel").inner_text(), tab.locator('.row[data-key="h.0.attn/scores"]').inner_text()
    assert ("They do not agree." in said) != coarse and ("✗ nudging gives another" in verdict) != coarse


@pytest.mark.parametrize("off, says", [(0.0, "It is the gradient of"), (1.0, "It should be the gradient of")])
def test_a_gradient_that_nudging_contradicts_is_only_said_to_stand_where_it_belongs(opened, data, off, says):
    other = copy.deepcopy(data)
    k = array(other, "h.0.attn/k")
    k["fd"] = packed(values(data, "h.0.attn/k", "fd") + off)
    tab = opened("#h.0.attn/dk[0,0,2,1]", of=other)
    said = tab.locator("#panel").inner_text()
    assert says in said and ("they do not agree" in said) == bool(off)


@pytest.mark.parametrize("key, index", [("h.0.attn/scores", SCORE), ("h.0.ln_2.bias", (3,)), ("wte.weight", (2, 5))])
def test_the_three_gradients_are_the_recordings_and_agree(opened, data, key, index):
    tab = opened(f"#{key}{list(index)}")
    nudge = values(data, key, "fd")[index]
    assert len(gradients(tab)) == 3 and all(near(text, nudge) for text in gradients(tab))
    assert "All three agree" in tab.locator("#panel").inner_text()


def test_a_gradient_that_backward_never_forms_is_said_to_be_so(opened, data):
    tab = opened("#h.0.ln_1/centred[0,7,5]")
    backward, chain, nudge = gradients(tab)
    assert backward == "never formed" and near(chain, values(data, "h.0.ln_1/centred", "fd")[0, 7, 5])
    assert nudge == chain
    assert "never forms this gradient" in tab.locator("#panel").inner_text()


def test_a_chain_that_was_lost_on_the_way_is_said_to_be_so(opened, data):
    other = copy.deepcopy(data)
    for key in ("embed/x", "h.0.ln_1/centred"):
        array(other, key).update(followed=False, fd=packed(values(data, key, "fd") + 0.1))
    array(other, "h.0/dx~2")["v"] = packed(values(data, "h.0/dx~2") + 0.1)  # the gradient of embed/x
    tab = opened("#embed/x[0,3,2]", of=other)
    said = tab.locator("#panel").inner_text()
    assert "Backward and the nudge agree. What it goes into could not be followed in full" in said
    tab.goto(tab.url.split("#")[0] + "#h.0.ln_1/centred[0,3,2]")
    said = tab.locator("#panel").inner_text()
    assert "could not be followed in full" in said and "do not agree" not in said


def test_what_is_not_finite_is_not_said_to_be_a_constant_or_masked(opened, data):
    other = copy.deepcopy(data)
    for key, value in (("h.0.ln_1/rstd", float("nan")), ("loss/shifted", -float("inf"))):
        one = array(other, key)
        one["v"] = packed(values(data, key) * 0 + value)
        if key == "h.0.ln_1/rstd":  # and nothing moves it
            one["terms"] |= {"src": [], "n": packed(values(data, key) * 0, "<u2"), "s": "", "i": "", "c": ""}
    tab = opened("#h.0.ln_1/rstd[0,1,0]", of=other)
    assert "It is not finite" in tab.locator("#panel").inner_text()
    tab.goto(tab.url.split("#")[0] + "#loss/shifted[3,2]")
    assert "No products add up to such a number." in tab.locator("#panel").inner_text()


def test_a_masked_score_was_made_from_nothing(opened):
    tab = opened("#h.0.attn/scores~2[0,0,2,5]")
    assert chosen(tab)[1] == "−∞"
    assert "the mask has put −∞ here" in tab.locator("#panel").inner_text()


def test_a_number_of_the_backward_pass_says_whose_gradient_it_is(opened, data):
    tab = opened("#h.0.attn/dk[0,0,1,2]")
    assert near(chosen(tab)[1], values(data, "h.0.attn/k", "fd")[0, 0, 1, 2])
    tab.locator('#panel button[data-to="h.0.attn/k[0,0,1,2]"]').click()
    assert chosen(tab)[0] == "k[0,0,1,2]"


def test_a_parameter_shows_its_update(opened, data):
    tab = opened("#wte.weight[2,5]")
    lines = tab.locator("#its-update + .numbers tbody tr").all_inner_texts()
    rows = {line.split("\t")[0]: line.split("\t")[-1] for line in lines}
    before, after = values(data, "wte.weight")[2, 5], values(data, "wte.weight", "after")[2, 5]
    assert near(rows["before"], before) and near(rows["after"], after)
    step, decay = number(rows["step"]), number(rows["decay"])
    assert before + step + decay == pytest.approx(after, abs=2e-4) and step != 0 and decay != 0


def test_the_update_has_a_row_for_each_parameter(opened, data):
    tab = opened("#update")
    names = tab.locator(".moment strong").all_inner_texts()
    assert names == [array["key"] for array in data["arrays"] if array["pass"] == "param"]
    click(tab, "h.0.ln_1.weight", (2,), which=-1)  # its map after the step
    assert near(chosen(tab)[1], values(data, "h.0.ln_1.weight")[2])


def test_every_array_stands_in_one_fold_or_beside_another(opened, data):
    tab = opened()
    tab.evaluate("folds.forEach((fold) => openFold(fold))")
    rows = tab.locator(".row").evaluate_all("rows => rows.map((row) => row.dataset.key)")
    beside = {one["grad"] for one in data["arrays"]}
    alone = [array["key"] for array in data["arrays"] if array["id"] not in beside]
    assert sorted(rows) == sorted(alone)
    forward = {array["key"] for array in data["arrays"] if array["pass"] == "forward"}
    made = [array["key"] for array in data["arrays"] if array["pass"] == "forward"]
    assert [key for key in rows if key in forward] == made  # in the order in which they were made


def test_a_fold_names_what_its_backward_made_that_stands_elsewhere(opened):
    tab = opened("#ln_f")
    fold = tab.locator('details[data-path="ln_f"]')
    assert "Its backward also made ln_f/dx beside h.1/out." in fold.inner_text()
    fold.locator('a[href="#ln_f/dx"]').click()
    assert chosen(tab)[0].startswith("dx[") and tab.locator('.row.now[data-key="h.1/out"]').count() == 1


def test_frames_show_what_a_number_was_made_from_and_goes_into(opened):
    tab = opened(f"#h.0.attn/scores{list(SCORE)}")
    frames = """kind => Object.fromEntries([...maps].filter((map) => framesOf(map, kind).length)
        .map((map) => [map.array.key, framesOf(map, kind).map((index) => placesOf(map.array, index)).sort()]))"""
    row = [f"[0,1,3,{d}]" for d in range(4)]
    column = [f"[0,1,2,{d}]" for d in range(4)]
    assert tab.evaluate(frames, "from") == {"h.0.attn/q": row, "h.0.attn/k": column}
    assert tab.evaluate(frames, "onward") == {"h.0.attn/scores~2": ["[0,1,3,2]"]}


def test_the_whole_array_is_there_as_a_table(opened, data):
    tab = opened("#h.0.attn/weights[0,0,0,0]")
    tab.click("#panel .whole summary")
    tables = tab.locator("#panel .whole table")
    texts = tables.nth(1).locator("tbody td").all_inner_texts()
    said = values(data, "h.0.attn/weights")[0, 1].ravel()
    assert tables.count() == 2 and len(texts) == 64 and all(map(near, texts, said))
    tables.nth(1).locator("tbody tr").nth(3).locator("button").nth(2).click()
    assert chosen(tab)[0] == "weights[0,1,3,2]"


def test_a_heat_map_says_what_is_under_the_pointer(opened, data):
    tab = opened(f"#h.0.attn/scores{list(SCORE)}")
    canvas, position = square(tab, "h.0.attn/scores", (0, 0, 6, 1))
    canvas.hover(position=position)
    place, value = tab.locator("#tip").inner_text().rsplit(": ", 1)
    assert place == "head 0, query “t” at 6, key “a” at 1" and near(value, values(data, "h.0.attn/scores")[0, 0, 6, 1])


def test_what_is_chosen_is_said_once_in_words(opened):
    tab = opened()
    open_fold(tab, "h.0.attn")
    click(tab, "h.0.attn/scores", SCORE)
    said = tab.locator("[aria-live]").all_inner_texts()
    assert len(said) == 1
    assert said[0].startswith("scores, block 0 · attention, head 1, query “␣” at 3, key “t” at 2: ")
    assert "gradient" in said[0]


def test_an_array_that_a_lesson_speaks_of_names_the_lesson(opened):
    tab = opened(f"#h.0.attn/scores{list(SCORE)}")
    lesson = tab.locator("#panel .lesson")
    assert "Lesson 9, Attention" in lesson.inner_text() and "python -m lessons 9" in lesson.inner_text()
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    lesson.get_by_role("button").click()
    assert tab.evaluate("navigator.clipboard.readText()") == "python -m lessons 9"
    tab.click("#lessons summary")
    tab.click('#lessons a[href="#h.0.ln_1/centred"]')
    assert chosen(tab)[0].startswith("centred[")


@pytest.mark.parametrize(
    "first, beside",
    [("h.1.ln_2/dx", "h.1.ln_2/dx"), ("h.1.attn/dk", "h.1.attn/k"), ("ln_f/dx", "h.1/out"), ("ln_f/var", "ln_f/var")],
)  # an array of backward alone, two gradients with their names and without, an array of forward
def test_a_wrong_layer_opens_at_its_first_difference_and_is_marked(opened, data, first, beside):
    wrong = marked(data, first)
    tab = opened(of=wrong)
    assert chosen(tab)[0].startswith(first.split("/")[1])
    row = tab.locator(f'.row[data-key="{beside}"]')
    assert "≠ differs from the engine’s" in row.inner_text()
    assert "The first difference. " + wrong["mine"]["says"] in row.inner_text()
    in_sight = "row => row.getBoundingClientRect().top >= -1 && row.getBoundingClientRect().top < innerHeight - 100"
    assert row.evaluate(in_sight)
    assert tab.locator(".row .notice").count() == 1
    marks = tab.locator("#arrays summary .wrong")
    assert marks.count() > 3 and all("≠" in text for text in marks.all_inner_texts())
    assert "≠" not in tab.locator('details[data-path="head"] > summary').inner_text() or first == "ln_f/var"
    assert tab.locator("#drawing .wrong").count() > 3 and tab.locator("#drawing .first").count() == 1
    tab.evaluate("scrollTo(0, 0)")
    assert wrong["mine"]["says"] in tab.locator("#mine").inner_text()
    tab.click("#mine a")
    assert row.evaluate(in_sight)


def test_a_step_with_parts_that_are_right_says_so_without_marks(opened, data):
    mine = {"parts": ["layernorm"], "says": "With layernorm of yours every number is the engine's."}
    tab = opened(of=data | {"mine": mine})
    assert mine["says"] in tab.locator("#mine").inner_text() and tab.locator("#mine a").count() == 0
    assert tab.locator("#panel h2").inner_text() == "Choose a number" and tab.locator(".wrong").count() == 0


def test_a_step_that_could_not_be_nudged_is_shown_and_said_to_be_so(opened, data):
    unsteady = copy.deepcopy(data)
    for one in unsteady["arrays"]:
        one.pop("fd", None)
    assert "does not give the same loss twice" in opened("#embed/x[0,0,0]", of=unsteady).locator("#panel").inner_text()
    unsteady |= {"loss": None, "after": None}
    unsteady["update"]["norm"] = None
    tab = opened("#h.0.attn/scores[0,1,3,2]", of=unsteady)
    assert gradients(tab)[1:] == ["–", "–"] and "loss is not a finite number" in tab.locator("#panel").inner_text()
    assert tab.locator("#losses dd").first.inner_text() == "not a number"
    for link in ("wte.weight[2,5]", "h.0.attn/dk[0,0,1,2]", "h.0.ln_1/centred[0,7,5]", "h.0/x[0,7,3]", "update"):
        tab.goto(tab.url.split("#")[0] + f"#{link}")
    tab.evaluate("folds.forEach((fold) => openFold(fold))")
    for stop in range(1, 1 + tab.evaluate("tourStops().length")):
        tab.goto(tab.url.split("#")[0] + f"#tour-{stop}")
        assert "undefined" not in tab.locator("#tour").inner_text()


def test_an_update_that_is_not_adamws_is_said_to_be_another(opened, data):
    other = copy.deepcopy(data)
    weight = array(other, "h.0.ln_1.weight")
    weight["after"] = packed(values(data, "h.0.ln_1.weight", "after") - 1e-5)  # as of a step without its correction
    tab = opened("#h.0.ln_1.weight[2]", of=other)
    assert "By AdamW’s rule it would be " in tab.locator("#panel").inner_text()
    assert "By AdamW’s rule" not in opened("#h.0.ln_1.weight[2]").locator("#panel").inner_text()


def test_a_page_of_twelve_characters_and_twenty_four_distinct_ones_is_below_3_mb(opened):
    large = recorded("the quick brown fox jumps over laz")
    assert len(large["idx"]) == 12 and len(large["chars"]) == 24
    assert len(page("step", large, "One training step").encode()) < 3_000_000
    tab = opened("#h.0.attn/scores[0,1,11,10]", of=large, width=390)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
