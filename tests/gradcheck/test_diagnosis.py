"""Told only the gradients, the diagnosis says what is wrong, and does not pretend where it does not know."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.gradcheck import blind_bugs_1, blind_bugs_2
from tinygpt.gradcheck import diagnose
from tinygpt.gradcheck.measure import LAYERS
from tinygpt.gradcheck.mutants import FAMILIES, MUTANTS, find
from tinygpt.gradcheck.suite import definition
from tinygpt.layers import layernorm, linear


def wrong_linear(change):
    def backward(dout, cache):
        return change(*linear.backward(dout, cache))

    return SimpleNamespace(forward=linear.forward, backward=backward)


def rows(x):
    return x.size // x.shape[-1]


@pytest.mark.parametrize("layer", LAYERS)
def test_the_first_guess_names_the_mutant_on_shapes_it_was_not_made_on(layer):
    mutants = [mutant for mutant in MUTANTS if mutant.layer == layer]
    first = {m.name: diagnose(layer, m.stand_in(), seed=21).explanations[0].says for m in mutants}
    named = [mutant.name for mutant in mutants if first[mutant.name] == mutant.says]
    assert len(named) >= 0.9 * len(mutants), set(first) - set(named)


@pytest.mark.parametrize("layer", LAYERS)
def test_of_the_right_code_there_is_nothing_to_say(layer):
    assert diagnose(layer, definition(layer), seed=21) is None


@pytest.mark.parametrize("bugs", [blind_bugs_1.BUGS, blind_bugs_2.BUGS], ids=["first", "second"])
def test_bugs_by_someone_who_had_not_read_the_library(bugs):
    """The right family for 70%, and a wrong one said with certainty for 5%, at most."""
    assert len(bugs) == 25
    right, confidently_wrong = [], []
    for bug in bugs:
        forward = bug.forward or definition(bug.layer).forward
        diagnosis = diagnose(bug.layer, SimpleNamespace(forward=forward, backward=bug.backward), seed=11)
        family = diagnosis.explanations[0].family if diagnosis.explanations else None
        assert family is None or family in FAMILIES
        if family in bug.families:
            right.append(bug.name)
        elif diagnosis.certain:
            confidently_wrong.append(bug.name)
    assert len(right) >= 0.7 * len(bugs), sorted({bug.name for bug in bugs} - set(right))
    assert len(confidently_wrong) <= 0.05 * len(bugs), confidently_wrong


@pytest.mark.parametrize(
    ("change", "family", "words"),
    [
        (lambda dx, dw, db: (dx, dw * 0, db), "zero", "dw is zero"),
        (lambda dx, dw, db: (dx, -dw, db), "sign", "dw has the wrong sign"),
        (lambda dx, dw, db: (dx, dw * 3.5, db), "scale", "dw has a factor of 3.5 too many"),
        (lambda dx, dw, db: (dx * dx.shape[-1], dw, db), "scale", "dx has a factor of I too many"),
        (lambda dx, dw, db: (dx / rows(dx), dw, db), "scale", "dx has a factor of 1/(the number of rows)"),
        (lambda dx, dw, db: (dx[..., ::-1], dw, db), "layout", "dx has the right numbers in the wrong places"),
        (lambda dx, dw, db: (dx, np.roll(dw, 1, axis=0), db), "layout", "the right one shifted by 1 along axis 0"),
        (lambda dx, dw, db: (0 * dx + dx.mean(axis=-1, keepdims=True), dw, db), "axis", "mean over axis -1"),
    ],
)  # fmt: skip
def test_what_no_mutant_does_is_said_in_general_terms(change, family, words):
    diagnosis = diagnose("linear", wrong_linear(change))
    assert diagnosis.certain and diagnosis.explanations[0].family == family
    assert words in str(diagnosis)
    assert "right: " in str(diagnosis)


def test_two_mistakes_are_both_named():
    diagnosis = diagnose("linear", wrong_linear(lambda dx, dw, db: (-dx, 2 * dw, db)))
    assert diagnosis.certain and {e.family for e in diagnosis.explanations} == {"sign", "scale"}

    def backward(dout, cache):  # a mean term dropped, and dw not normalised
        dx, _, db = find("layernorm", "mean_term_dropped").stand_in().backward(dout, cache)
        return dx, find("layernorm", "dw_without_xhat").stand_in().backward(dout, cache)[1], db

    diagnosis = diagnose("layernorm", SimpleNamespace(forward=layernorm.forward, backward=backward))
    assert diagnosis.certain and [e.family for e in diagnosis.explanations] == ["term", "formula"]


def test_what_nothing_explains_is_said_to_be_unexplained_and_described():
    def change(dx, dw, db):
        dx = dx.copy()
        dx[..., 0] = np.tanh(dx[..., 0])
        return dx, dw, db

    diagnosis = diagnose("linear", wrong_linear(change))
    assert not diagnosis.certain
    text = str(diagnosis)
    assert text.startswith("no known mistake gives these numbers") and "right: dw, db" in text
    assert "right at [1, 2, 3" in text and "of axis 2" in text


def test_a_gradient_that_was_not_summed_is_told_from_its_shape():
    diagnosis = diagnose("linear", wrong_linear(lambda dx, dw, db: (dx, dw.T, db)))
    assert diagnosis.certain and "dw is transposed" in str(diagnosis)
    seen = SimpleNamespace(
        forward=linear.forward, backward=lambda dout, cache: (*linear.backward(dout, cache)[:2], dout)
    )
    assert "db" in str(diagnose("linear", seen))


def test_a_wrong_forward_is_told_before_anything_else():
    diagnosis = diagnose("layernorm", find("layernorm", "forward_rms").stand_in())
    assert diagnosis.certain and "RMSNorm" in str(diagnosis)
    doubled = SimpleNamespace(
        forward=lambda x, w, b: (2 * linear.forward(x, w, b)[0], linear.forward(x, w, b)[1]),
        backward=lambda dout, cache: linear.backward(2 * dout, cache),
    )
    assert "forward: out has a factor of 2 too many" in str(diagnose("linear", doubled))


def test_the_ranking_puts_the_nearest_mutant_first():
    diagnosis = diagnose("attention", find("attention", "dk_transposed").stand_in())
    (error, nearest), (second, _) = diagnosis.ranking[:2]
    assert nearest.name == "dk_transposed" and error < 1e-12 < 0.01 < second
