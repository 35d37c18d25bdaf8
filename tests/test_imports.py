"""The map of the code, proved: who may import whom, and where cupy is allowed."""

import ast
from pathlib import Path

import pytest

import tinygpt
from tests import children

ROOT = Path(tinygpt.__file__).parent
ORDER = [  # a module imports only from those above it; of a room with an order of its own, likewise
    "errors", "values", "signals", "progress", "files", "random", "special", "backend", "device", "precision",
    "recompute", "emulator", "layers", "kernels", "sample", "parameters", "ops", "optim", "conversions", "tensors",
    "model_folder", "checkpoint", "models.inputs", "models.model", "models.pretrained", "models.gpt2", "observed",
    "parallel", "gradcheck", "tokenizer.pretrained", "tokenizer.base", "tokenizer.char", "tokenizer.meta",
    "tokenizer.bpe", "tokenizer.gpt2", "tokenizer.own", "tokenizer.named", "tokenizer.beside", "data.corpus",
    "data.addition", "data.mapped", "data.shards", "data.formats", "data.evidence", "data.token_dtype",
    "data.token_files", "data.texts", "data.learning", "data.encoding", "data.token_cache", "data.load", "run.config",
    "run.launched", "run.cards", "run.group", "run.joining", "run.ring", "run.lock", "run.reading", "run.state",
    "run.rows", "run.alike", "run.memory", "run.saved", "run.tokens", "run.folder", "run.store", "run.loop",
    "run.marks", "run.metrics", "run.reference", "run.advice", "run.leaks", "run.watch", "run.comparison",
    "run.expressions", "run.nanogpt_defaults", "run.nanogpt", "run.screens", "run.waiting", "train", "own_layers",
    "pages", "recorder", "commands", "cli", "__main__",
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


def place(name: str) -> int | None:
    """Where a module, such as models.gpt2, stands in the order; None for the front page of an ordered room."""
    for number, room in enumerate(ORDER):
        if name == room or name.startswith(f"{room}."):
            return number
    return None


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def test_every_module_stands_in_the_order():
    fronts = {module_name(path) for path in MODULES if place(module_name(path)) is None}
    assert fronts == {"", "models", "tokenizer", "data", "run"}
    assert all(any(place(module_name(path)) == number for path in MODULES) for number in range(len(ORDER)))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_upwards(path):
    here = place(module_name(path))
    if here is None:  # a front page: it imports what is behind it
        here = max((n for n, room in enumerate(ORDER) if room.startswith(f"{module_name(path)}.")), default=len(ORDER))
    for name in imports(path):
        if name.startswith("tinygpt."):
            there = place(name.removeprefix("tinygpt."))
            if there is None:  # tinygpt itself, or the front page of a room
                room = name.split(".")[1]
                there = max((n for n, r in enumerate(ORDER) if r.startswith(f"{room}.")), default=-1)
            assert there <= here, f"{module_name(path)} imports {name}"


def test_no_modules_import_each_other():
    modules = {f"tinygpt.{module_name(path)}".rstrip("."): imports(path) for path in MODULES}
    ahead = {
        name: {
            other for other in modules if other != name and any(f"{there}.".startswith(f"{other}.") for there in names)
        }
        for name, names in modules.items()
    }
    for name in ahead:  # the front page of a room is no step on the way: importing a.b runs it, whatever it is
        ahead[name] = {other for other in ahead[name] if not name.startswith(f"{other}.")}
    while free := {name for name, others in ahead.items() if not others}:
        ahead = {name: others - free for name, others in ahead.items() if name not in free}
    assert not ahead, f"a circle among {sorted(ahead)}"


def test_only_the_command_line_knows_a_readers_own_layers():
    users = {module_name(path) for path in MODULES if any("own_layers" in name for name in imports(path))}
    assert {name for name in users if not name.startswith("own_layers")} == {"commands.own"}


@pytest.mark.parametrize("path", sorted((ROOT / "layers").glob("*.py")), ids=lambda path: path.stem)
def test_a_layer_knows_only_the_backend(path):
    ours = {name for name in imports(path) if name.startswith("tinygpt")}
    assert all(name.startswith("tinygpt.backend.") for name in ours), ours


def test_cupy_is_imported_in_the_backend_alone():
    users = {path.name for path in MODULES if any(name.split(".")[0].startswith("cupy") for name in imports(path))}
    assert users == {"backend.py"}


def test_the_library_of_others_tokenizers_is_imported_only_where_one_is_used():
    users = {path.name for path in MODULES if any(name.split(".")[0] == "tokenizers" for name in imports(path))}
    assert users == {"own.py"}
    done = children.run("-c", "import sys, tinygpt.cli; sys.exit('tokenizers' in sys.modules)")
    assert done.returncode == 0


def test_no_torch_no_transformers_no_pickle():
    for path in MODULES:
        assert not {name.split(".")[0] for name in imports(path)} & {"torch", "transformers", "pickle", "scipy"}
