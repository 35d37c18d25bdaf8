"""Every layer and the model against numerical derivatives, and the inputs that this is done on."""

import numpy as np
import pytest

from tests.layers.test_contract import arrays_in
from tinygpt import GPTConfig, ops
from tinygpt.gradcheck import check_layer
from tinygpt.gradcheck.cases import CASES, cases
from tinygpt.gradcheck.mutants import find
from tinygpt.gradcheck.suite import MODELS, check_directions, definition, model_trial, random_model, twins
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.ops import DEFINITIONS


@pytest.mark.parametrize("layer", CASES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_gradient_of_every_layer(layer, seed):
    for report in check_layer(layer, seed=seed):
        assert report.passed and report.error < 1e-9, report


@pytest.mark.parametrize("layer", twins())
@pytest.mark.parametrize("seed", [0, 1])
def test_every_gradient_of_every_fast_twin(layer, seed):
    for report in check_layer(layer, twins()[layer], seed=seed):
        assert report.passed and report.error < 1e-9, report


@pytest.mark.parametrize("case", MODELS)
def test_every_gradient_of_the_model_with_every_option(case):
    trial = model_trial(case, seed=1)
    report = trial.judge(definition("model"))
    assert report.passed and report.error < 1e-8, report


def test_every_layer_of_the_table_has_cases():
    table = {name for name in vars(DEFINITIONS) if name != "attention_decode"}
    assert set(CASES) == table | {"softmax"}
    assert twins().keys() == {name for name in table if getattr(ops.build(), name) is not getattr(DEFINITIONS, name)}


@pytest.mark.parametrize("seed", range(20))
def test_the_inputs_leave_a_mistake_nowhere_to_hide(seed):
    drawn = {layer: {case.title: case.inputs for case in cases(layer, seed)} for layer in CASES}
    for layer in ("linear", "layernorm", "softmax", "attention", "gelu", "mlp", "block"):
        shape = next(x.shape for x in drawn[layer][next(iter(drawn[layer]))].values() if isinstance(x, np.ndarray))
        assert len(set(shape)) == len(shape) > 1, (layer, shape)
    idx = drawn["embedding"]["tokens"]["idx"]
    assert len(np.unique(idx)) < idx.size
    targets = drawn["cross_entropy"]["ignored targets"]["targets"]
    assert 0 < (targets == IGNORED).sum() < targets.size
    qkv, n_head = drawn["attention"][""]["qkv"], drawn["attention"][""]["n_head"]
    assert 1 < n_head != qkv.shape[2] // 3 // n_head > 1
    for array in arrays_in([list(inputs.values()) for by_title in drawn.values() for inputs in by_title.values()]):
        if array.dtype.kind == "f":
            assert array.size == 1 or 0.05 < np.abs(array[np.isfinite(array)]).mean() < 5


def test_another_seed_draws_other_numbers_and_sizes():
    shapes = {cases("linear", seed)[0].inputs["x"].shape for seed in range(10)}
    assert len(shapes) > 5
    again = cases("linear", 3)[0].inputs["x"], cases("linear", 3)[0].inputs["x"]
    np.testing.assert_array_equal(*again)


SMALL = GPTConfig(block_size=6, vocab_size=11, n_layer=2, n_head=2, n_embd=8)
IDX, TARGETS = np.array([[3, 0, 3, 10]]), np.array([[0, 3, 1, 5]])


def test_directions_agree_with_the_gradient_of_every_parameter():
    model = random_model(SMALL)
    before = model.params.flat.copy()
    rows = list(check_directions(model, IDX, TARGETS))
    assert [row.name for row in rows] == [f"d{name}" for name in model.params]
    assert all(not row.problem and row.error < 1e-8 for row in rows), rows
    np.testing.assert_array_equal(model.params.flat, before)


def test_a_wrong_gradient_shows_along_its_direction():
    model = random_model(SMALL)
    model.ops = DEFINITIONS.replace(attention=find("attention", "dk_transposed").stand_in())
    wrong = {row.name for row in check_directions(model, IDX, TARGETS) if row.problem}
    assert "dh.1.attn.c_attn.weight" in wrong and "dwte.weight" in wrong
    assert "dh.1.mlp.c_fc.weight" not in wrong  # above the mistake, where all is right
