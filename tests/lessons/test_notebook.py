"""A lesson opened as a notebook: its cells run one by one, in a kernel that was started in any folder.

What Jupyter and VS Code open it with, jupytext and a kernel, come with the extra `notebooks`; without them a stand-in
for a kernel is all that is tried.
"""

import json
import os
import sys
from pathlib import Path

import pytest

from lessons.cells import find_lessons
from tests import children

ROOT = Path(__file__).parents[2]
LESSONS = find_lessons(ROOT / "lessons")
NEEDED = "lessons are opened as notebooks with jupytext, nbclient and ipykernel (pip install -e '.[notebooks]')"
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


@pytest.mark.parametrize("number", LESSONS)
def test_jupytext_sees_the_cells_that_the_stepper_sees(number):
    jupytext = pytest.importorskip("jupytext", reason=NEEDED)
    notebook = jupytext.read(LESSONS[number].path)
    seen = [(cell.cell_type == "code", cell.source) for cell in notebook.cells]
    assert seen == [(cell.is_code, cell.text) for cell in LESSONS[number].cells]


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Runs a notebook in a kernel that is started in a folder."""
    nbclient = pytest.importorskip("nbclient", reason=NEEDED)
    pytest.importorskip("ipykernel", reason=NEEDED)
    v4 = pytest.importorskip("nbformat.v4", reason=NEEDED)
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "TINYGPT_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    manager = nbclient.client.KernelManager(kernel_name="python3")
    manager.kernel_spec.argv[:] = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]

    def run(cells, folder):
        notebook = v4.new_notebook(cells=cells)
        nbclient.NotebookClient(
            notebook, km=manager, timeout=120, resources={"metadata": {"path": ROOT / folder}}
        ).execute()
        return notebook

    return run


def cells_of(number):
    return pytest.importorskip("jupytext", reason=NEEDED).read(LESSONS[number].path).cells


@pytest.mark.parametrize("folder", [".", "lessons"])
def test_every_lesson_begins_in_a_kernel(kernel, folder):
    kernel([next(cell for cell in cells_of(number) if cell.cell_type == "code") for number in LESSONS], folder)


@pytest.mark.parametrize(("number", "folder"), [(3, "."), (7, "lessons"), (9, ".")])
def test_a_lesson_runs_in_a_kernel_and_shows_what_it_draws(kernel, number, folder):
    notebook = kernel(cells_of(number), folder)
    shown = [name for cell in notebook.cells for output in cell.get("outputs", ()) for name in output.get("data", ())]
    drawn = sum("with plot(" in cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert shown.count("image/png") == drawn > 0
