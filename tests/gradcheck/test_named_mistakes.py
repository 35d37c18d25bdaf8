"""Each mistake has its own true sentence, whoever wrote the layer, and the same one in every run."""

import importlib
from types import SimpleNamespace

import pytest

from tests.gradcheck.written import SOURCES, written
from tinygpt.gradcheck import diagnose

MASK = (
    "mask = np.tril(np.ones((T, T), bool))\n    scores = np.where(mask, scores, -np.inf)\n    w = np.exp",
    "w = np.exp",
)
MISTAKES = [
    # layernorm
    ("layernorm", [("(dout * xhat).sum(axis=rows)", "(dout * xhat).sum(axis=0)")],
     "dw is summed over axis 0 of dout but not over axis 1"),
    ("layernorm", [("(dout * xhat).sum(axis=rows)", "dout * xhat")], "dw is not summed over axes 0 and 1"),
    ("layernorm", [("-0.5 * rstd**3", "-0.5 * rstd")], "has rstd, where rstd**3 belongs"),
    ("layernorm", [("-0.5 * rstd**3", "-0.5 * rstd**2")], "has rstd**2, where rstd**3 belongs"),
    ("layernorm", [("mean = x.mean(axis=-1, keepdims=True)", "mean = x.mean()")],
     "forward takes the mean over the whole array"),
    ("layernorm", [("mean = x.mean(axis=-1, keepdims=True)", "mean = x.mean()"),
                   ("((x - mean) ** 2).mean(axis=-1, keepdims=True)", "((x - mean) ** 2).mean()")],
     "forward takes mean and variance over the whole array"),
    ("layernorm", [("((x - mean) ** 2).mean(axis=-1, keepdims=True)", "x.var(axis=-1, ddof=1, keepdims=True)")],
     "forward divides the variance by C - 1"),
    ("layernorm", [("2 * (x - mean) / C", "2 * (x - mean) / (C - 1)")],
     "is divided by C - 1, where forward divides by C"),
    ("layernorm", [("dvar * 2 * (x - mean) / C", "dvar * 2 * x / C")], "multiplies by x, where x - mean belongs"),
    ("layernorm", [("return dx, dw, db", "return dx, db, dw")], "stand in each other's place"),
    ("layernorm", [("dw = (dout * xhat)", "dw = (xhat)")], "dw does not multiply by dout"),
    ("layernorm", [("dw = (dout * xhat)", "dw = (dout * dout * xhat)")], "dw multiplies by dout"),
    ("layernorm", [("return dx, dw, db", "return dx * w, dw, db")], "dx has the factor w once too often"),
    # softmax
    ("softmax", [("return p, p", "return p / len(x), p")], "forward's output is 1/len(x) times"),
    ("softmax", [("return p * (", "return p / len(p) * (")],
     "dx is 1/len(x) times what it should be, where len(x) is B"),
    ("softmax", [("e = np.exp(x - m)", "e = np.exp(x)")], "forward does not subtract the maximum before exp"),
    ("softmax", [("x.max(axis=-1, keepdims=True)", "x.max()")], "forward subtracts the maximum of the whole array"),
    ("softmax", [("    m = np.where(np.isfinite(m), m, 0)\n", "")], "a row of nothing but -inf gives NaN"),
    ("softmax", [("x.max(axis=-1, keepdims=True)", "x.max()"), ("np.where(s == 0, 1, s)", "s")],
     "forward subtracts the maximum of the whole array"),
    ("softmax", [("x.max(axis=-1, keepdims=True)", "x.max(axis=0, keepdims=True)"),
                 ("e.sum(axis=-1, keepdims=True)", "e.sum(axis=0, keepdims=True)")],
     "forward normalises over the first axis"),
    # cross-entropy
    ("cross_entropy", [("p[np.arange(len(safe)), safe] -= 1", "p[safe] -= 1")],
     "one is subtracted from whole rows, those whose numbers are targets"),
    ("cross_entropy", [("p[np.arange(len(safe)), safe] -= 1", "p[:, safe] -= 1")],
     "one is subtracted from whole columns"),
    ("cross_entropy", [("keep = t != -1", "keep = t == t")], "forward takes the target -1 for"),
    ("cross_entropy", [("keep = t != -1", "keep = t == t"), ("safe = np.where(keep, t, 0)", "safe = t")],
     "forward takes the target -1 for the last token"),
    ("cross_entropy", [("    p[~keep] = 0\n", "")], "targets that are ignored have a gradient all the same"),
    ("cross_entropy", [("denominator or ", "")], "forward does not use the denominator that it is given"),
    ("cross_entropy", [("z = z - z.max(axis=-1, keepdims=True)", "z = z - 0")],
     "forward does not subtract the maximum before exp"),
    ("cross_entropy", [("dout * p / n", "p / n")], "dlogits does not multiply by dout"),
    ("cross_entropy", [("dout * p / n", "dout * dout * p / n")],
     "dlogits multiplies by dout, the gradient from above, twice"),
    ("cross_entropy", [("dout * p / n", "dout * p / n / p.shape[-1]")], "dlogits is 1/V times what it should be"),
    # embedding
    ("embedding", [("dw[idx[place]] += dout[place]", "dw[idx[place]] = dout[place]")], "only the last one is kept"),
    ("embedding", [("for place in np.ndindex(idx.shape):", "for place in reversed(list(np.ndindex(idx.shape))):"),
                   ("+= dout", "= dout")], "keeps of several gradients for one row only the first"),
    # linear
    ("linear", [("drows @ w.T", "drows @ w.reshape(w.shape[::-1])")], "dx multiplies by w reshaped"),
    ("linear", [("rows.T @ drows", "rows.T @ drows / len(x)")], "dw is 1/B times what it should be"),
    # attention
    ("attention", [("return x.reshape(B, T, n_head, C // n_head).transpose(0, 2, 1, 3)",
                    "return x.reshape(B, n_head, T, C // n_head)"),
                   ("return x.transpose(0, 2, 1, 3).reshape(B, T, H * D)", "return x.reshape(B, T, H * D)")],
     "forward splits and merges the heads by reshape alone"),
    ("attention", [("return x.transpose(0, 2, 1, 3).reshape(B, T, H * D)", "return x.reshape(B, T, H * D)")],
     "forward merges the heads by reshape alone"),
    ("attention", [("(split(part, n_head) for part in np.split(qkv, 3, axis=-1))",
                    "qkv.reshape(B, T, n_head, 3, -1).transpose(3, 0, 2, 1, 4)")],
     "forward splits the channels as (head, q/k/v)"),
    ("attention", [("np.tril(np.ones((T, T), bool))", "np.tril(np.ones((T, T), bool), -1)")],
     "forward's mask is strict"),
    ("attention", [("np.tril(np.ones((T, T), bool))", "np.tril(np.ones((T, T), bool), -1)"), ("-np.inf", "-1e9")],
     "forward's mask is strict"),
    ("attention", [MASK, ("w = w / w.sum(axis=-1, keepdims=True)",
                          "w = w / w.sum(axis=-1, keepdims=True) * np.tril(np.ones((T, T)))")],
     "forward masks after softmax"),
    ("attention", [("np.where(mask, scores, -np.inf)", "scores * mask")], "forward gives masked scores 0"),
    ("attention", [MASK], "forward has no causal mask"),
    ("attention", [("k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])", "k.transpose(0, 1, 3, 2) / np.sqrt(C3 / 3)")],
     "forward divides the scores by sqrt(C), where sqrt(D) belongs"),
    ("attention", [("k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])",
                    "k.transpose(0, 1, 3, 2) * np.sqrt(q.shape[-1])")],
     "forward multiplies the scores by sqrt(D)"),
    ("attention", [("k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])", "k.transpose(0, 1, 3, 2)")],
     "forward does not divide the scores by sqrt(D)"),
    ("attention", [("scores.max(axis=-1, keepdims=True)", "scores.max(axis=-2, keepdims=True)"),
                   ("w.sum(axis=-1, keepdims=True)\n    keep", "w.sum(axis=-2, keepdims=True)\n    keep")],
     "forward's softmax runs over the queries"),
    ("attention", [("dk = ds.transpose(0, 1, 3, 2) @ q", "dk = ds @ q")], "dk multiplies q by dscores, not by"),
    ("attention", [("keepdims=True)) / np.sqrt(q.shape[-1])", "keepdims=True))")],
     "dq and dk lack the factor 1/sqrt(D)"),
]  # fmt: skip


@pytest.mark.parametrize("layer", SOURCES)
def test_without_a_mistake_there_is_nothing_to_say(layer):
    assert diagnose(layer, written(layer)) is None


@pytest.mark.parametrize(("layer", "changes", "says"), MISTAKES, ids=lambda x: x[:40] if isinstance(x, str) else "")
def test_a_mistake_is_named_and_nothing_else_said(layer, changes, says):
    diagnosis = diagnose(layer, written(layer, *changes))
    assert diagnosis.certain and says in diagnosis.explanations[0].says, str(diagnosis)
    assert len(str(diagnosis).splitlines()) <= 3, str(diagnosis)
    assert str(diagnosis) == str(diagnose(layer, written(layer, *changes)))


def test_code_for_rows_is_told_what_x_is():
    flat = [("x.reshape(-1, x.shape[-1])\n    out", "x\n    out"), ("out.reshape(*x.shape[:-1], w.shape[1])", "out"),
            ("x.reshape(-1, x.shape[-1]), dout.reshape(-1, dout.shape[-1])", "x, dout")]  # fmt: skip
    text = str(diagnose("linear", written("linear", *flat)))
    assert text.startswith("it is right for rows, but x is (") and "make rows first" in text
    assert len(text.splitlines()) == 1


def test_the_same_error_with_other_sizes_is_said_once():
    raising = written("linear", ("dx = drows @ w.T", "dx = drows @ w.T\n    raise ValueError(f'sizes {x.shape}')"))
    assert str(diagnose("linear", raising)).count("raised ValueError: sizes") == 1


def test_one_special_case_does_not_end_the_diagnosis_of_the_others():
    diagnosis = diagnose("softmax", written("softmax", ("np.where(s == 0, 1, s)", "(s * len(x))")))
    text = str(diagnosis)
    assert "forward's output is 1/len(x) times what it should be, where len(x) is B" in text
    assert "out is not finite in rows of x that are -inf throughout (in softmax, a row all masked)" in text


def test_of_cases_that_a_layer_has_no_arguments_for_nothing_is_said():
    gelu = importlib.import_module("tinygpt.layers.gelu")
    without = SimpleNamespace(
        forward=lambda x: gelu.forward(x), backward=lambda dout, cache: gelu.backward(dout, cache)
    )
    assert diagnose("gelu", without) is None
    without.backward = lambda dout, cache: -gelu.backward(dout, cache)
    assert str(diagnose("gelu", without)) == "dx has the wrong sign"


def test_what_is_listed_as_right_was_in_a_failing_case():
    only_without_bias = written(
        "linear", ("return dx.reshape", "dw = dw if b is not None else 2 * dw\n    return dx.reshape")
    )
    text = str(diagnose("linear", only_without_bias))
    assert "right: dx" in text and "db" not in text


def test_a_guess_that_does_not_give_the_numbers_is_not_made():
    nonsense = written("linear", ("dw = rows.T @ drows", "dw = np.tanh(rows.T @ drows)"))
    text = str(diagnose("linear", nonsense))
    assert text.startswith("no known mistake explains these numbers") and "like" not in text
