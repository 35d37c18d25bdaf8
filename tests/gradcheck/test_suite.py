"""Every layer and the model against numerical derivatives, and the inputs that this is done on."""

import functools
import pkgutil
import re
from types import SimpleNamespace

import numpy as np
import pytest

from tests.layers.implementations import arrays_in, cut_blocks
from tinygpt import GPT, GPTConfig, layers, ops
from tinygpt.gradcheck import check_layer
from tinygpt.gradcheck.library import CASES, cases, definition
from tinygpt.gradcheck.models import gpt2
from tinygpt.gradcheck.mutants import Mutant, find
from tinygpt.gradcheck.suite import check_directions, model_trial, random_model, twins
from tinygpt.kernels.cpu import lm_head_loss as chunked
from tinygpt.layers import lm_head_loss
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.ops import DEFINITIONS


@pytest.mark.parametrize("layer", CASES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_gradient_of_every_layer(layer, seed):
    for report in check_layer(layer, seed=seed):
        assert report.passed, report


@pytest.mark.parametrize("title", [title for entries in twins().values() for title in entries])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("pieces", [None, 4])
def test_every_gradient_of_every_fast_twin(title, seed, pieces, monkeypatch):
    if pieces:
        cut_blocks(monkeypatch, pieces)
    layer, twin = next((layer, entries[title]) for layer, entries in twins().items() if title in entries)
    for report in check_layer(layer, twin, seed=seed):
        assert report.passed and report.rows[0].name == "out", report


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("whole += logits.T @ x[chunk]", "whole = logits.T @ x[chunk]"),
        ("loss = loss + _cross_entropy(...)", "loss = _cross_entropy(...)"),
        ("targets[chunk]", "targets[: len(logits)]"),
        ("dx[chunk]", "dx[: len(logits)]"),
    ],
)
def test_a_twin_whose_chunks_do_not_add_up_is_found(old, new):
    """The cases are smaller than one chunk of its own, so it is checked in smaller ones too, and in the model."""
    wrong = Mutant("lm_head_loss", "chunks", "accumulation", "", ((old, new),), chunked).wrong
    in_chunks = SimpleNamespace(forward=functools.partial(wrong.forward, rows=2), backward=wrong.backward)
    assert not all(report.passed for report in check_layer("lm_head_loss", in_chunks))


def test_a_model_is_held_against_the_definitions_whatever_its_own_table():
    """A twin that gives twice the loss, and the gradient of that, is consistent and wrong."""
    twice = SimpleNamespace(
        forward=lambda *arguments, **options: twice_the_loss(*lm_head_loss.forward(*arguments, **options)),
        backward=lambda dout, cache: lm_head_loss.backward(2 * dout, cache),
    )
    trial = model_trial("fast twins", max_entries=3)
    wrong = type("Wrong", (GPT,), {"lm_head_loss": twice})
    report = trial.experiment.judge(*trial.functions(wrong, DEFINITIONS))
    assert report.rows[0].problem == "not what the definition computes"


def twice_the_loss(loss, cache):
    return 2 * loss, cache


@pytest.mark.parametrize("case", gpt2.CASES)
def test_every_gradient_of_the_model_with_every_option(case):
    trial = model_trial(case, seed=1)
    report = trial.judge(definition("model"))
    assert report.passed and report.tolerance == 1e-8, report


def test_every_layer_of_the_table_has_cases():
    leaves = {module.name for module in pkgutil.iter_modules(layers.__path__)}
    assert set(CASES) == leaves | {"mlp", "block", "lm_head_loss"}
    table = ops.build()
    others = {name for name in leaves if getattr(table, name) is not getattr(DEFINITIONS, name)}
    assert twins().keys() == others | {"lm_head_loss"}


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
    B, T, C = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    assert len({B, T, C, n_head, C // n_head}) == 5 and min(n_head, C // n_head) > 1
    near = [inputs for titles in drawn.values() for title, inputs in titles.items() if title != "far from zero"]
    for array in arrays_in([list(inputs.values()) for inputs in near]):
        if array.dtype.kind == "f":
            assert array.size == 1 or 0.05 < np.ptp(array[np.isfinite(array)]) < 20


def test_another_seed_draws_other_numbers_and_sizes():
    shapes = {cases("linear", seed)[0].inputs["x"].shape for seed in range(10)}
    assert len(shapes) > 5
    again = cases("linear", 3)[0].inputs["x"], cases("linear", 3)[0].inputs["x"]
    np.testing.assert_array_equal(*again)


# Candidates that do less than the layer


def standing_in(layer, forward, **others):
    return SimpleNamespace(forward=forward, backward=definition(layer).backward, **others)


mlp = definition("mlp").forward


def softmax_without_masked_rows(x):
    with np.errstate(invalid="ignore"):
        exps = np.exp(x - x.max(axis=-1, keepdims=True))
    out = exps / exps.sum(axis=-1, keepdims=True)
    return out, (out,)


@pytest.mark.parametrize(
    ("layer", "forward", "unsupported"),
    [
        ("gelu", lambda x: definition("gelu").forward(x), ["gelu, exact"]),
        ("gelu", lambda x: definition("gelu").forward(x, "none"), ["gelu, tanh"]),
        ("attention", lambda qkv, n_head: definition("attention").forward(qkv, n_head), ["attention, dropout"]),
        ("layernorm", lambda a, b, c: definition("layernorm").forward(a, b, c), ["layernorm, two axes, large eps"]),
        ("softmax", softmax_without_masked_rows, ["softmax, a row all masked"]),
        ("linear", lambda x, w: definition("linear").forward(x, w), ["linear"]),
        (
            "mlp",
            lambda x, w, b, v, c: definition("mlp").forward(x, w, b, v, c, ops=DEFINITIONS),
            ["mlp, exact, no biases"],
        ),
    ],
)
def test_only_the_cases_that_a_candidate_was_written_for_are_checked(layer, forward, unsupported):
    right, wrong = standing_in(layer, forward), standing_in(layer, forward)
    reports = check_layer(layer, right)
    assert reports.passed and reports[-1].unsupported == unsupported and len(reports) == len(cases(layer)) - 1
    assert f"not supported: {unsupported[0]}" in str(reports)
    wrong.backward = lambda dout, cache: double(right.backward(dout, cache))
    assert not any(report.passed for report in check_layer(layer, wrong))


def double(gradients):
    return (
        tuple(map(double, gradients)) if isinstance(gradients, tuple) else None if gradients is None else 2 * gradients
    )


@pytest.mark.parametrize(
    ("layer", "forward"),
    [
        ("gelu", lambda x: definition("gelu").forward(1.01 * x)),  # neither of the two forms
        ("attention", lambda qkv: definition("attention").forward(qkv, 1)),
        ("dropout", lambda x, p: definition("dropout").forward(x, p)),
        ("softmax", lambda x: (np.exp(x), (x,))),
    ],
)
def test_a_candidate_that_does_not_do_what_the_layer_is_for_is_wrong(layer, forward):
    reports = check_layer(layer, standing_in(layer, forward))
    assert not reports[0].passed and reports[0].title.startswith(layer)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ZeroDivisionError("by zero"), "raised ZeroDivisionError: by zero (.*test_suite.py, line"),
        (SystemExit(), "raised SystemExit"),
        (NotImplementedError(), "raised NotImplementedError"),
    ],
)
def test_what_a_candidate_raises_is_a_problem_of_its_case(error, says):
    def forward(x):
        if x.ndim == 3:
            raise error
        return definition("softmax").forward(x)

    first, *others = check_layer("softmax", standing_in("softmax", forward))
    assert re.match(says.replace("(.", r"\(."), first.problems[0]) and all(others)
    assert all(
        "no function backward" in report.problems[0] for report in check_layer("gelu", SimpleNamespace(forward=abs))
    )


def test_a_candidate_in_float32_passes_where_a_tolerance_says_so():
    def forward(x, w, b=None, eps=1e-5):
        lower = [None if array is None else array.astype(np.float32) for array in (x, w, b)]
        return definition("layernorm").forward(*lower, eps)

    assert not any(check_layer("layernorm", standing_in("layernorm", forward)))
    assert all(check_layer("layernorm", standing_in("layernorm", forward), tolerance=1e-4))


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
