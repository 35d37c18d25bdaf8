"""The step page in a real browser: a recording made once, and pages of it opened from a file."""

import contextlib
import copy
import json
import os
import shutil

import numpy as np
import pytest

from tests.lessons.serving import serving
from tinygpt.pages import page
from tinygpt.recorder import record_step, step
from tinygpt.recorder.data import page_data

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
NEEDED = "the pages are looked at with playwright (pip install -e '.[pages]') and a chromium (or TINYGPT_CHROMIUM)"
LESSONS = [
    {"number": 7, "title": "LayerNorm", "minutes": 40, "command": "python -m lessons 7", "keys": ["h.0.ln_1/centred"]},
    {"number": 9, "title": "Attention", "minutes": 55, "command": "python -m lessons 9", "keys": ["h.0.attn/scores"]},
]


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason=NEEDED)
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("TINYGPT_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(NEEDED)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


def chained(step, *_):
    """What nudging every number gives, by the chain rule instead, in a hundredth of the time."""
    recorder = getattr(step, "recorder", step)
    made = {array.id: array for array in recorder.arrays if array.kind != "backward"}
    for array in made.values():
        array.derivative = np.zeros(array.values.shape)
    *_, last = made.values()
    last.derivative[...] = 1
    for array in reversed(made.values()):
        if array.terms:
            of, source, element, by = array.terms
            for id in np.unique(source):
                at = source == id
                onward = by[at] * array.derivative.reshape(-1)[of[at]]
                np.add.at(made[id].derivative.reshape(-1), element[at], onward)
    return True


def recorded(text=step.TEXT):
    """A step's recording as the page takes it; the recorder's own tests are those that nudge."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "_nudge", chained)
        return page_data(record_step(text)) | {"lessons": LESSONS}


@pytest.fixture(scope="session")
def data(browser):
    return recorded()


def marked(data, key):
    """The same with marks, as of a reader's layer that is wrong from the array of this key on."""
    data = copy.deepcopy(data)
    first = next(array for array in data["arrays"] if array["key"] == key)
    for array in data["arrays"]:
        array["differs"] = array["id"] >= first["id"] and array["pass"] != "param"
    made = next(call for call in data["calls"] if call["id"] == first["call"])
    for call in data["calls"]:
        call["mine"] = call["file"] == made["file"]
    says = f"This step parts from the engine's at {first['name']}."
    return data | {"first": key, "mine": {"parts": ["layernorm"], "says": says}}


@pytest.fixture(scope="session")
def wrong(data):
    return marked(data, "h.1.ln_2/dx")


@pytest.fixture(scope="session")
def write(tmp_path_factory):
    """Writes data as a page, once, and says where."""
    written = {}

    def where(data):
        text = json.dumps(data)
        if text not in written:
            written[text] = tmp_path_factory.mktemp("page") / "step.html"
            written[text].write_text(page("step", data, "One training step"), encoding="utf-8")
        return written[text]

    return where


@pytest.fixture(scope="module")
def context(browser):
    context = browser.new_context()
    context.set_default_timeout(30_000)
    yield context
    context.close()


@contextlib.contextmanager
def tabs(context):
    """Opens addresses, each in a tab of its own, which says what it `asked` for and what `failed` of that; no script
    of theirs may fail.
    """
    opened = []

    def at(address, width=1440, dark=False, height=900):
        tab = context.new_page()
        opened.append(tab)
        tab.set_viewport_size({"width": width, "height": height})
        tab.emulate_media(color_scheme="dark" if dark else "light")
        tab.errors, tab.asked, tab.failed = [], [], []
        tab.on("pageerror", lambda error: tab.errors.append(str(error)))
        tab.on("request", lambda request: tab.asked.append(request.url))
        tab.on("requestfailed", lambda request: tab.failed.append(request))
        tab.goto(address)
        return tab

    yield at
    for tab in opened:
        tab.close()
    assert not [error for tab in opened for error in tab.errors]


@pytest.fixture
def opened(context, write, data):
    """opened(hash, width=..., dark=..., of=...): the page in a tab of its own, with all that it asked for."""
    with tabs(context) as tab:
        yield lambda hash="", of=None, **looks: tab(write(of or data).as_uri() + hash, **looks)


@pytest.fixture
def live(context, tmp_path):
    """live(page, width=..., dark=...): a live page in a tab of its own; its server is `live.server`, and the learner's
    files lie in `live.work`.
    """
    with serving(tmp_path / "work") as server, tabs(context) as tab:

        def at(page="07_layernorm.html", **looks):
            return tab(f"http://127.0.0.1:{server.server_port}/{page}#key={server.key}", **looks)

        at.server, at.work = server, tmp_path / "work"
        yield at


@pytest.fixture(scope="session")
def found():
    """found(tab): what axe has against a page, a line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=NEEDED).Axe()

    def found(tab):
        return [
            f"{violation['id']}: {node['html'][:150]} {node['any'][:1]}"
            for violation in axe.run(tab).response["violations"]
            for node in violation["nodes"]
        ]

    return found
