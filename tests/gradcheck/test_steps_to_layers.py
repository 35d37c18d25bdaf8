"""The layers on the way to another: each is right, is a part of the layer it leads to, and has its named mistakes."""

from types import SimpleNamespace

import numpy as np
import pytest

from tinygpt.gradcheck import check_layer, diagnose, gradient_check
from tinygpt.gradcheck.library import STEPS, cases, definition
from tinygpt.gradcheck.measure import ENTRIES, kills
from tinygpt.gradcheck.mutants import FAMILIES, mutants
from tinygpt.gradcheck.suite import trials
from tinygpt.layers import attention

MISTAKES = [mutant for step in STEPS for mutant in mutants(step)]
FORWARDS = [mutant for mutant in MISTAKES if mutant.family == "forward"]


@pytest.fixture(scope="module")
def made():
    """The cases of each step, differentiated numerically once."""
    return {step: list(trials(step, seed=3, max_entries=ENTRIES)) for step in STEPS}


def title(mutant):
    return f"{mutant.layer}-{mutant.name}"


@pytest.mark.parametrize("step", STEPS)
def test_a_step_passes_the_check_in_every_case(step):
    for case in cases(step, seed=1):
        report = gradient_check(definition(step).forward, definition(step).backward, case.inputs, title=case.title)
        assert report.passed, report
    assert diagnose(step, definition(step)) is None


def test_the_usual_mistakes_are_of_known_kinds_and_stand_there_once():
    assert {mutant.family for mutant in MISTAKES} <= FAMILIES.keys()
    for step in STEPS:
        names, says = zip(*((mutant.name, mutant.says) for mutant in mutants(step)), strict=True)
        assert len(names) >= 20 and len(set(names)) == len(set(says)) == len(names)


@pytest.mark.parametrize("mutant", MISTAKES, ids=title)
def test_a_mistake_is_killed_and_named(mutant, made):
    assert any(kills(trial, mutant) for trial in made[mutant.layer])
    diagnosis = diagnose(mutant.layer, mutant.stand_in(), seed=21)
    assert diagnosis.explanations[0].says == mutant.says, str(diagnosis)


@pytest.mark.parametrize("mutant", FORWARDS, ids=title)
def test_a_wrong_forward_comes_with_its_own_derivative(mutant, made):
    for trial in made[mutant.layer]:
        forward, backward = trial.functions(mutant.stand_in())
        report = gradient_check(forward, backward, trial.experiment.inputs, max_entries=ENTRIES)
        assert report.passed, report


@pytest.mark.parametrize("mutant", [mutant for mutant in MISTAKES if mutant.term], ids=title)
def test_a_term_is_what_its_mistake_leaves_out(mutant):
    right, wrong = definition(mutant.layer), mutant.stand_in()

    def backward(dout, cache):
        pairs = zip(right.backward(dout, cache), wrong.backward(dout, cache), strict=True)
        return tuple(2 * a - b for a, b in pairs)

    diagnosis = diagnose(mutant.layer, SimpleNamespace(forward=right.forward, backward=backward))
    assert diagnosis.certain and f"{mutant.term} is 2 times what it should be" in str(diagnosis), str(diagnosis)


def test_several_heads_are_the_engines_attention_without_dropout():
    multi_head = definition("multi_head")
    for seed in range(3):
        for case in cases("multi_head", seed):
            (out, cache), (theirs, their_cache) = (f(**case.inputs) for f in (multi_head.forward, attention.forward))
            np.testing.assert_allclose(out, theirs, rtol=0, atol=1e-14)
            dqkv, their_dqkv = multi_head.backward(out, cache), attention.backward(out, their_cache)
            np.testing.assert_allclose(dqkv, their_dqkv, rtol=0, atol=1e-13)
    assert all(check_layer("multi_head", attention))


def test_the_causal_head_is_one_head_of_the_engines_attention(rng):
    qkv, dout = rng.standard_normal((3, 5, 24)), rng.standard_normal((3, 5, 8))
    out, cache = attention.forward(qkv, n_head=2)
    dqkv = attention.backward(dout, cache)
    dparts = zip(*(attention.split_heads(x, n) for x, n in ((qkv, 2), (dqkv, 2))), strict=True)
    (q, dq), (k, dk), (v, dv) = dparts
    for head in range(2):
        mine, my_cache = definition("causal_head").forward(q[:, head], k[:, head], v[:, head])
        columns = np.s_[..., 4 * head : 4 * head + 4]
        np.testing.assert_allclose(mine, out[columns], rtol=0, atol=1e-14)
        for d, theirs in zip(definition("causal_head").backward(dout[columns], my_cache), (dq, dk, dv), strict=True):
            np.testing.assert_allclose(d, theirs[:, head], rtol=0, atol=1e-13)


def test_a_head_is_the_engines_attention_for_one_query_that_sees_all(rng):
    q, k, v = (rng.standard_normal((2, n, 4)) for n in (1, 6, 6))
    out, _ = definition("head").forward(q, k, v)
    np.testing.assert_allclose(out, attention.decode(q[:, None], k[:, None], v[:, None]), rtol=0, atol=1e-14)


@pytest.mark.parametrize("step", ["head", "causal_head"])
def test_a_scale_forgotten_in_one_gradient_is_told_by_its_size(step):
    right = definition(step)

    def backward(dout, cache):
        dq, dk, dv = right.backward(dout, cache)
        return dq, dk * cache[0].shape[-1] ** 0.5, dv

    diagnosis = diagnose(step, SimpleNamespace(forward=right.forward, backward=backward))
    assert diagnosis.certain and "dk is sqrt(D) times what it should be" in str(diagnosis), str(diagnosis)
