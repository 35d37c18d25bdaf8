"""The recipes of CONTRIBUTING.md, performed on a copy of the project: what a folder of `tests/recipes/` holds is added
to it, no file of it is edited, and everything finds what is new.
"""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests import children
from tinygpt import emulator

ROOT = Path(__file__).parents[1]
RECIPES = Path(__file__).with_name("recipes")
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "out", "out-*", "work")


def perform(recipe, project):
    for path in (RECIPES / recipe).rglob("*.*"):
        target = project / path.relative_to(RECIPES / recipe)
        if path.is_file() and path.suffix != ".pyc":
            assert target.parent.is_dir() and not target.exists(), f"{target} is no new file in a folder that was there"
            shutil.copy(path, target)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project after all recipes but the lesson's, which asks for the layer."""
    project = tmp_path_factory.mktemp("recipes") / "project"
    shutil.copytree(ROOT, project, ignore=LEFT_OUT)
    for recipe in ("layer", "cpu_twin", "cuda_twin", "optimizer"):
        perform(recipe, project)
    return project


@pytest.fixture(scope="module")
def run(project):
    """Runs Python in the copy; returns what it printed."""

    def run(*arguments, status=0):
        done = children.run(*arguments, cwd=project, env=os.environ | {"PYTHONPATH": str(project)})
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    return run


def passed(run, names, *files):
    """The tests with such names in these files, as "layers/test_contract.py::test_...", all of which passed."""
    said = run("-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", names, *(f"tests/{file}" for file in files))
    return re.findall(r"^tests/(.*) PASSED", said, re.MULTILINE)


@pytest.fixture(scope="module")
def tests_of_leaves(run):
    """The tests that know what the recipes bring: those of layers, twins and gradients."""
    names = "rmsnorm or (twin and softmax)"
    return passed(run, names, "layers", "kernels", "cuda", "gradcheck", "test_own_layers.py")


def files_with(tests, words):
    return {test.partition("::")[0] for test in tests if words in test}


def test_a_layer_is_its_definition_and_its_proof(run, tests_of_leaves, tmp_path):
    said = run("-m", "tinygpt", "gradcheck", "rmsnorm")
    assert "rmsnorm, two axes, large eps" in said and "all 2 checks right" in said
    right, mine = RECIPES / "layer" / "tinygpt" / "layers" / "rmsnorm.py", tmp_path / "mine.py"
    mine.write_text(right.read_text().replace("dxhat = dout * w", "dxhat = dout"))
    assert "dx lacks the gain" in run("-m", "tinygpt", "gradcheck", mine, "--as=rmsnorm", status=1)
    assert files_with(tests_of_leaves, "rmsnorm") >= {
        "layers/test_contract.py", "layers/test_properties.py", "cuda/test_layers.py", "gradcheck/test_suite.py",
        "gradcheck/test_edits.py", "gradcheck/test_mutants.py", "gradcheck/test_diagnosis.py", "test_own_layers.py",
    }  # fmt: skip


def test_a_cpu_twin_is_one_file(run, tests_of_leaves):
    assert "kernels.cpu.softmax" in run("-c", "from tinygpt import ops; print(ops.build().softmax.__name__)")
    assert "softmax, fast twin, masked" in run("-m", "tinygpt", "gradcheck", "softmax")
    assert files_with(tests_of_leaves, "softmax, fast twin") >= {
        "layers/test_contract.py", "layers/test_properties.py", "kernels/test_cpu.py", "gradcheck/test_suite.py",
    }  # fmt: skip


@pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))
def test_a_cuda_twin_is_a_kernel_and_what_launches_it(run, tests_of_leaves):
    on_the_stand_in = (
        "from tests.cuda import strict_cupy\n"
        "with strict_cupy.installed():\n"
        "    from tinygpt import cli, ops\n"
        "    print(ops.build('auto', 'cuda').softmax.__name__, cli.main(['gradcheck', 'softmax', '--device=cuda']))\n"
    )
    said = run("-c", on_the_stand_in)
    assert "softmax, fast twin, masked" in said and "tinygpt.kernels.cuda.softmax 0" in said
    assert files_with(tests_of_leaves, "softmax, fast twin, cuda") >= {
        "layers/test_contract.py", "layers/test_properties.py", "cuda/test_layers.py",
    }  # fmt: skip


def test_an_optimizer_is_one_file(run, tmp_path):
    tiny = "--n_layer=1 --n_head=2 --n_embd=16 --block_size=8 --batch_size=4 --lr_decay_iters=6 --eval_iters=1".split()

    def weights_and_state(folder, *more):
        run("train.py", f"--out_dir={tmp_path / folder}", "--device=cpu", *more)
        return {path.name: path.read_bytes() for path in (tmp_path / folder).glob("last/step-*/*.safetensors")}

    new = [f"--data={ROOT / 'tests' / 'memorised.txt'}", *tiny, "--optimizer=lion"]
    at_once = weights_and_state("at once", *new, "--max_iters=6")
    halted = weights_and_state("halted", *new, "--max_iters=3")
    assert len(at_once) == 2 and halted != at_once
    assert weights_and_state("halted", "--init_from=resume", "--max_iters=6") == at_once


def test_a_lesson_declares_its_exercises(run, project):
    perform("lesson", project)
    assert re.search(r"^ *20  RMSNorm +10 min +rmsnorm$", run("-m", "lessons"), re.MULTILINE)
    assert "rmsnorm.py is written" in run("-m", "lessons", "start", "20")
    assert "is as it was given" in run("-m", "lessons", "check", "rmsnorm", status=1)
    shutil.copy(project / "tinygpt" / "layers" / "rmsnorm.py", project / "lessons" / "work")
    assert "rmsnorm is right" in run("-m", "lessons", "check", "20")
    tests = passed(run, "rmsnorm", "lessons/test_lessons.py")
    assert {re.sub(r".*::(.*)\[.*", r"\1", test) for test in tests} >= {
        "test_a_lesson_runs_and_needs_no_later_one_and_its_exercises_fail_blank_and_pass_filled", "test_the_form",
        "test_numbers_in_the_words_are_computed", "test_there_are_three_hints_that_are_not_the_solution",
    }  # fmt: skip
