"""The library of wrong layers: each is what it says, and each is caught."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from tinygpt import GPT, GPTConfig
from tinygpt.gradcheck import diagnose, gradient_check
from tinygpt.gradcheck.library import LAYERS, definition
from tinygpt.gradcheck.measure import ENTRIES, USUAL_CHECKS, false_alarms, kills, verdicts
from tinygpt.gradcheck.mutants import FAMILIES, MUTANTS, find, mutants
from tinygpt.gradcheck.suite import trials
from tinygpt.ops import DEFINITIONS


def test_there_are_enough_and_every_layer_has_its_share():
    backwards = [mutant for mutant in MUTANTS if mutant.family != "forward"]
    assert len(backwards) >= 143 and len(MUTANTS) - len(backwards) >= 28
    assert {mutant.layer for mutant in MUTANTS} == set(LAYERS)
    assert max(Counter((mutant.layer, mutant.name) for mutant in MUTANTS).values()) == 1
    assert {mutant.family for mutant in MUTANTS} == FAMILIES.keys()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_mutant_is_killed(layer, seed):
    made = list(trials(layer, seed, max_entries=ENTRIES))
    survivors = [mutant.name for mutant in mutants(layer) if not any(kills(trial, mutant) for trial in made)]
    assert not survivors


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.family == "forward"], ids=lambda m: f"{m.layer}-{m.name}")
def test_a_wrong_forward_comes_with_its_own_derivative(mutant):
    """Or a check of consistency would find it, and the comparison with the definition would prove nothing."""
    for trial in trials(mutant.layer, seed=4, max_entries=ENTRIES):
        forward, backward = trial.functions(mutant.stand_in())
        with np.errstate(all="ignore"):
            out = forward(**trial.experiment.inputs)[0]
        if not np.isfinite(out).all():  # it has no derivative there
            continue
        report = gradient_check(
            forward, backward, trial.experiment.inputs, max_entries=ENTRIES, tolerance=trial.tolerance
        )
        assert report.passed, report


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.term], ids=lambda m: f"{m.layer}-{m.name}")
def test_a_term_is_what_its_mutant_leaves_out(mutant):
    """Twice the right gradient less the wrong one then has the term twice, and is said to."""
    if mutant.layer == "model" or "residual" in mutant.name:  # for a residual path twice there is a mutant
        return
    original, wrong = definition(mutant.layer), mutant.stand_in()

    def backward(dout, cache):
        a, b = original.backward(dout, cache), wrong.backward(dout, cache)
        return twice_less(a, b)

    diagnosis = diagnose(mutant.layer, SimpleNamespace(forward=original.forward, backward=backward))
    assert diagnosis.certain and f"{mutant.term} is 2 times what it should be" in str(diagnosis), str(diagnosis)


def twice_less(a, b):
    if isinstance(a, tuple):
        return tuple(map(twice_less, a, b))
    return {name: 2 * a[name] - b[name] for name in a} if isinstance(a, dict) else None if a is None else 2 * a - b


def test_the_right_code_raises_no_alarm():
    assert all(checks > 30 and not failed for checks, failed in false_alarms(seeds=2))


def test_a_mutant_stands_in_for_its_layer_through_the_table():
    config = GPTConfig(block_size=4, vocab_size=7, n_layer=1, n_head=2, n_embd=6)
    table = DEFINITIONS.replace(attention=find("attention", "dv_transposed").stand_in())
    idx = np.array([[1, 2, 3, 1]])
    models = (GPT(config, ops=ops) for ops in (DEFINITIONS, table))
    right, wrong = (model.backward(model.loss(idx, idx)[1]) for model in models)
    assert not np.allclose(right["h.0.attn.c_attn.weight"], wrong["h.0.attn.c_attn.weight"])
    np.testing.assert_allclose(right["h.0.mlp.c_fc.weight"], wrong["h.0.mlp.c_fc.weight"], rtol=1e-5)


def test_the_usual_checks_let_through_what_they_are_known_for():
    by_name = {verdict.mutant.name: verdict for verdict in verdicts("softmax")}
    assert by_name["not_computed"].passes["atol 1e-4"] == 1  # zeros, for dout of ones
    assert by_name["forward_over_rows"].passes == dict.fromkeys(USUAL_CHECKS, 1)  # consistent, and not softmax
    assert by_name["without_the_sum"].passes["atol 1e-4"] == 0
    assert all(verdict.killed for verdict in by_name.values())
