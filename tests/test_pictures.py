"""The pictures: what their scripts draw, fit to be looked at and to be listened to, and each of use somewhere."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from lessons import display
from lessons.cells import find_lessons
from pictures import (
    attention_maps,
    embeddings,
    gpt2_shapes,
    layernorm_checked,
    layernorm_directions,
    layernorm_graph,
    ring,
    step_page,
)
from pictures.__main__ import main, modules, svg
from pictures.kit import svg as kit
from pictures.kit.numbers import measured, path_of
from pictures.kit.tiny import TEXT
from tinygpt.layers import cross_entropy, layernorm
from tinygpt.models.gpt2 import GPTConfig
from tinygpt.recorder import record_step

ROOT = Path(__file__).parents[1]
NAMES = list(modules())
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "lessons").glob("[0-9]*.py"))]
IMAGE = re.compile(r"!\[([^\]]+)\]\(([^)\s]+)\)|<img src=\"([^\"]+)\" alt=\"([^\"]+)\"|srcset=\"([^\"]+)\"")
SVG = "{http://www.w3.org/2000/svg}"


def images(page: Path) -> list[tuple[str, Path]]:
    """The pictures of a page: what each says that it shows, and its file."""
    found = [match.groups("") for match in IMAGE.finditer(page.read_text(encoding="utf-8"))]
    return [
        (alt or alt_, (page.parent / (path or source or path_)).resolve()) for alt, path, source, alt_, path_ in found
    ]


def drawn(name: str) -> ET.Element:
    return ET.fromstring(svg(name).read_text(encoding="utf-8"))


def words(name: str) -> str:
    return " ".join("".join(text.itertext()) for text in drawn(name).iter(f"{SVG}text"))


# The files


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_what_its_script_draws(name):
    assert svg(name).read_text(encoding="utf-8") == modules()[name].draw(), "draw it anew: python -m pictures"


def test_there_is_no_picture_and_no_number_without_a_script():
    folder = svg("x").parent
    assert sorted(path.stem for path in folder.glob("*.svg")) == NAMES
    assert {path.stem for path in (folder / "numbers").iterdir()} == {
        n for n in NAMES if hasattr(modules()[n], "measure")
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_says_what_it_shows_and_asks_for_nothing_from_anywhere(name):
    text, root = svg(name).read_text(encoding="utf-8"), drawn(name)
    assert root.tag == f"{SVG}svg" and root.get("role") == "img"
    named = [root.find(f"{SVG}{tag}") for tag in root.get("aria-labelledby", "").split()]
    assert [element.get("id") for element in named] == ["title", "desc"]
    assert len(named[0].text) > 10 and len(named[1].text) > 80
    elsewhere = (
        r"\bhref=|\bsrc=|@import|@font-face|https?:(?!//www\.w3\.org/2000/svg\")|url\((?!#)|<script|<image|<foreign"
    )
    assert not re.search(elsewhere, text)
    assert len(text.encode()) < 60_000


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_legible_at_the_width_of_a_phone_and_its_words_lie_inside(name):
    root = drawn(name)
    _, _, width, height = map(float, root.get("viewBox").split())
    if name != "layernorm_checked":  # which has a narrow one beside it
        assert 13 * 390 / width > 7.5  # pixels of the smallest letters
    assert width > 440 and height > 200
    for text in root.iter(f"{SVG}text"):
        if text.get("transform"):
            continue
        letters, x, y = "".join(text.itertext()), float(text.get("x")), float(text.get("y"))
        small = {"small", "code"} & set(text.get("class", "").split())
        wide = len(letters) * (7.9 if "code" in small else 6.4 if small else 7.6)  # of an ordinary system's font
        start = {"middle": x - wide / 2, "end": x - wide}.get(text.get("text-anchor"), x)
        assert start > 0 and start + wide < width + 1 and 0 < y < height, letters


@pytest.mark.parametrize("side", [0, 1], ids=["light", "dark"])
def test_every_ink_can_be_read_on_paper_and_on_cards(side):
    def luminance(colour):
        channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    for ink in ("ink", "soft", "back", "param", "above", "below"):
        for ground in ("paper", "card"):
            low, high = sorted(luminance(kit.INKS[name][side]) for name in (ink, ground))
            assert (high + 0.05) / (low + 0.05) >= 4.5, f"{ink} on {ground}"


def test_check_says_which_picture_differs_and_draws_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pictures.__main__.svg", lambda name: tmp_path / f"{name}.svg")
    one = {"shares_graph": modules()["shares_graph"]}
    monkeypatch.setattr("pictures.__main__.modules", lambda: one)
    (tmp_path / "shares_graph.svg").write_text("another")
    monkeypatch.setattr("pictures.__main__.shown", lambda path: path.name)
    assert main(["--check"]) == 1 and capsys.readouterr().out == "differs  shares_graph.svg\n"
    assert (tmp_path / "shares_graph.svg").read_text() == "another"
    assert main([]) == 0 and capsys.readouterr().out == "drawn  shares_graph.svg\n"
    assert main(["--check"]) == 0 and capsys.readouterr().out == "the picture is what its script draws\n"


def test_an_unknown_picture_and_both_flags_are_refused(capsys):
    for arguments, said in (
        (["no_such"], "there is no picture no_such"),
        (["--check", "--measure"], "give one of them"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert said in capsys.readouterr().err


# What they show is so


def test_the_graph_of_layernorm_ends_in_the_engines_gradient():
    of = layernorm_graph.computed()
    out, cache = layernorm.forward(of["x"][None], np.ones(8), None, eps=0)
    assert np.allclose(out[0], of["xhat"]) and np.allclose(layernorm.backward(of["dxhat"][None], cache)[0][0], of["dx"])
    assert np.allclose(of["dcentred_1"] + of["dcentred_2"] + of["dx_2"], of["dx"])
    assert all(
        np.allclose(64 * of[name], np.round(64 * of[name])) for name in ("dx", "dcentred_1", "dcentred_2", "dx_2")
    )
    assert "19 −7 −7 −7 −4 −4 2 8" in words("layernorm_graph")


def test_the_graph_of_the_loss_ends_in_the_engines_gradient():
    _, cache = cross_entropy.forward(np.log([[1.0, 2, 5]]), np.array([1]))
    assert np.allclose(cross_entropy.backward(1.0, cache)[0], [1 / 8, -6 / 8, 5 / 8])
    assert "1/8 −6/8 5/8" in words("cross_entropy_graph")


def test_what_layernorm_leaves_of_a_gradient_lies_along_the_circle():
    v = layernorm_directions.vectors()
    assert abs(v["left"].sum()) < 1e-9 and abs(v["left"] @ v["xhat"]) < 1e-9 and np.isclose(v["xhat"] @ v["xhat"], 3)
    assert np.allclose(v["left"], v["in_plane"] - v["xhat"] * (v["in_plane"] @ v["xhat"]) / 3)
    assert np.linalg.norm(v["left"]) > 0.5 < np.linalg.norm(v["dxhat"] - v["in_plane"])


def test_the_parameters_in_the_picture_of_gpt2_add_up():
    config = GPTConfig()
    found = re.findall(r"(12 × )?(\d{1,3}(?:,\d{3})+)(?![,\d]| parameters|\))", words("gpt2_shapes"))
    assert len(found) == 9
    counts = (int(number.replace(",", "")) * (config.n_layer if times else 1) for times, number in found)
    assert sum(counts) == config.n_params
    assert f"{config.n_params:,} parameters" in words("gpt2_shapes") and gpt2_shapes.draw()


def test_the_readmes_picture_has_the_files_lines_and_what_the_check_says_today():
    source = Path(layernorm.__file__).read_text(encoding="utf-8")
    for name in ("layernorm_checked", "layernorm_checked_narrow"):
        for line in words_of_code(name):
            assert line.strip() in source
    for which, code in (("right", source), ("wrong", source.replace(layernorm_checked.FORGOTTEN, ""))):
        now, then = layernorm_checked.verdict(code), measured("layernorm_checked")[which]
        error = r"\d\.\de-\d\d(?=, where| \(tolerance)"
        assert [re.sub(error, "", line) for line in now] == [re.sub(error, "", line) for line in then]
    assert now[0].startswith("WRONG, dx by ") and now[2] == "3 of 3 checks WRONG" and "variance" in now[3]
    assert "WRONG, dx by" in words(name)  # only dx is: dw and db do not have the term


def words_of_code(name: str) -> list[str]:
    """The lines of code of the picture's upper part."""
    texts = [(float(t.get("y")), "".join(t.itertext()), t.get("class", "")) for t in drawn(name).iter(f"{SVG}text")]
    (told,) = [y for y, text, _ in texts if text == "tinygpt gradcheck layernorm.py"]
    found = [text for y, text, cls in texts if "code" in cls and y < told]
    assert len(found) > 15
    return found


def test_the_attention_maps_are_of_sentences_of_the_text_and_each_row_is_one_cup():
    text = TEXT.replace("\n", " ")
    for one in measured("attention_maps"):
        assert one["sentence"] in text
        weights = [[row for head in layer for row in head] for layer in one["weights"]]
        assert all(abs(sum(row) - 1) < 0.01 for rows in weights for row in rows)
        near = [np.mean([sum(row[-3:]) for row in rows if len(row) > 4]) for rows in weights]
        assert near[0] > 0.5 > 0.4 > near[1]  # the first block looks at what has just been
    first, second = (one["sentence"] for one in measured("attention_maps"))
    assert (first, second) == attention_maps.SENTENCES
    validation = int(0.9 * len(text))  # where that part begins
    assert text.index(first) < validation < text.index(second) and text.count(second) == 1


def test_the_embeddings_lie_as_the_lesson_says():
    found = measured("embeddings")
    second = {character: place[1] for character, place in found["places"].items()}
    assert max(second[c] for c in "aiou") < 0 < second["e"] + 0.1 < min(second[c] for c in ",.;:?")
    assert found["frequency"] > 0.9
    places = {c: (300 * x, -300 * y) for c, (x, y) in found["places"].items()}
    moved = embeddings.apart(places)
    assert max(np.hypot(*np.subtract(moved[c], places[c])) for c in places) < 20


def test_the_gradient_flows_as_the_lesson_says():
    before, after = (
        [place["stream"] for place in measured("gradient_flow")[key]] for key in ("before training", "after 600 steps")
    )
    assert max(before) < 1.3 * min(before)
    first = measured("gradient_flow")["after 600 steps"][3]["branch"][-1]
    assert first > 0.9 * after[-1] and after[2] < 0.1 * after[-1]


def test_the_three_gradients_of_the_score_agree():
    found = measured("step_page")
    assert np.allclose([found["chain"], found["nudged"]], found["engine"], rtol=1e-6)
    assert np.isclose(np.dot(found["q"], found["k"]) / 2, found["scores"][3][2], rtol=1e-4)


def test_the_score_is_the_one_that_the_step_page_has_there():
    found, step = measured("step_page"), record_step()
    at = 0, step_page.HEAD, step_page.ROW, step_page.COLUMN
    scores = step["h.0.attn/scores"]
    assert (scores.code, f"{scores.file}:{scores.line}") == (found["code"], found["where"])
    drawn_from = (
        found["scores"][3][2],
        found["nudged"],
    )  # else: python -m pictures --measure step_page
    assert np.allclose([scores.values[at], scores.derivative[at]], drawn_from, rtol=1e-3)


def test_the_ring_in_the_picture_is_whole_after_its_first_half_and_everywhere_after_its_second():
    after = [held for held, _ in ring.states()]
    assert len(after) == 7 and (np.count_nonzero(after[3] == 15, axis=1) == 1).all() and (after[6] == 15).all()
    desc = " ".join(drawn("ring").find(f"{SVG}desc").text.split())
    for first, rank in zip(ring.states()[1][1], range(4), strict=True):
        assert f"{first} at rank {rank}" in desc.replace("chunk ", "")
    assert "rank 0 chunk 1, rank 1 chunk 2, rank 2 chunk 3, rank 3 chunk 0" in desc
    assert [int(np.flatnonzero(row == 15)[0]) for row in after[3]] == [1, 2, 3, 0]


# Where they are shown


def test_every_picture_is_shown_somewhere_and_every_page_shows_what_exists():
    used = {path for page in PAGES for _, path in images(page)}
    assert {svg(name) for name in NAMES} <= used
    assert [path for path in used if not path.is_file()] == []
    assert all(len(alt) > 30 for page in PAGES for alt, path in images(page) if path.suffix == ".svg" and alt)


@pytest.mark.parametrize("colours", [False, True])
def test_a_terminal_says_what_a_picture_shows_and_where_it_is(colours, monkeypatch):
    monkeypatch.chdir(ROOT)
    console = display.Console(width=80, force_terminal=colours, color_system="standard" if colours else None)
    console.push_theme(display.STYLES)
    lesson = find_lessons(ROOT / "lessons")[7]
    (text,) = [cell.text for cell in lesson.cells if "layernorm_graph.svg" in cell.text]
    shown = display.markdown(text, console, folder=lesson.path.parent)
    plain = re.sub(r"\x1b\]8;[^\x1b]*\x1b\\|\x1b\[[\d;]*m", "", shown)
    assert "Picture pictures/layernorm_graph.svg: The eight numbers" in " ".join(plain.split())
    assert "🌆" not in shown and "![" not in shown and max(map(cell_len, plain.split("\n"))) <= 80
    assert (svg("layernorm_graph").as_uri() in shown) == colours


def test_the_kept_numbers_are_small_and_finite():
    for name in NAMES:
        if path_of(name).exists():
            assert path_of(name).stat().st_size < 20_000
            assert "NaN" not in json.dumps(measured(name)) and "Infinity" not in json.dumps(measured(name))
