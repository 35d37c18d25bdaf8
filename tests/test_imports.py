"""The map of the code, proved: who may import whom, and where cupy is allowed."""

import ast
import re
from pathlib import Path

import pytest

import tinygpt

ROOT = Path(tinygpt.__file__).parent
ORDER = [  # a module imports only from those above it
    "errors", "files", "backend", "layers", "kernels", "sample", "ops", "parameters", "optim", "checkpoint", "model",
    "costs", "parallel", "gradcheck", "tokenizer", "data", "mine", "train", "nanogpt_config", "screens", "cli",
    "__main__",
]  # fmt: skip
MODULES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The full names a module imports, such as tinygpt.backend or numpy; relative imports are refused."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import; a copy in a learner's folder could not run"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(parts) -> str:
    return parts[0] if parts else "tinygpt"


def test_every_module_stands_in_the_order():
    rooms = {path.relative_to(ROOT).with_suffix("").parts[0] for path in MODULES}
    assert rooms - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_upwards(path):
    here = path.relative_to(ROOT).with_suffix("").parts[0]
    if here == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "tinygpt" or len(parts) < 2 or parts[1] not in ORDER:
            continue
        assert parts[1] == here or ORDER.index(parts[1]) < ORDER.index(here), f"{here} imports {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "layers").glob("*.py")), ids=lambda path: path.stem)
def test_a_layer_knows_only_the_backend(path):
    ours = {name for name in imports(path) if name.startswith("tinygpt")}
    assert all(name.startswith("tinygpt.backend.") for name in ours), ours


def test_cupy_is_imported_in_the_backend_alone():
    users = {path.name for path in MODULES if any(name.split(".")[0].startswith("cupy") for name in imports(path))}
    assert users == {"backend.py"}


def test_no_torch_no_transformers_no_pickle():
    for path in MODULES:
        assert not {name.split(".")[0] for name in imports(path)} & {"torch", "transformers", "pickle", "scipy"}


def test_every_package_is_installed():
    line = re.search(
        r"^packages = (\[.*\])$", (ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    folders = {".".join(path.parent.relative_to(ROOT.parent).parts) for path in MODULES if path.name == "__init__.py"}
    assert set(ast.literal_eval(line.group(1))) == folders
