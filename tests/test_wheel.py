"""The wheel, installed where nothing else is but what it asks for, and used from another folder."""

import importlib.metadata
import os
import shutil
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests import children

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tinygpt"
TEXT = Path(__file__).with_name("memorised.txt")
TINY = "--n_layer=1 --n_head=2 --n_embd=16 --block_size=8 --batch_size=4 --max_iters=3 --eval_iters=1 --device=cpu"
WITHOUT_OURS = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="what the wheel needs is linked, which Windows may not allow")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of an environment's packages: the wheel, built from a clean copy, and all that it asks for."""
    pytest.importorskip("pip", reason="pip is not installed; it builds the wheel and installs it")
    source, wheels, environment = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "environment"))
    shutil.copytree(PACKAGE, source / "tinygpt", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-build-isolation", f"--wheel-dir={wheels}", source)
    venv.create(environment, symlinks=True)
    pip(f"--python={environment / 'bin' / 'python'}", "install", "--no-index", *wheels.iterdir())
    (package,) = environment.glob("lib/python*/site-packages/tinygpt")
    (information,) = package.parent.glob("tinygpt-*.dist-info")
    link_what_it_asks_for(importlib.metadata.Distribution.at(information), package.parent)
    return package.parent


def pip(*arguments):
    done = children.run("-m", "pip", "--disable-pip-version-check", *arguments, "--no-deps", env=WITHOUT_OURS)
    assert done.returncode == 0, done.stderr


def link_what_it_asks_for(distribution, folder):
    for line in distribution.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed = importlib.metadata.distribution(requirement.name)
            for name in {file.parts[0] for file in needed.files} - {"..", "__pycache__"}:
                if not (folder / name).exists():
                    (folder / name).symlink_to(needed.locate_file(name))
            link_what_it_asks_for(needed, folder)


@pytest.fixture
def python(installed, tmp_path):
    """Runs the environment's Python in a folder of its own."""

    def run(*arguments):
        done = children.run(*arguments, python=installed.parents[2] / "bin" / "python", cwd=tmp_path, env=WITHOUT_OURS)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_wheel_has_every_file_of_the_package(installed):
    def files(folder):
        return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}

    assert files(installed / "tinygpt") == files(PACKAGE)


def test_the_wheel_has_the_kernels_and_the_emulators_sources(installed):
    """Which are no Python, and which nothing imports."""
    kernels, emulator = (installed / "tinygpt" / folder for folder in ("kernels/cuda", "emulator"))
    assert {path.stem for path in kernels.glob("*.cu")} >= {"attention", "layernorm", "gelu", "lm_head_loss", "adamw"}
    assert list(kernels.glob("*.h")) and list(emulator.glob("*.h")) and list(emulator.glob("*.cpp"))


def test_from_another_folder_it_trains_samples_and_checks_a_gradient(installed, python):
    command = installed.parents[2] / "bin" / "tinygpt"
    assert "best val loss" in python(command, "train", f"--data={TEXT}", *TINY.split())
    assert len(python(command, "sample", "--max_new_tokens=20")) > 20
    assert "checks right" in python(command, "gradcheck", "layernorm")


def test_from_another_folder_it_is_imported(installed, python):
    code = (
        "import numpy, tinygpt; from tinygpt import GPT, GPTConfig; "
        "model = GPT(GPTConfig(block_size=8, vocab_size=7, n_layer=1, n_head=2, n_embd=8)); "
        "idx = numpy.arange(6)[None]; loss, cache = model.loss(idx, idx); "
        "assert model.backward(cache).keys() == model.params.keys(); print(tinygpt.__file__)"
    )
    assert Path(python("-c", code).strip()) == installed / "tinygpt" / "__init__.py"
