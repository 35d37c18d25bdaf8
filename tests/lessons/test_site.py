"""`python -m lessons site`: pages that are whole, links that lead somewhere, a folder in which nothing is lost."""

import json
import os
import re
import signal
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

import pytest

from lessons import display
from lessons.__main__ import main
from lessons.course import Course
from lessons.web import lesson_runs, number_pages, search, site, site_folder
from lessons.web.coloured import html_of, plain
from lessons.web.markup import output
from lessons.web.number_pages import MAKERS
from lessons.web.pages import Pages, stylesheet
from tinygpt.errors import UserError
from tinygpt.gradcheck.own_process import ending

FOLDER = Path(__file__).parents[2] / "lessons"
RUN = 1, 7  # the lessons that are run here: one without plots and one with, seconds each
STANDING_IN = {name: f"<title>{name}</title>" for name in MAKERS}
ELSEWHERE = re.compile(r"(?:[a-z]+:)?//|[a-z]+:")


def course(folder=FOLDER):
    return Course(folder, folder / "work", display.make_console(False))


class Read(HTMLParser):
    """A page read: the names of its places, what it links to and what it loads, and the text of some elements."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.inside = [], [], [], []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        has = dict(attributes)
        self.ids += [has["id"]] if "id" in has else []
        self.links += [has["href"]] if tag == "a" else []
        self.loads += [has[name] for name in ("src", "srcset", "data") if name in has]
        self.loads += [has["href"]] if tag == "link" else []
        if tag in ("pre", "summary", "h2"):
            self.inside.append(f"{tag} {has.get('class', '')}".strip())
            self.texts.setdefault(self.inside[-1], []).append("")

    def handle_data(self, data):
        if self.inside:
            self.texts[self.inside[-1]][-1] += data

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1].split()[0] == tag:
            self.inside.pop()


@pytest.fixture(scope="module")
def ran():
    outcomes, wrong = lesson_runs.run_all([course().lessons[number] for number in RUN])
    assert wrong == []
    return outcomes


@pytest.fixture(scope="module")
def files(ran):
    """The site, of which two lessons were run."""
    with mock.patch.dict(MAKERS, {name: lambda _, text=text: text for name, text in STANDING_IN.items()}):
        return site.contents_of(Pages(course(), number_pages=MAKERS), ran)


@pytest.fixture(scope="module")
def read(files):
    return {name: Read(content.decode()) for name, content in files.items() if name.endswith(".html")}


# Pages


def test_lessons_docs_and_what_they_link_to_are_pages(files):
    names = {f"{lesson.path.stem}.html" for lesson in course().lessons.values()}
    names |= {f"docs/{path.stem}.html" for path in (FOLDER.parent / "docs").glob("*.md")}
    names |= {"README.html", "CONTRIBUTING.html", "CHANGELOG.html", "lessons/README.html", "index.html", *MAKERS}
    assert names <= files.keys()
    assert {"tinygpt/tokenizer/meta.py.html", "benchmarks/results/cuda.html", "docs/loss.png"} <= files.keys()
    assert all(files[name] for name in files if name != site.NO_JEKYLL)


def test_every_link_within_leads_to_a_place_that_is_there(files, read):
    for name, page in read.items():
        for link in page.links + page.loads:
            if ELSEWHERE.match(link):
                continue
            path, _, place = link.partition("#")
            target = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
            assert target in files, f"{name}: {link}"
            if place and target not in MAKERS:
                assert place in read[target].ids, f"{name}: {link}"


def test_no_place_of_a_page_has_the_name_of_another(read):
    for name, page in read.items():
        assert len(page.ids) == len(set(page.ids)), name


def test_no_page_loads_anything_from_elsewhere(files, read):
    for name, page in read.items():
        assert [load for load in page.loads if ELSEWHERE.match(load) and load != "data:,"] == [], name
    assert "url(" not in stylesheet() and "@import" not in stylesheet()
    for name in ("page.js", "search.js"):
        assert not re.search(rb"https?:|fetch\(|import\b|XMLHttpRequest", files[name]), name


def test_an_address_on_the_web_stays_as_it_is(read):
    assert "https://semver.org/" in read["CHANGELOG.html"].links


def test_a_lessons_page_has_what_its_cells_printed_and_drew(files, read, ran):
    for number in RUN:
        lesson = course().lessons[number]
        page, outs = read[f"{lesson.path.stem}.html"], []
        for printed, _ in ran[number].values():
            outs += [re.sub(r"plot: .*\n", "", plain(printed))]
        assert page.texts["pre out"] == [out for out in outs if out]
        assert len(ran[number]) == sum(cell.is_code for cell in lesson.cells)  # those of the answers too
    assert any(name.startswith("plots/07_layernorm-") for name in files)
    assert len(files["plots/07_layernorm-depth.png"]) > 5000


def test_what_proves_the_words_is_folded_and_nothing_is_left_out(read):
    for lesson in course().lessons.values():
        page = read[f"{lesson.path.stem}.html"]
        shown, whole = page.texts["pre source"], page.texts["pre source whole"]
        assert not any("sys.path" in code or re.search(r"^stated\(", code, re.MULTILINE) for code in shown)
        assert [cell.text for cell in lesson.cells if cell.is_code and cell.text not in [*shown, *whole]] == []
        assert page.texts["summary"].count("The answers") == 1


def test_an_exercise_says_what_to_type_and_holds_the_blank(read):
    shown = read["07_layernorm.html"].texts
    (commands,) = [code for code in shown["pre source"] if "lessons start" in code]
    lines = [line.partition("#")[0].strip() for line in commands.splitlines()]
    assert lines == [
        "python -m lessons web 7",
        "python -m lessons start layernorm",
        "python -m lessons check layernorm",
    ]
    assert course().exercises["layernorm"].blank().rstrip() in shown["pre source"]


def test_an_exercise_stands_at_the_end_of_the_part_that_asks_for_it(files):
    for lesson in course().lessons.values():
        page = files[f"{lesson.path.stem}.html"].decode()
        for exercise in course().of(lesson):
            before, after = page.split(f'id="exercise-{exercise.name}"')
            headings = re.findall(r'<h2 id="([^"]+)">([^<]+)', before)
            assert headings[-1][1].startswith(f"Your turn: {exercise.name}"), exercise
            assert re.search(r"<h2 |<p|<pre", after.partition("</section>")[2])[0] == "<h2 ", exercise


def test_the_index_says_what_each_lesson_teaches_and_asks_to_write(files):
    text = re.sub(r"<[^>]+>", "", files["index.html"].decode())
    for lesson in course().lessons.values():
        assert lesson.title in text and f"{lesson.minutes} min" in text
        assert all(exercise.name in text for exercise in course().of(lesson))
    assert "What would you do to a vector, so that the next layer need not care how large it is" in text


def test_lessons_lead_to_the_one_before_and_the_one_after(read):
    first, last = [f"{course().lessons[number].path.stem}.html" for number in (1, max(course().lessons))]
    assert "02_tokens.html" in read[first].links and first in read["02_tokens.html"].links
    assert read[last].links[-1] == f"{course().lessons[max(course().lessons) - 1].path.stem}.html"


def test_colours_of_a_terminal_become_those_of_the_page_and_all_else_is_text():
    upper, lower = "\x1b[38;2;196;82;0m", "\x1b[48;2;0;88;176m"
    square = '<i style="background:linear-gradient(#c45200 50%,#0058b0 50%);color:#0000">▀▀</i>'
    assert html_of(f"a {upper}{lower}▀▀\x1b[0m <b>\n") == f"a {square} &lt;b&gt;\n"
    assert html_of(f"{upper}█\x1b[0m") == '<i style="background:#c45200;color:#0000">█</i>'
    assert html_of(f"{lower}╱\x1b[49m.") == '<i style="background:#0058b0">╱</i>.'
    assert html_of("\x1b[1;31mred\x1b[m\x1b[2K \x1b]0;title\x07&\x1b[38;2;1;2m") == "red &amp;"
    assert plain(f"{upper}{lower}▀▀\x1b[0m\x1b[2K") == "▀▀"


def test_a_plot_stands_in_the_place_of_its_line_and_of_no_other():
    shown = output("plot: out/1-x.png\nplot: out/1-gone.png\n", plots=[("x", "plots/1-x.png")])
    assert shown.startswith(
        '<pre class="out" tabindex="0">plot: out/1-gone.png\n</pre><img class="plot" src="plots/1-x'
    )


# Search


def searched(live):
    pages = Pages(course(), live=live)
    script = search.script(pages)
    assert script.startswith("searchIn(") and script.endswith(");\n")
    return pages, json.loads(script.removeprefix("searchIn(").removesuffix(");\n"))


def test_every_heading_and_all_words_can_be_found(read):
    _, sections = searched(live=False)
    for address, _, heading, _ in sections:
        name, _, place = address.partition("#")
        assert not place or place in read[name].ids, address
        assert heading or not place, address
    found = {address for address, *_ in sections}
    for name, page in read.items():
        if name in MAKERS or name == "index.html" or name.endswith((".py.html", ".c.html")):
            continue
        headings = page.texts.get("h2", [])
        assert len([address for address in found if address.partition("#")[0] == name]) >= len(headings), name
    for lesson in course().lessons.values():
        words = " ".join(text for address, *_, text in sections if address.startswith(lesson.path.stem))
        assert [cell.text for cell in lesson.cells if cell.is_code and " ".join(cell.text.split()) not in words] == []


def test_a_live_search_tells_no_line_that_is_to_be_derived_and_no_answer():
    pages, sections = searched(live=True)
    words = " ".join(text for *_, text in sections)
    for lesson in pages.lessons.values():
        hidden = [cell.text for cell in lesson.cells if cell.derive or cell.is_answer]
        assert [text for text in hidden if len(text) > 200 and " ".join(text.split()) in words] == []


# The pages that are drawn from numbers


def test_the_step_page_leads_back_to_the_lessons():
    (lesson,) = number_pages.speaking(course(), ["h.0.ln_1/centred"])
    assert lesson["number"] == 7 and lesson["page"] == "07_layernorm.html"


def test_the_example_of_show_is_of_the_lessons_own_model(monkeypatch):
    from lessons import kit
    from tinygpt import GPT, GPTConfig
    from tinygpt.tokenizer import CharTokenizer

    tokenizer = CharTokenizer.train(kit.TEXT)
    config = GPTConfig(block_size=48, vocab_size=tokenizer.vocab_size, n_layer=1, n_head=2, n_embd=8)
    monkeypatch.setattr(kit, "tiny_gpt", lambda: (GPT(config), tokenizer))
    assert f"the model of lesson 15, {config.n_params:,} parameters" in number_pages.show_page(course())


# The folder


def kept(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="holds files that are no site of the lessons, and was left alone"):
        site_folder.files_of(tmp_path)
    assert kept(tmp_path) == {"thesis.tex": b"mine"}


@pytest.mark.parametrize("listed", ["", "[]", '{"files": 3}', '{"files": ["../thesis.tex"]}', '{"files": ["/etc/x"]}'])
def test_a_list_that_no_site_wrote_makes_no_folder_ours(tmp_path, listed):
    (tmp_path / site_folder.OURS).write_text(listed)
    with pytest.raises(UserError, match="no site of the lessons"):
        site_folder.files_of(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file; give the site a folder of its own"):
        site_folder.files_of(tmp_path / "file")
    with pytest.raises(UserError, match="is a file, and .* cannot be made in it"):
        site_folder.files_of(tmp_path / "file" / "site")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(UserError, match="is a link that leads nowhere; give the site a folder of its own"):
        site_folder.files_of(tmp_path / "link")


def test_a_folder_that_may_not_be_written_to_is_said_before_anything_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # who runs the tests may be allowed everything
    for folder in (tmp_path, tmp_path / "new" / "site"):
        with pytest.raises(UserError, match="could not write into .*: writing there is not allowed; give another"):
            site_folder.files_of(folder)


def test_a_second_site_takes_the_place_of_the_first_and_of_nothing_else(tmp_path):
    folder = tmp_path / "a" / "site"
    site_folder.write(folder, {"index.html": b"1", "old/page.html": b"1"}, site_folder.files_of(folder))
    (folder / "CNAME").write_text("mine")
    (folder / "old" / "mine.txt").write_text("mine")
    site_folder.write(folder, {"index.html": b"2", "new.html": b"2"}, site_folder.files_of(folder))
    names = {"index.html": b"2", "new.html": b"2", "CNAME": b"mine", "old/mine.txt": b"mine"}
    assert {name: text for name, text in kept(folder).items() if name != site_folder.OURS} == names


def test_what_is_in_the_way_of_a_page_is_named_before_anything_is_written(tmp_path):
    site_folder.write(tmp_path, {"index.html": b"1"}, [])
    (tmp_path / "new.html").write_text("mine")
    before = kept(tmp_path)
    with pytest.raises(UserError, match="new.html is in the way, and no site put it there"):
        site_folder.write(tmp_path, {"index.html": b"2", "new.html": b"2"}, site_folder.files_of(tmp_path))
    assert kept(tmp_path) == before


def test_a_site_that_was_interrupted_while_it_was_written_is_written_again(tmp_path, monkeypatch):
    whole, wrote = site_folder.write_atomically, []

    def interrupted(path, content):
        if len(wrote) == 2:
            raise KeyboardInterrupt
        wrote.append(path)
        whole(path, content)

    new = {"index.html": b"1", "a.html": b"1", "b.html": b"1"}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(site_folder, "write_atomically", interrupted)
        site_folder.write(tmp_path, new, site_folder.files_of(tmp_path))
    site_folder.write(tmp_path, new, site_folder.files_of(tmp_path))
    assert kept(tmp_path).keys() == {*new, site_folder.OURS}


# The command

GOOD = "# %% [markdown]\n# # 1. Good\n#\n# *5 minutes*\n#\n# **Why?**\n\n# %%\nprint('as it', 'should be')\n"
FAILS = "# %% [markdown]\n# # 2. Fails\n\n# %%\nprint('before')\n1 / 0\n\n# %%\nprint('after')\n"
ENDS = "# %% [markdown]\n# # 3. Ends\n\n# %%\nprint('<b>before</b>')\n\n# %%\nimport os\nos._exit(3)\n"


def test_a_cell_that_fails_is_named_and_the_other_pages_are_whole(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "lessons"
    folder.mkdir()
    for name, text in {"01_good.py": GOOD, "02_fails.py": FAILS, "03_ends.py": ENDS}.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(site, "MAKERS", {})
    assert main(["site", str(tmp_path / "site")], folder) == 1
    said = capsys.readouterr().out
    assert "cell 2 of lesson 2 did not come to its end: ZeroDivisionError: division by zero" in said
    assert "the process of lesson 3 ended after cell 2, with status 3" in said
    assert "4 pages" in said and (tmp_path / "site" / "index.html").as_uri() in said
    pages = {name: text.decode() for name, text in kept(tmp_path / "site").items()}
    assert "as it should be" in pages["01_good.html"]
    assert "ZeroDivisionError" in pages["02_fails.html"] and ">after\n<" in pages["02_fails.html"]
    assert "&lt;b&gt;before&lt;/b&gt;" in pages["03_ends.html"]


def test_a_cell_without_an_end_is_stopped_and_named(tmp_path, monkeypatch):
    (tmp_path / "01_endless.py").write_text("# %%\nprint(1)\n\n# %%\nwhile True:\n    pass\n\n# %%\nprint(2)\n")
    run = lesson_runs.LessonRun(course(tmp_path).lessons[1])

    class Told:
        def put(self, said):
            monkeypatch.setattr(lesson_runs, "LONGEST", 0.1)  # of the second cell

    run.read(Told())
    says = "stopped after 0.1 s; is there a loop without an end?"
    assert run.outcomes == {0: ("1\n", ""), 1: ("", f"{says}\n")}
    assert run.wrong == f"cell 2 of lesson 1 did not come to its end: {says}"


@pytest.mark.skipif(os.name != "posix", reason="elsewhere no signal ends a process")
def test_how_a_process_has_ended_is_said_by_its_signal_or_its_status():
    assert [ending(status) for status in (3, 0, -signal.SIGKILL)] == ["with status 3", "with status 0", "by SIGKILL"]
    assert ending(-signal.SIGRTMIN - 1) == f"by signal {signal.SIGRTMIN + 1}"  # which has no name


def test_an_interrupted_run_leaves_no_process(tmp_path, monkeypatch):
    (tmp_path / "01_endless.py").write_text("# %%\nprint(1)\n\n# %%\nwhile True:\n    pass\n")
    started = []

    class Seen(lesson_runs.LessonRun):
        def __init__(self, lesson):
            super().__init__(lesson)
            started.append(self.process.popen)

    monkeypatch.setattr(lesson_runs, "LessonRun", Seen)
    cells = lesson_runs.at_once([course(tmp_path).lessons[1]] * 9)  # more than are run at once
    assert next(cells) == 0
    cells.close()
    assert started and all(process.wait(20) is not None for process in started)


@pytest.mark.parametrize("words, says", [(["7"], "takes a folder"), (["a", "b"], "unknown argument b")])
def test_it_takes_one_folder_and_no_number(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) if words[1:] else monkeypatch.context():
        assert main(["site", *words]) == 1
    assert says in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
