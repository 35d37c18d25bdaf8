"""In the functions of the course that are no layers, each mistake has its own true sentence, whoever wrote them."""

import numpy as np
import pytest

from tinygpt.own_layers import check, outcomes

ADAMW = """
def adamw_update(w, dw, m, v, step, lr, beta1, beta2, eps, weight_decay):
    m[:] = beta1 * m + (1 - beta1) * dw
    v[:] = beta2 * v + (1 - beta2) * dw**2
    mhat = m / (1 - beta1**step)
    vhat = v / (1 - beta2**step)
    w -= lr * weight_decay * w
    w -= lr * mhat / (np.sqrt(vhat) + eps)
"""

PROBABILITIES = """
def probabilities(logits, temperature=1.0, top_k=None, top_p=None, softmax=softmax):
    if not np.isfinite(logits).all():
        raise UserError("the logits are not finite")
    logits = logits.astype(np.float64)
    if temperature == 0:
        return np.eye(logits.shape[-1])[logits.argmax(axis=-1)]
    logits = logits - logits.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):
        logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = np.sort(logits, axis=-1)[:, -top_k][:, None]
        logits = np.where(logits >= least, logits, -np.inf)
    probs = softmax.forward(logits)[0]
    if top_p is not None:
        order = np.argsort(-probs, axis=-1, kind="stable")
        for row, places in zip(probs, order):
            total = 0.0
            for place in places:
                if total >= top_p:
                    row[place] = 0
                else:
                    total += row[place]
        probs = probs / probs.sum(axis=-1, keepdims=True)
    return probs
"""

DECODE = """
def decode(q, keys, values):
    B, H, t, D = q.shape
    S = keys.shape[2]
    scores = q @ keys.transpose(0, 1, 3, 2) / np.sqrt(D)
    past = np.arange(S)[None, :] <= np.arange(S - t, S)[:, None]
    scores = np.where(past, scores, -np.inf)
    w = np.exp(scores - scores.max(axis=-1, keepdims=True))
    w = w / w.sum(axis=-1, keepdims=True)
    return (w @ values).transpose(0, 2, 1, 3).reshape(B, t, H * D)
"""

NUMERICAL = """
def numerical_gradient(f, x, h=1e-5):
    grad = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        old = x[place].copy()
        x[place] = old + h
        above = f(x)
        x[place] = old - h
        below = f(x)
        x[place] = old
        grad[place] = (above - below) / (2 * h)
    return grad
"""

MERGE = """
def merge(ids, pair, new_id):
    out, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == tuple(pair):
            out.append(new_id)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out
"""

WINDOWS = """
def windows_at(tokens, starts, block_size):
    place = np.asarray(starts).reshape(-1, 1) + np.arange(block_size)
    return np.int64(tokens[place]), np.int64(tokens[place + 1])
"""

SOURCES = {
    "adamw_update": ADAMW, "probabilities": PROBABILITIES, "attention_decode": DECODE, "numerical_gradient": NUMERICAL,
    "merge": MERGE, "windows_at": WINDOWS,
}  # fmt: skip
IMPORTS = "import numpy as np\nfrom tinygpt.errors import UserError\nfrom tinygpt.layers import softmax\n"


def text(name, *changes):
    source = SOURCES[name]
    for old, new in changes:
        assert source.count(old) == 1, (old, source.count(old))
        source = source.replace(old, new)
    return IMPORTS + source


def written(name, *changes):
    namespace = {}
    exec(text(name, *changes), namespace)
    return namespace[outcomes.FUNCTIONS[name].DEFINITION.__name__]


MISTAKES = [
    ("adamw_update", [("1 - beta1**step", "1 - beta1"), ("1 - beta2**step", "1 - beta2")], "lack their power"),
    ("adamw_update", [("1 - beta1**step", "1 - beta1")], "the first moment's correction is 1 - beta1"),
    ("adamw_update", [("1 - beta2**step", "1 - beta1**step")], "the second moment is corrected with beta1"),
    ("adamw_update", [("mhat = m / (1 - beta1**step)", "m /= 1 - beta1**step\n    mhat = m")],
     "m is corrected in place"),
    ("adamw_update", [("mhat = m / (1 - beta1**step)", "m /= 1 - beta1**step\n    mhat = m"),
                      ("vhat = v / (1 - beta2**step)", "v /= 1 - beta2**step\n    vhat = v")],
     "m and v are corrected in place"),
    ("adamw_update", [("* dw**2", "* dw")], "the second moment takes dw, where dw * dw belongs"),
    ("adamw_update", [("np.sqrt(vhat) + eps", "np.sqrt(vhat + eps)")], "eps stands under the root"),
    ("adamw_update", [("m[:] =", "dw = dw + weight_decay * w\n    m[:] ="), ("    w -= lr * weight_decay * w\n", "")],
     "the decay goes into the gradient, as in Adam with L2 regularisation: in AdamW it acts on w alone"),
    ("adamw_update", [("m[:] =", "dw += weight_decay * w\n    m[:] ="), ("    w -= lr * weight_decay * w\n", "")],
     "the decay goes into the gradient, as in Adam with L2 regularisation, and changes dw too"),
    ("probabilities", [("logits, -np.inf)", "logits, 0)")], "what top_k leaves out gets a logit of 0"),
    ("probabilities", [("logits - logits.max(axis=-1, keepdims=True)", "logits"), ("logits, -np.inf)", "logits, 0)")],
     "what top_k leaves out gets a logit of 0"),
    ("probabilities", [("logits = logits / temperature", "pass"),
                       ("softmax.forward(logits)[0]", "softmax.forward(logits)[0] / temperature")],
     "the temperature divides the probabilities"),
    ("attention_decode", [("keys.transpose(0, 1, 3, 2)", "keys[:, :, -t:].transpose(0, 1, 3, 2)"),
                          ("S = keys.shape[2]", "S = t"), ("w @ values", "w @ values[:, :, -t:]")],
     "only the newest keys and values are used"),
    ("attention_decode", [("np.arange(S - t, S)", "np.arange(t)")],
     "the mask takes the new positions for the first ones"),
    ("adamw_update", [("beta1 * m + (1 - beta1) * dw", "(1 - beta1) * m + beta1 * dw")],
     "beta1 and 1 - beta1 stand in each other's place in the first moment"),
    ("probabilities", [("np.argsort(-probs, axis=-1, kind=\"stable\")", "[range(probs.shape[-1])] * len(probs)")],
     "top_p adds the tokens up in their own order"),
    ("probabilities", [("np.sort(logits, axis=-1)[:, -top_k][:, None]", "np.sort(logits.ravel())[-top_k]")],
     "the edge of top_k is that of the whole batch"),
    ("attention_decode", [("w @ values", "w @ keys")], "the weights multiply the keys, where the values belong"),
    ("attention_decode", [("/ np.sqrt(D)", "/ np.sqrt(S)")], "divided by sqrt(S), the root of the number of keys"),
    ("windows_at", [("np.arange(block_size)", "1 + np.arange(block_size)")], "the windows begin one place too late"),
    ("windows_at", [("tokens[place + 1]", "tokens[place + block_size]")], "targets are the window that follows"),
    ("numerical_gradient", [("/ (2 * h)", "/ 2 * h")], "/ 2 * h divides by 2 and multiplies by h"),
    ("numerical_gradient", [("np.ndindex(x.shape)", "range(len(x))")], "range(len(x)) goes over the first axis alone"),
]  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_without_a_mistake_it_is_right(name, tmp_path):
    path = tmp_path / f"{name}.py"
    path.write_text(text(name))
    checked = check(name, path)
    assert checked.passed, checked.text


@pytest.mark.parametrize(("name", "changes", "says"), MISTAKES, ids=lambda x: x[:40] if isinstance(x, str) else "")
def test_a_mistake_is_named(name, changes, says):
    assert says in outcomes.diagnose(name, written(name, *changes))


def test_two_mistakes_are_both_named():
    both = written("adamw_update", ("* dw**2", "* dw"), ("    w -= lr * weight_decay * w\n", ""))
    assert set(outcomes.diagnose("adamw_update", both).splitlines()) == {
        "the second moment takes dw, where dw * dw belongs", "there is no weight decay",
    }  # fmt: skip


def test_another_error_than_the_expected_one_is_told_which_is(tmp_path):
    path = tmp_path / "probabilities.py"
    path.write_text(text("probabilities", ("raise UserError", "raise ValueError")))
    checked = check("probabilities", path)
    assert not checked.passed
    assert "raised ValueError: the logits are not finite; expected UserError" in checked.wrong


def test_the_words_are_the_same_in_every_check(tmp_path):
    path = tmp_path / "adamw_update.py"
    path.write_text(text("adamw_update", ("1 - beta2**step", "1 - beta1**step")))
    assert len({check("adamw_update", path, seed).wrong for seed in range(4)}) == 1


def test_what_is_not_finite_can_be_a_known_mistake():
    given, right = np.array([1.0, np.nan]), np.array([1.0, np.nan])
    assert outcomes.differs(given, right) == "" and outcomes.differs(given, np.array([1.0, 2.0]))


def test_of_zeros_no_two_mistakes_are_made_up():
    """A pair of mistakes that gives zeros too explains nothing of why they are there."""
    assert outcomes.diagnose("numerical_gradient", lambda f, x, h=1e-5: np.zeros_like(x)) == (
        "it is 0 everywhere: are the entries of x itself moved, or those of a copy, as of x.flatten()?"
    )
    assert outcomes.diagnose("probabilities", lambda logits, *rules: np.zeros_like(logits)) == ""


def test_results_of_several_arrays_are_no_zeros():
    assert outcomes.diagnose("windows_at", lambda tokens, starts, size: (np.zeros((2, 3)), np.zeros(2))) == ""
