"""What stands behind the open pages: their tabs, and the progress that they share with the terminal."""

import threading

import pytest

from lessons.progress import changing, load
from lessons.web import tab, tabs
from tests.lessons.serving import OpenPage, asked, of, serving
from tests.lessons.terminal import Terminal, terminal
from tinygpt.errors import UserError


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("web") / "work") as server:
        yield server


def test_a_page_that_is_loaded_anew_has_its_tab_and_a_copy_of_it_its_own(server, monkeypatch):
    monkeypatch.setattr(tabs, "LEAVES", 0.05)
    page = OpenPage(server, 7)
    assert page.anew().tab == page.tab
    assert OpenPage(server, 7, page.tab).tab != page.tab  # the first is there still
    page.ask("bye", tab=page.tab)
    assert OpenPage(server, 8, page.tab).tab != page.tab


def test_a_page_that_says_late_that_it_was_left_has_its_tab(server, monkeypatch):
    monkeypatch.setattr(tabs, "LEAVES", 60)
    page, loaded = OpenPage(server, 7), []
    loading = threading.Thread(target=lambda: loaded.append(OpenPage(server, 7, page.tab)))
    loading.start()
    page.ask("bye", tab=page.tab)
    loading.join(60)
    assert loaded[0].tab == page.tab


def test_a_page_in_the_background_is_kept_and_one_that_was_left_is_not(server, monkeypatch):
    background, left, silent = OpenPage(server, 7), OpenPage(server, 7), OpenPage(server, 7)
    left.ask("bye", tab=left.tab)
    for page in (background, left):
        server.tabs[page.tab].heard -= tab.SILENT - 60
    server.tabs[silent.tab].heard -= tab.SILENT
    server.tabs.sweep()
    assert background.tab in server.tabs.tabs and not {left.tab, silent.tab} & server.tabs.tabs.keys()


# The learner's progress


def test_the_place_and_the_end_are_kept_as_the_terminal_keeps_them(server):
    page = OpenPage(server, 7)
    kept = lambda: load(server.course.work).lesson(7)  # noqa: E731
    page.ask("place", lesson=7, cell=5)
    assert kept().place == 5 and page.anew().state["place"] == 5
    assert not page.ask("ended", tab=page.tab)["ended"] and not kept().ended
    for index, cell in enumerate(server.course.lessons[7].body):
        if cell.is_code:
            server.tabs[page.tab].shown[index] = {"came": index}
    said = page.ask("ended", tab=page.tab)
    assert said["ended"] and (said["next"]["words"], said["next"]["href"]) == (
        "write layernorm", "07_layernorm.html#exercise-layernorm",
    )  # fmt: skip
    assert kept().ended and kept().place == 0


def test_a_place_that_cannot_be_kept_is_said_and_the_cell_runs(server, monkeypatch):
    page = OpenPage(server, 7)
    monkeypatch.setattr(page.server.course.work.__class__, "exists", lambda path: False)
    monkeypatch.setattr("lessons.progress.write_atomically", _full)
    page.do("run", cell=1)
    assert "could not write" in of(page.until("note"), "note")[0]["note"]
    assert of(page.until("came"), "came")
    status, content = asked(server, "/waits", {"waits": False})
    assert status == 400 and "could not write" in content
    server.tabs[page.tab].end()


def _full(path, _):
    raise UserError(f"could not write {path}: No space left on device")


def test_no_change_of_the_progress_is_lost_when_several_pages_write(server):
    def write(number):
        for cell in range(20):
            with changing(server.course.work) as progress:
                progress.lesson(number).place = cell

    writing = [threading.Thread(target=write, args=(number,)) for number in (1, 2, 3)]
    for thread in writing:
        thread.start()
    for thread in writing:
        thread.join(60)
    assert [load(server.course.work).lesson(number).place for number in (1, 2, 3)] == [19, 19, 19]


def test_a_function_that_is_derived_is_kept_unless_a_line_was_given(deriving):
    with serving(deriving / "work", deriving) as server:
        page = OpenPage(server, 4)
        (cell,) = (index for index, cell in enumerate(server.course.lessons[4].cells) if cell.derive)
        call = server.course.lessons[4].cells[cell].derive
        page.do("derive", cell=cell)
        (begun,) = of(page.until(), "derive")
        assert begun["wanted"] == {"dx": 2, "dscaled": 1, "dw": 1} and begun["there"]["dout"] == "(2,3)"
        page.do("line", cell=cell, line="dx = -dout")
        assert of(page.until(), "derive")[0]["stands"] is False
        page.do("reveal", cell=cell)
        assert of(page.until(), "derive")[0]["line"] == "dx = dout"
        again = [{**event} for event in of(page.anew().state["events"], "derive")]
        assert [event.get("line") for event in again] == [None, "dx = -dout", "dx = dout"]
        lines = ["dscaled = dout", "dw = (dscaled * x).sum(axis=0)", "dx = dx + dscaled * w"]
        for line in lines:
            page.do("line", cell=cell, line=line)
        assert of(page.until(), "derive")[-1]["done"]
        assert load(deriving / "work").lesson(4).derived == []
        page.do("derive", cell=cell)
        for line in ["dx = dout", *lines]:
            page.do("line", cell=cell, line=line)
        assert of(page.until(), "derive")[-1]["done"]
        kept = load(deriving / "work").lesson(4)
        assert (kept.derived, kept.place) == ([call], cell)
        page.do("line", cell=cell, line="__import__('os')._exit(1)")
        assert of(page.until("ended"), "ended")
        page.do("line", cell=cell, line="dx = dout")
        assert "anew" in of(page.until(), "derive")[-1]["broken"]


@terminal
def test_one_can_change_to_the_terminal_in_the_middle_and_back(folder):
    with serving(folder / "work", folder) as server:
        page = OpenPage(server, 1)
        page.run(3)
        assert load(folder / "work").lesson(1).place == 3
        with Terminal(folder, 1, NO_COLOR="1") as screen:
            shown = screen.until()
            assert "first cell" not in shown and "cell 4 of 6 [Enter runs it" in shown  # the cell that was run last
            screen.after("")
            assert "cell 5 of 6" in screen.after("")
            screen.type("q\n")
            screen.rest()
        page = page.anew()
        assert page.state["place"] == load(folder / "work").lesson(1).place == 4
        page.run(4)
        assert page.ask("ended", tab=page.tab)["ended"]
        with Terminal(folder, 1, NO_COLOR="1") as screen:
            assert "cell 2 of 6" in screen.until()
            screen.type("q\n")
            screen.rest()
        kept = load(folder / "work").lesson(1)
        assert (kept.place, kept.ended) == (0, True)
