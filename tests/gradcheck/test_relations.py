"""What gradients are to the right ones is said of any code, with nothing known of it but its numbers."""

import numpy as np
import pytest

from tinygpt.gradcheck.relations import Compared, explain


def cases(change, exact=True, **options):
    """A product with a bias, y = x * g @ w + b over (B, T, I), with `change` made to its gradients, for three seeds."""
    made = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x, g, w, b = (rng.standard_normal(shape) for shape in ((2, 3, 4), (4,), (4, 5), (5,)))
        dout = rng.standard_normal((2, 3, 5))
        drows = dout.reshape(-1, 5)
        dxg = dout @ w.T
        right = {"x": dxg * g, "g": (dxg * x).sum(axis=(0, 1)), "w": (x * g).reshape(-1, 4).T @ drows}
        right["b"] = drows.sum(axis=0)
        given = right | change(right, x, w, dout)
        if not exact:  # as numerical derivatives are
            right = {name: a * (1 + 1e-9 * rng.standard_normal(a.shape)) for name, a in right.items()}
        made.append(Compared(given, right, [dout], {"x": x, "g": g, "w": w, "b": b}, **options))
    return made


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "numerical"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r, x, w, d: {"w": -r["w"]}, "dw has the wrong sign"),
        (lambda r, x, w, d: {"w": 0 * r["w"], "b": 0 * r["b"]}, "each of dw and db is zero"),
        (lambda r, x, w, d: {"b": r["b"] / 6}, "db is 1/6 times what it should be, and 6 is the number of rows of x"),
        (lambda r, x, w, d: {"b": r["b"] / 2}, "db is 1/2 times what it should be, and 2 is the length of axis 0 of x"),
        (lambda r, x, w, d: {"w": r["w"].T}, "dw is transposed"),
        (lambda r, x, w, d: {"w": r["w"].T.reshape(4, 5)}, "dw is the transpose of the right one, reshaped to fit"),
        (lambda r, x, w, d: {"w": r["b"], "b": r["w"]}, "dw and db stand in each other's place"),
        (lambda r, x, w, d: {"x": r["x"][:, ::-1]}, "dx is the right one in reverse order along axis 1"),
        (lambda r, x, w, d: {"b": d}, "db is not summed over axes 0 and 1"),
        (lambda r, x, w, d: {"b": d.sum(axis=0)}, "db is summed over axis 0 of dout but not over axis 1"),
        (lambda r, x, w, d: {"b": d.sum(axis=2)}, "db is dout summed over axis 2, where axes 0 and 1 belong"),
        (lambda r, x, w, d: {"b": d[-1].sum(axis=0)}, "db is what the last place of axis 0 of out gives"),
        (lambda r, x, w, d: {"x": r["x"] * x}, "dx has the factor x once too often"),
        (lambda r, x, w, d: {"w": r["w"] + 0.1 * w}, "dw has 0.1 w added to it"),
        (lambda r, x, w, d: {"x": x}, "dx is x itself"),
        (lambda r, x, w, d: {"x": np.where(x < 0, 0, r["x"])}, "dx is wrong only where x is negative"),
        (lambda r, x, w, d: {"x": np.concatenate([0 * r["x"][:, :1], r["x"][:, 1:]], axis=1)},
         "dx is wrong only at the first place of axis 1"),
        (lambda r, x, w, d: {"x": r["x"] + 1e-5 * np.sin(9 * x)}, "dx agrees with the right one to"),
        (lambda r, x, w, d: {"x": np.abs(r["x"])}, "dx has lost its signs"),
    ],
)  # fmt: skip
def test_a_relation_is_said(change, says, exact):
    said = [explanation.says for explanation in explain(cases(change, exact))]
    assert len(said) == 1 and said[0].startswith(says), said


def test_of_right_gradients_there_is_nothing_to_say():
    assert explain(cases(lambda *_: {})) == []
    assert explain(cases(lambda *_: {}, exact=False)) == []


def test_of_what_nothing_explains_nothing_is_said():
    assert explain(cases(lambda r, x, w, d: {"w": np.tanh(r["w"])})) == []


def test_of_gradients_that_a_check_found_right_nothing_is_said():
    made = cases(lambda r, x, w, d: {"w": r["w"] * 3.5, "b": r["b"] * 3.5})
    assert [explanation.says for explanation in explain(made, wrong=["w"])] == ["dw is 3.5 times what it should be"]


def test_a_relation_that_holds_in_one_case_of_several_is_not_said():
    made = cases(lambda r, x, w, d: {"w": -r["w"]})
    made[1] = made[1]._replace(gradients=made[1].gradients | {"w": 2 * made[1].right["w"] + 1})
    assert explain(made) == []
    assert [explanation.says for explanation in explain(made[:1])] == ["dw has the wrong sign"]


@pytest.mark.parametrize("dout", [(0.7, -1.3, 2.1), (-0.7, -1.3, -2.1)], ids=["of both signs", "negative"])
@pytest.mark.parametrize(
    ("power", "sign", "says"),
    [
        (2, 1, "dx multiplies by dout, the gradient from above, twice"),
        (0, 1, "dx does not multiply by dout, the gradient from above"),
        (2, -1, "dx multiplies by dout, the gradient from above, twice, and has the wrong sign"),
    ],
)
def test_a_factor_of_dout_is_told_with_its_sign(power, sign, says, dout):
    made = []
    for seed, above in enumerate(dout):
        slope = np.random.default_rng(seed).standard_normal((2, 3))
        given, right = {"x": sign * slope * above**power}, {"x": slope * above}
        made.append(Compared(given, right, [np.array(above)], {"x": slope}))
    assert [explanation.says for explanation in explain(made)] == [says]


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        (lambda rows: rows[-1], "dtable keeps of several gradients for one row only the last"),
        (lambda rows: rows[0], "dtable keeps of several gradients for one row only the first"),
        (lambda rows: rows.mean(axis=0), "dtable keeps of several gradients for one row the mean"),
        (
            lambda rows: rows[: max(1, len(rows) - 1)].sum(axis=0),
            "dtable keeps of several gradients for one row only some",
        ),
    ],
)
def test_what_became_of_gradients_that_meet_is_told(keep, says):
    made = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        ids, dout = np.array([[0, 3, 0, 1], [3, 3, 5, 0]]), rng.standard_normal((2, 4, 3))
        right, given = np.zeros((7, 3)), np.zeros((7, 3))
        np.add.at(right, ids, dout)
        for number in np.unique(ids):
            given[number] = keep(dout[ids == number])
        made.append(Compared({"table": given}, {"table": right}, [dout], {"ids": ids, "table": right + 1}))
    (explanation,) = explain(made)
    assert explanation.says.startswith(says)


def test_right_gradients_for_another_dout_tell_what_is_lost_of_it():
    def right_from(x):
        return lambda dout: {"w": x.reshape(-1, 4).T @ dout[0].reshape(-1, 5)}

    made = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x, dout = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3, 5))
        given, right = {"w": x[-1].T @ dout[-1]}, right_from(x)([dout])
        made.append(
            Compared(given, right, [dout], {"x": x, "w": rng.standard_normal((4, 5))}, right_from=right_from(x))
        )
    assert [e.says for e in explain(made)] == ["dw is what the last sequence alone gives: the others are lost"]


# What an error is made of


def layernorm_case(seed, axis, kept):
    """LayerNorm over an axis without some of dx's terms. kept: which, of the mean's and the variance's."""
    rng = np.random.default_rng(seed)
    x, dout = rng.standard_normal((2, 5 - seed % 2, 7))
    centred = x - x.mean(axis=axis, keepdims=True)
    rstd = 1 / np.sqrt((centred * centred).mean(axis=axis, keepdims=True))
    xhat = centred * rstd
    terms = dout.mean(axis=axis, keepdims=True), xhat * (dout * xhat).mean(axis=axis, keepdims=True)
    right = rstd * (dout - terms[0] - terms[1])
    given = rstd * (dout - sum((term for term, keep in zip(terms, kept, strict=True) if keep), np.zeros(())))
    return Compared({"x": given}, {"x": right}, [dout], {"x": x}, out=[xhat])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ((False, True), "one number all along axis {}: as if a term through a sum or a mean over it were missing"),
        ((True, False), "a multiple of forward's output along axis {}: as if a term through a sum over it were"),
        ((False, False), "one number and a multiple of x along axis {}: as if the terms through mean and variance"),
    ],
)
def test_the_terms_that_are_missing_are_told_from_what_is_lacking(axis, kept, words):
    (found,) = explain([layernorm_case(seed, axis, kept) for seed in range(3)])
    assert found.says.startswith("dx is off by " + words.format(axis))


def test_of_an_error_of_any_other_form_nothing_is_said():
    rng = np.random.default_rng(0)
    cases = [layernorm_case(seed, 1, (True, True)) for seed in range(3)]
    noisy = [
        case._replace(gradients={"x": case.right["x"] + rng.standard_normal(case.right["x"].shape)}) for case in cases
    ]
    assert explain(noisy) == []


def test_a_single_entry_is_named():
    cases = [layernorm_case(seed, 1, (True, True)) for seed in range(3)]
    for case in cases:
        case.gradients["x"][1, 3] *= 1.1
    (found,) = explain(cases)
    assert found.says == "dx is wrong only at [1, 3]"


def test_a_factor_near_one_is_said_with_its_digits():
    cases = [layernorm_case(seed, 1, (True, True)) for seed in range(3)]
    scaled = [case._replace(gradients={"x": case.right["x"] * (1 + 2e-6)}) for case in cases]
    (found,) = explain(scaled, 1e-9)
    assert found.says == "dx is 1.000002 times what it should be"
