import shutil
from pathlib import Path

import pytest

from lessons.__main__ import main
from lessons.cells import find_lessons
from lessons.exercises import find_exercises

LESSONS = Path(__file__).parents[2] / "lessons"

FIRST = """\
# %% [markdown]
# # 1. Small arrays
#
# Prose with `code`, **weight** and a [source](https://example.org/page).

# %%
import os

x = 2
print("first cell", os.path.basename(__file__))

# %% [markdown]
# ## More
#
# A second piece of prose, long enough that a narrow terminal has to fold it somewhere, as it must fold the code below.

# %%
print("x is", x, "after a line of code that is longer than forty characters")

# %%
y = 10 * x
print("y is", y)

# %% [markdown]
# ## Your turn: windows_at
#
# The last words.
"""

SECOND = """\
# %% [markdown]
# # 2. Trouble
#
# ## Your turn: merge, draw (draw)

# %%
import time
from pathlib import Path


def fail(what):
    raise ValueError(what)


# %%
wrong = True
if wrong:
    fail("on purpose")

# %%
print("waiting", flush=True)
while not Path("do not wait").exists():
    time.sleep(0.01)
print("waited")
"""

THIRD = "# %% [markdown]\n# # 3. To read\n\n# %%\nprint('nothing to write here')\n"

HINTS = "Which number?\n\n---\n\nA **small** one.\n\n---\n\n`1`\n"


@pytest.fixture
def folder(tmp_path):
    """The lessons' programs, in a folder of their own with three small lessons that ask for three parts."""
    folder = tmp_path / "lessons"
    (folder / "hints").mkdir(parents=True)
    for path in LESSONS.glob("[!0-9]*.py"):
        shutil.copy(path, folder)
    shutil.copytree(LESSONS / "web", folder / "web", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in {"01_arrays.py": FIRST, "02_trouble.py": SECOND, "03_reading.py": THIRD}.items():
        (folder / name).write_text(text)
    for name in ("windows_at", "merge", "draw"):
        (folder / "hints" / f"{name}.md").write_text(HINTS)
    return folder


DERIVING = """\
# %% [markdown]
# # 4. A shift and a scale
#
# *15 minutes*
#
# What comes back through a number that is used twice?

# %%
import numpy as np


def stated(text, value):
    assert float(text) == value


rng = np.random.default_rng(1)
x, w = rng.standard_normal((2, 3)), rng.standard_normal(3)
dout = rng.standard_normal((2, 3))
stated("6", x.size)

# %% [markdown]
# ## Forward


# %%
def forward(x, w):
    scaled = x * w  # (N, C)
    out = scaled + x  # (N, C)
    return out, (x, w)


print("out", forward(x, w)[0].sum().round(3))

# %% [markdown]
# Out uses x twice. Now you:


# %% derive: backward(dout, forward(x, w)[1])
def backward(dout, cache):
    x, w = cache
    dx = dout  # (N, C)
    dscaled = dout  # (N, C)
    dw = (dscaled * x).sum(axis=0)  # (N, C) -> (C,)
    dx = dx + dscaled * w  # (N, C)
    return dx, dw


# %%
for row in range(40):
    print(f"row {row} of forty")

# %%
print("wide " + 30 * "0123456789")
print("1 of 2", end="\\r")
print("2 of 2", end="\\r")
for text, value in (("4", 2 + 2), ("5", 2 + 3)):
    stated(text, value)
# three
assert x.shape == (2, 3)

# %% [markdown]
# ## Your turn: merge
#
# Here, in the middle.

# %% [markdown]
# ## Questions to think about
#
# 1. How often is x used?
#
# Answers: `python -m lessons answers 4`

# %% [markdown]
# ## Answers
#
# **1. Twice.** As one sees:

# %%
print("answered:", "x" in globals())
"""


@pytest.fixture
def deriving(folder):
    """The folder with a fourth lesson: one that derives, prints much, asks in its middle and answers at its end."""
    (folder / "02_trouble.py").unlink()  # it asks for the same exercise
    (folder / "04_deriving.py").write_text(DERIVING)
    return folder


@pytest.fixture
def at_once(folder):
    """The folder of a reader who has turned the waiting off: cells are run as they are shown."""
    (folder / "work").mkdir()
    (folder / "work" / "progress.json").write_text('{"version": 1, "lessons": {}, "exercises": {}, "waits": false}')
    return folder


@pytest.fixture
def lessons(folder, capsys, monkeypatch):
    """Runs a command on the small lessons; returns its status, what it printed and what it complained of."""
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("COLUMNS", "80")

    def run(line: str) -> tuple[int, str, str]:
        try:
            status = main(line.split(), folder)
        except SystemExit as exit:
            status = exit.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    run.exercises = find_exercises(find_lessons(folder))
    return run


@pytest.fixture
def work(folder):
    return folder / "work"
