"""A lesson opened as a notebook: its cells run one by one, in a kernel that was started in any folder."""

import json
import os
from pathlib import Path

import pytest

from lessons.cells import find_lessons
from tests import children

ROOT = Path(__file__).parents[2]
LESSONS = find_lessons(ROOT / "lessons")
# As a kernel does it: '' is first on the path, __main__ has no file, and a cell's source is kept for tracebacks
KERNEL = """
import json, linecache, sys
def run(sources):
    for number, source in enumerate(sources):
        name = f"<cell {number}>"
        linecache.cache[name] = len(source), None, source.splitlines(True), name
        exec(compile(source, name, "exec"), vars(sys.modules["__main__"]))
sources = json.loads(sys.stdin.readline())
run(sources)
import kit
print(kit.FOLDER)
"""


@pytest.mark.parametrize("folder", ["the root", "lessons", "elsewhere"])
def test_a_lesson_runs_as_a_notebook_whatever_folder_it_is_started_in(folder, tmp_path):
    cells = [cell.text for cell in LESSONS[2].cells if cell.is_code]
    places = {"the root": ROOT, "lessons": ROOT / "lessons", "elsewhere": tmp_path}
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TINYGPT_CACHE": str(tmp_path / "cache")}
    with children.started("-c", KERNEL, cwd=places[folder], env=environment, stdin=-1) as process:
        out, err = process.communicate(json.dumps(cells) + "\n")
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == str(ROOT / "lessons") and "space taken along" in out


@pytest.mark.parametrize("number", LESSONS)
def test_every_lesson_finds_kit_beside_tinygpt_before_it_imports_it(number):
    first = next(cell.text for cell in LESSONS[number].cells if cell.is_code)
    before, imports, _ = first.replace("from heat import heat\n", "").partition("from kit import ")
    assert imports and before.endswith(
        'import tinygpt\n\nsys.path += [f"{tinygpt.__path__[0]}/../lessons"]  '
        "# where kit is, whatever folder a notebook runs in\n"
    )
    assert "import sys\n" in before
