"""Told only the gradients, the diagnosis says what is wrong, and does not pretend where it does not know."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.gradcheck import blind_bugs_1, blind_bugs_2
from tinygpt.gradcheck import check_layer, diagnose
from tinygpt.gradcheck.library import LAYERS, definition
from tinygpt.gradcheck.mutants import FAMILIES, find, mutants
from tinygpt.gradcheck.suite import twins
from tinygpt.layers import attention, layernorm, linear


def wrong_linear(change):
    def backward(dout, cache):
        return change(*linear.backward(dout, cache))

    return SimpleNamespace(forward=linear.forward, backward=backward)


def rows(x):
    return x.size // x.shape[-1]


@pytest.mark.parametrize("layer", LAYERS)
def test_every_mutant_is_told_from_all_the_others(layer):
    first = {m.name: diagnose(layer, m.stand_in(), seed=21).explanations[0].says for m in mutants(layer)}
    named = [mutant.name for mutant in mutants(layer) if first[mutant.name] == mutant.says]
    assert len(named) >= 0.9 * len(first), set(first) - set(named)


@pytest.mark.parametrize("title", [title for entries in twins().values() for title in entries])
def test_of_a_right_layer_there_is_nothing_to_say(title):
    layer, candidate = next((layer, entries[title]) for layer, entries in twins().items() if title in entries)
    assert diagnose(layer, candidate, seed=21) is None


def test_a_right_layer_written_in_another_way_is_right():
    def forward(x, gain, shift=None, epsilon=1e-5):
        std = np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)
        y = (x - x.mean(axis=-1, keepdims=True)) / std
        return y * gain + (0 if shift is None else shift), (y, std, gain, shift)

    def backward(dout, cache):
        y, std, gain, shift = cache
        dy, rows = dout * gain, tuple(range(dout.ndim - 1))
        C = y.shape[-1]
        jacobian = np.eye(C) - 1 / C - y[..., :, None] * y[..., None, :] / C
        dx = np.einsum("...i,...ij->...j", dy, jacobian) / std
        return dx, (dout * y).sum(rows), None if shift is None else dout.sum(rows)

    mine = SimpleNamespace(forward=forward, backward=backward)
    assert diagnose("layernorm", mine) is None
    assert all(report.passed for report in check_layer("layernorm", mine))


@pytest.mark.parametrize("bugs", [blind_bugs_1.BUGS, blind_bugs_2.BUGS], ids=["first", "second"])
def test_bugs_by_someone_who_had_not_read_the_library(bugs):
    """The right family for 70% at least, all of it explained for 60%, and a wrong one with certainty for 5% at most.

    When they were written, 12 of each set were explained, and none wrongly. Both were read since, and of the mistakes
    in them those that are common are in the library. A first set, which the diagnosis was made with, is not here.
    """
    assert len(bugs) == 25
    right, explained, confidently_wrong = [], [], []
    for bug in bugs:
        forward = bug.forward or definition(bug.layer).forward
        diagnosis = diagnose(bug.layer, SimpleNamespace(forward=forward, backward=bug.backward), seed=11)
        family = diagnosis.first.family if diagnosis.first else None
        assert family is None or family in FAMILIES
        if family in bug.families:
            right.append(bug.name)
            explained += [bug.name] if diagnosis.certain else []
        elif diagnosis.certain:
            confidently_wrong.append(bug.name)
    assert len(right) >= 0.7 * len(bugs), sorted({bug.name for bug in bugs} - set(right))
    assert len(explained) >= 0.6 * len(bugs), sorted({bug.name for bug in bugs} - set(explained))
    assert len(confidently_wrong) <= 0.05 * len(bugs), confidently_wrong


@pytest.mark.parametrize(
    ("change", "family", "words"),
    [
        (lambda dx, dw, db: (dx, dw * 0, db), "zero", "dw is zero"),
        (lambda dx, dw, db: (dx, -dw, db), "sign", "dw has the wrong sign"),
        (lambda dx, dw, db: (dx, dw * 3.5, db), "scale", "dw is 3.5 times what it should be"),
        (lambda dx, dw, db: (dx * dx.shape[-1], dw, db), "scale", "dx is I times what it should be"),
        (lambda dx, dw, db: (dx / rows(dx), dw, db), "scale", "dx is 1/(the number of rows) times"),
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
    assert text.startswith("no known mistake explains these numbers") and "right: dw, db" in text
    assert "right at [1, 2, 3" in text and "of axis 2" in text


@pytest.mark.parametrize(
    ("gradients", "certain", "says"),
    [
        (lambda dout, dx, dw, db: (dx, dw.T, db), True, "dw is transposed"),
        (lambda dout, dx, dw, db: (dx, dw[None], db), True, "dw has the right numbers, but shape (1, "),
        (lambda dout, dx, dw, db: (3 * dx, dw.T, db), True, "dw is transposed\ndx is 3 times what it should be"),
        (lambda dout, dx, dw, db: (dx, 7 * dw[:1], db), False, "where"),
        (lambda dout, dx, dw, db: None, False, "None, where"),
    ],
)
def test_a_gradient_of_another_shape(gradients, certain, says):
    wrong = SimpleNamespace(
        forward=linear.forward, backward=lambda dout, cache: gradients(dout, *linear.backward(dout, cache))
    )
    diagnosis = diagnose("linear", wrong)
    assert diagnosis.certain == certain and (says in str(diagnosis) or says == "None, where"), str(diagnosis)


def test_a_case_that_raises_is_set_aside_and_the_others_are_diagnosed():
    def forward(qkv, n_head, rate=0.0, *rest):
        if rate:
            raise NotImplementedError("dropout")
        return attention.forward(qkv, n_head)

    transposed = find("attention", "dk_transposed").stand_in()
    text = str(diagnose("attention", SimpleNamespace(forward=forward, backward=transposed.backward)))
    assert (
        text.startswith("dk multiplies q by dscores")
        and "attention, dropout: raised NotImplementedError: dropout" in text
    )


def test_gradients_in_the_wrong_order_are_told():
    swapped = lambda dout, cache: (lambda dx, dw, db: (dw, dx, db))(*linear.backward(dout, cache))  # noqa: E731
    diagnosis = diagnose("linear", SimpleNamespace(forward=linear.forward, backward=swapped))
    assert diagnosis.certain and str(diagnosis) == "dx and dw stand in each other's place"


def test_a_mask_of_its_own_is_pointed_to():
    def forward(x, p, *rest):
        keep = np.random.default_rng(0).random(x.shape) >= p
        return x * keep / (1 - p), (keep, p)

    text = str(diagnose("dropout", SimpleNamespace(forward=forward, backward=lambda d, c: d * c[0] / (1 - c[1]))))
    assert "dropout's mask must be the definition's, made of the bits that backend.random_bits hashes" in text


def test_what_is_not_finite_is_said_to_be_so():
    diagnosis = diagnose("linear", wrong_linear(lambda dx, dw, db: (dx * np.nan, dw, db)))
    assert not diagnosis.certain and str(diagnosis).startswith("dx is not finite in linear")


def test_an_added_term_is_not_taken_for_one_left_out():
    assert "0.1 w added" in str(diagnose("linear", find("linear", "dw_with_weight_decay").stand_in()))

    def backward(dout, cache):
        dx, dw, db = linear.backward(dout, cache)
        return dx, dw + 0.2 * cache[1], db

    diagnosis = diagnose("linear", SimpleNamespace(forward=linear.forward, backward=backward))
    assert diagnosis.certain and "dw has 0.2 w added to it" in str(diagnosis)


def test_a_factor_is_named_by_the_size_it_is():
    def backward(dout, cache):
        return attention.backward(dout, cache) * cache[0].shape[-1]

    diagnosis = diagnose("attention", SimpleNamespace(forward=attention.forward, backward=backward))
    assert diagnosis.certain and "is D times what it should be" in str(diagnosis)


def test_a_term_with_a_wrong_factor_is_named():
    def backward(dout, cache):
        xhat, rstd, w, has_bias = cache
        dx, dw, db = layernorm.backward(dout, cache)
        return dx - 2 * rstd * xhat * (dout * w * xhat).mean(axis=-1, keepdims=True), dw, db

    diagnosis = diagnose("layernorm", SimpleNamespace(forward=layernorm.forward, backward=backward))
    assert diagnosis.certain and "in dx the term through the variance is 3 times what it should be" in str(diagnosis)


def test_a_wrong_forward_is_told_before_anything_else():
    diagnosis = diagnose("layernorm", find("layernorm", "forward_rms").stand_in())
    assert diagnosis.certain and "RMSNorm" in str(diagnosis)
    doubled = SimpleNamespace(
        forward=lambda x, w, b: (2 * linear.forward(x, w, b)[0], linear.forward(x, w, b)[1]),
        backward=lambda dout, cache: linear.backward(2 * dout, cache),
    )
    assert "forward's output is 2 times what it should be" in str(diagnose("linear", doubled))


def test_the_ranking_puts_the_nearest_mutant_first():
    diagnosis = diagnose("attention", find("attention", "dk_transposed").stand_in())
    (error, nearest), (second, _) = diagnosis.ranking[:2]
    assert nearest.name == "dk_transposed" and error < 1e-12 < 0.01 < second
