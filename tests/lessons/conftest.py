import shutil
from pathlib import Path

import pytest

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
    for name, text in {"01_arrays.py": FIRST, "02_trouble.py": SECOND, "03_reading.py": THIRD}.items():
        (folder / name).write_text(text)
    for name in ("windows_at", "merge", "draw"):
        (folder / "hints" / f"{name}.md").write_text(HINTS)
    return folder
