"""A reader's own kernel in a run: on a card in LayerNorm's place, on a CPU left out with a word."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from lessons.exercises import Exercise
from tests.cuda import resources
from tinygpt.errors import Note, UserError
from tinygpt.kernels.cuda import layernorm as twin
from tinygpt.layers import layernorm
from tinygpt.own_layers import kernels, load_own_layers
from tinygpt.own_layers.kernels.leaf import KernelLayerNorm
from tinygpt.train import TrainConfig, start, train

NAME = "layernorm_kernel"
TEXT = Path(__file__).parents[2] / "lessons" / "text.txt"
SETTINGS = {
    "data": str(TEXT), "n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 12, "batch_size": 6, "max_iters": 4,
    "eval_interval": 4, "eval_iters": 1, "log_interval": 1, "sample_length": 0, "threads": 2, "learning_rate": 1e-2,
    "dtype": "float32", "tf32": False, "bias": True,
}  # fmt: skip


@pytest.fixture
def folder(card, tmp_path):
    import cupy

    (tmp_path / f"{NAME}.cu").write_text(kernels.solution(NAME), encoding="utf-8")
    cupy.RawModule(code='extern "C" __global__ void f() {}').compile()  # or the test ends here, where there is no g++
    return tmp_path


def run(folder, own=None, **changes):
    """The losses of a short run, its state, and the parts of the reader's own."""
    own = load_own_layers(folder) if own == "mine" else own
    settings = SETTINGS | {"out_dir": str(folder / "out")} | changes
    state = start(TrainConfig(**settings), *([own.parts] if own else []))
    return [record.loss for record in train(state) if hasattr(record, "loss")], state, own


def fill(folder, name):
    (folder / f"{name}.py").write_text(Exercise(name, 0).solution(), encoding="utf-8")


def leaf(text=None, otherwise=None):
    source = (text or kernels.solution(NAME)).encode()
    return KernelLayerNorm(kernels.load(f"work/{NAME}.cu", source, ["layernorm_forward"]), otherwise)


def test_a_run_on_a_card_launches_it_and_has_the_engines_losses(folder, card):
    reference, *_ = run(folder, device="cuda")
    assert "residual_layernorm_forward" in {launch.what for launch in card.launches}
    card.reset()
    mine, state, own = run(folder, "mine", device="cuda")
    np.testing.assert_allclose(mine, reference, rtol=2e-6)
    assert list(own.used) == [NAME]
    launched = [launch.what for launch in card.launches]
    assert "residual_layernorm_forward" not in launched and "residual_layernorm_backward" not in launched
    norms = 2 * state.config.n_layer + 1
    assert launched.count("layernorm_forward") >= norms * 4 and launched.count("layernorm_backward") == norms * 4


def test_it_is_the_file_that_computes(folder):
    reference, *_ = run(folder, device="cuda")
    path = folder / f"{NAME}.cu"
    path.write_text(path.read_text().replace("* row_rstd * w[c]", "* row_rstd * w[c] * 0.5f"))
    own = load_own_layers(folder)
    assert "out[0, 0] is " in own.left_out[NAME] and not own.used
    own = load_own_layers(folder, unchecked=True)
    assert f"{NAME}.cu does not pass its check and is taken in all the same" in " ".join(own.remarks())
    mine, *_ = run(folder, own, device="cuda")
    assert abs(mine[0] - reference[0]) > 1e-3


def test_on_a_cpu_the_run_says_that_it_needs_a_card(folder):
    reference, *_ = run(folder, device="cpu", kernels="reference")
    with pytest.warns(
        Note, match=rf"^{NAME}.cu needs a card, and this runs on the CPU: the engine's layernorm"
    ) as said:
        mine, *_ = run(folder, "mine", device="cpu", kernels="reference")
    assert len([note for note in said if issubclass(note.category, Note)]) == 1
    assert mine == reference
    fill(folder, "layernorm")
    with pytest.warns(Note, match="your layernorm.py computes in its place"):
        assert run(folder, "mine", device="cpu", kernels="reference")[0] == pytest.approx(reference, rel=1e-6)


@pytest.mark.parametrize("shape", [(5, 100), (2, 3, 33), (1,), (0, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_forward_and_backward_are_the_definitions(shape, bias, folder):
    import cupy

    rng = np.random.default_rng(1)
    x, w, b, dout = (rng.standard_normal(s).astype("float32") for s in (shape, shape[-1:], shape[-1:], shape))
    out, cache = leaf().forward(*(None if a is None else cupy.asarray(a) for a in (x, w, b if bias else None)))
    right, right_cache = layernorm.forward(x, w, b if bias else None)
    np.testing.assert_allclose(out.get(), right, atol=1e-5)
    dx, dw, db = leaf().backward(cupy.asarray(dout), cache)
    twins = twin.backward(cupy.asarray(dout), cache)
    np.testing.assert_array_equal(dx.get(), twins[0].get())
    np.testing.assert_allclose(dx.get(), layernorm.backward(dout, right_cache)[0], atol=1e-4)
    assert (db is None) == (not bias)


def test_what_it_does_not_take_is_computed_all_the_same_and_said_once(folder):
    import cupy

    own = leaf()
    for dtype, C, why in (
        ("float64", 8, "is for float32, and this is float64"),
        ("float32", 2049, "has no way back for"),
    ):
        x, w = cupy.ones((3, C), dtype), cupy.ones(C, dtype)
        with pytest.warns(Note, match=f"^{NAME}.cu {why}.*: the engine's layernorm computes in its place"):
            out, cache = own.forward(x, w)
        with warnings.catch_warnings(action="error"):
            own.forward(x, w)
        assert out.dtype == dtype and own.backward(x, cache)[0].shape == x.shape


def test_what_the_cards_compiler_refuses_is_said_with_its_line(folder):
    import cupy

    broken = leaf(kernels.solution(NAME).replace("float sum = 0;\n  for (int c", "float sum = 0\n  for (int c"))
    with pytest.raises(UserError, match=rf"(?s)the card's compiler refuses {NAME}.cu, line 23: expected"):
        broken.forward(cupy.ones((3, 8), "float32"), cupy.ones(8, "float32"))


@pytest.mark.skipif(resources.compiler() is None, reason="it compiles for a card, and there is no NVRTC and no nvcc")
def test_cudas_own_compiler_takes_the_solution_without_spills():
    for text in (kernels.solution(NAME), kernels.blank(NAME)):
        (used,) = resources.used(resources.compiler()(resources.Source(NAME, (), text), 90))
        assert used.kernel == "layernorm_forward" and not used.spilled


def test_a_file_that_is_nearly_a_parts_is_named(tmp_path):
    fill(tmp_path, "layernorm")
    (tmp_path / "layernorm_kernels.cu").write_text("")
    assert f"did you mean {NAME}.cu?" in " ".join(load_own_layers(tmp_path).remarks())
