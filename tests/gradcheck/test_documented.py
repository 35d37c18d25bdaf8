"""The tests that docs/gradients.md shows for a project of one's own: they run, and say what the page says they say."""

import os
import re
from pathlib import Path

from tests import children
from tinygpt.gradcheck.precision import BY_COARSENESS

PAGE = Path(__file__).parents[2] / "docs" / "gradients.md"
TEXT = PAGE.read_text(encoding="utf-8")
LAYERS, TESTS = re.findall(r"```py\n(# (?:layers|test_gradients)\.py\n.*?)```", TEXT, re.DOTALL)


def pytest_on(folder: Path, layers: str) -> tuple[int, str]:
    (folder / "layers.py").write_text(layers, encoding="utf-8")
    (folder / "test_gradients.py").write_text(TESTS, encoding="utf-8")
    arguments = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_gradients.py")
    done = children.run(*arguments, cwd=folder, env=os.environ | {"PYTHONPATH": str(PAGE.parents[1])})
    return done.returncode, done.stdout


def test_the_examples_for_ci_pass_and_fail_as_the_page_says(tmp_path):
    status, said = pytest_on(tmp_path, LAYERS)
    assert status == 0 and re.search(r"(5 passed|4 passed, 1 skipped)", said), said
    status, said = pytest_on(tmp_path, LAYERS.replace("x.T @ dout", "2 * x.T @ dout"))
    shown = TEXT.split("doubled, `pytest` says under a table\n\n```\n")[1].split("```")[0]
    assert status == 1 and set(shown.splitlines()) - {"..."} <= set(said.splitlines()), said


def test_a_project_may_be_checked_by_the_command_too(tmp_path):
    (tmp_path / "layers.py").write_text(LAYERS + "\n\ninputs = [np.eye(4, 5)]\nmake = lambda: LayerNorm(5)\n")
    done = children.run("-m", "tinygpt", "gradcheck", tmp_path / "layers.py", cwd=PAGE.parents[1])
    assert done.returncode == 0 and "dgamma" in done.stdout, done.stderr


def test_the_table_of_dtypes_is_what_is_used():
    rows = re.findall(r"^\| (float\d\d) \| (\S+) \| (\S+) \|", TEXT, re.MULTILINE)
    assert [(name, float(step), float(tolerance)) for name, step, tolerance in rows] == [
        (precision.name, precision.step, precision.tolerance) for precision in BY_COARSENESS
    ]
