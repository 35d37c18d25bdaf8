"""A reader's own parts: each checked, and what is wrong named."""

import inspect
import textwrap

import numpy as np
import pytest

from tests.own_parts import PROJECT, PYTHON, TEXT, fill, spoil
from tinygpt.cli import main
from tinygpt.gradcheck.mutants import mutants
from tinygpt.own_layers import PARTS, check, load_own_layers, outcomes
from tinygpt.sample import probabilities

FUNCTIONS = outcomes.FUNCTIONS
MISTAKES = [(name, mistake) for name in FUNCTIONS for mistake in outcomes.mistakes(name)]
LAYER_MUTANTS = [
    next(m for m in mutants(part.name) if m.family != "forward") for part in PARTS.values() if part.is_layer
]


def difference(name, call, candidate):
    right = FUNCTIONS[name].DEFINITION
    names = list(inspect.signature(right).parameters)
    return outcomes.difference(call, names, *(outcomes.outcome(f, call) for f in (candidate, right)))


# Functions


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_engines_own_function_is_right_for_many_seeds(name):
    right = FUNCTIONS[name].DEFINITION
    for seed in range(20):
        for call in outcomes.calls(name, seed):
            assert not difference(name, call, right), call.title
        assert outcomes.diagnose(name, right, seed) == ""


@pytest.mark.parametrize("name, mistake", MISTAKES, ids=lambda x: x if isinstance(x, str) else x.says[:50])
def test_every_usual_mistake_is_caught_and_named(name, mistake):
    wrong = getattr(mistake.wrong, FUNCTIONS[name].DEFINITION.__name__)
    for seed in range(3):
        assert any(difference(name, call, wrong) for call in outcomes.calls(name, seed))
        assert outcomes.diagnose(name, wrong, seed + 10) == mistake.says


def test_a_wrong_function_is_shown_what_it_gave_and_what_was_expected(tmp_path):
    fill(tmp_path, "merge")
    checked = check("merge", spoil(tmp_path, "merge", "i += 2", "i += 1"))
    assert not checked.passed and checked.written
    assert "\n    returned [3, 2, 9, 2]\n    expected [3, 2, 9]" in checked.text and checked.text.count("expected") == 1
    assert checked.wrong == "after a merge the second token of the pair is read once more: step over both"


def test_a_function_that_writes_to_its_argument_is_told_so(tmp_path):
    fill(tmp_path, "merge")
    checked = check("merge", spoil(tmp_path, "merge", "    merged = []", "    ids = ids[:]\n    merged = []"))
    assert checked.passed
    checked = check("merge", spoil(tmp_path, "merge", "    return merged", "    ids0.clear()\n    return merged"))
    assert not checked.passed and "line" in checked.wrong  # ids0 is not defined
    fill(tmp_path, "merge")
    checked = check("merge", spoil(tmp_path, "merge", "    return merged", "    ids.clear()\n    return merged"))
    assert not checked.passed and "left ids changed: it should be as it was, to the last bit" in checked.text


def test_draw_may_ask_for_its_numbers_in_either_shape(tmp_path):
    fill(tmp_path, "draw")
    one = "rng.random((len(probs), 1)) * cumulative"
    assert check("draw", spoil(tmp_path, "draw", one, "rng.random(len(probs))[:, None] * cumulative")).passed
    fill(tmp_path, "draw")
    checked = check("draw", spoil(tmp_path, "draw", one, "rng.normal(size=(len(probs), 1)) * cumulative"))
    assert "take one number for each row from rng.random" in checked.wrong


# Files


@pytest.mark.parametrize("name", PYTHON)
def test_the_engines_own_file_passes(name, tmp_path):
    fill(tmp_path, name)
    for seed in (0, 5):
        checked = check(name, tmp_path / f"{name}.py", seed)
        assert checked.passed and checked.wrong == checked.beside == "", checked.text


def test_a_right_layer_hears_a_second_opinion_from_the_readers_own_numerical_gradient(tmp_path):
    fill(tmp_path, "numerical_gradient", "block")
    text = check("block", tmp_path / "block.py").text
    error = float(text.rpartition("worst relative error ")[2])
    assert "your own numerical_gradient agrees" in text and error < 1e-7
    spoil(tmp_path, "numerical_gradient", "(2 * h)", "h")
    assert "is not right yet" in check("block", tmp_path / "block.py").text


def test_the_second_opinion_is_the_readers_own(tmp_path):
    fill(tmp_path, "numerical_gradient", "gelu")
    spoil(tmp_path, "numerical_gradient", "    return gradient", "    return gradient + (x.size == 60) * 1e-3")
    said: set[str] = set()
    for seed in (4, *range(30)):  # in some its array has the size at which it is wrong
        said |= {word for word in ("DISAGREES", "agrees") if word in check("gelu", tmp_path / "gelu.py", seed).text}
        if len(said) == 2:
            return
    raise AssertionError(said)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("def forward(:", "line 1, raised SyntaxError"),
        ("def forward(x): return x, ()", "there is no function backward; expected forward and backward"),
        ("import nothing_of_this_name", "line 1, raised ModuleNotFoundError"),
        ("raise SystemExit(3)", "line 1, raised SystemExit: 3"),
        ("def forward(x): return x, ()\ndef backward(d, c): return d", "forward does not take gelu's arguments"),
        ("def forward(x, approximate):\n    return x.nothing, ()\ndef backward(d, c): return d", "line 2, raised Attr"),
        ("def forward(x, approximate): return x, x\ndef backward(d, c): return d", "not what the definition computes"),
    ],
)
def test_whatever_a_file_does_the_verdict_is_in_words(text, expected, tmp_path):
    path = tmp_path / "gelu.py"
    path.write_text(text, encoding="utf-8")
    checked = check("gelu", path)
    assert not checked.passed and checked.written and checked.wrong
    assert expected in checked.text


@pytest.mark.parametrize(
    "name, old, new, wrong",
    [
        ("gelu", "math.sqrt(2 / math.pi)", "__import__('numpy').sqrt(2 / math.pi)", "out is float64 where"),
        ("linear", "dw = rows.T @ drows", "dw = (rows.T @ drows).astype('f8')", "dw is float64 where"),
        ("linear", " if has_bias else None", "", "db is to be None where b is None"),
        ("cross_entropy", "loss.astype(logits.dtype)", "float(loss)", "out is a float, where an array"),
        ("attention", "3 * C)", "3 * C), None", "backward's result is a tuple of 2, where an array of float32 belongs"),
        ("block", " if gradient is not None}", "}", "leave out gradients that are None, here attn.c_attn"),
        ("gelu", "    else:\n        raise", "    elif approximate == 'x':\n        raise", "approximate='sigmoid'"),
        ("layernorm", "tuple(range(dout.ndim - 1))", "(0, 1)", "is summed over its axis 0 too"),
        ("softmax", "    return out * (dout", "    dout -= 1\n    return out * (dout", "backward wrote to dout"),
        ("embedding", "    return dw", "    return", "backward returned None: the return at its end, in line"),
        ("embedding", "    return dw", "    none = None\n    return none", "at its return, in line 27, none is None"),
        ("embedding", "    return dw", "    if dout is None:\n        return dw", "is there a return at its end?"),
        ("mlp", "return dx, dw_fc, db_fc, dw_proj, db_proj", "return dx, dw_fc", "backward returned 2 gradients"),
        ("layernorm", "x.mean(axis=-1, keepdims=True)", "x.mean(axis=-1)", "layernorm.py, line 15, raised ValueError"),
    ],
)  # fmt: skip
def test_what_breaks_the_contract_though_the_numbers_are_right_is_said(name, old, new, wrong, tmp_path):
    fill(tmp_path, name)
    checked = check(name, spoil(tmp_path, name, old, new), seed=1)
    assert not checked.passed and wrong in checked.wrong, checked.text
    assert checked.wrong in checked.text


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "name, old, new, wrong",
    [
        ("gelu", "def backward(dout: Array, cache: tuple)", "def backward(dout: Array)", "does not take dout"),
        ("linear", "    x, w, has_bias = cache", "    x, w, has_bias = LAST", "it keeps something outside its cache"),
        ("softmax", "x - xp.where(xp.isinf(largest), 0, largest)", "x", "forward does not subtract the maximum"),
        ("attention", "scores - scores.max(axis=-1, keepdims=True)", "scores", "out is not finite where qkv is"),
        ("softmax", "xp.where(total == 0, 1, total)", "(total + 1e-300)", "not finite where the inputs are float32"),
        ("gelu", "(x + 0.044715 * x * x * x)", "(x + 0.0447150001 * x * x * x)", "agrees to six digits, not to twelve"),
        ("block", "da, d['ln_1.weight'], d['ln_1.bias']", "da, d['ln_1.weight'], d['ln1.bias']", "there is no ln1"),
        ("block", "return dx + da, {", "return dout + da, {", "what came back through the MLP is lost on its way to x"),
    ],
)  # fmt: skip
def test_what_numbers_alone_would_not_show_is_said(name, old, new, wrong, tmp_path):
    fill(tmp_path, name)
    path = spoil(tmp_path, name, old.replace("'", '"'), new.replace("'", '"'))
    if "LAST" in new:
        line = "    rows = x.reshape(-1, x.shape[-1])  # (..., I) -> (N, I): one"
        spoil(tmp_path, name, line, f"    global LAST\n    LAST = (x, w, b is not None)\n{line}")
    checked = check(name, path, seed=1)
    assert not checked.passed and wrong in checked.wrong, checked.text


def test_a_loop_without_an_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("tinygpt.own_layers.judge.FUNCTION_SECONDS", 1)
    fill(tmp_path, "merge")
    checked = check("merge", spoil(tmp_path, "merge", "            i += 1", "            pass"))
    assert not checked.passed and "merge.py, line " in checked.wrong
    assert checked.wrong.endswith("had not come back after 1 s; is there a loop without an end?")


HEAD = (
    "import numpy as np\nfrom tinygpt.errors import UserError\nfrom tinygpt.layers import softmax as engine_softmax\n"
)
RIGHT = {  # as others may write them
    "windows_at": """
        def windows_at(tokens, starts, block_size):
            rows = np.stack([tokens[s : s + block_size + 1] for s in starts]).astype(np.int64)
            return [rows[:, :-1], rows[:, 1:]]""",
    "merge": """
        def merge(ids, pair, new_id):
            out, skip = [], False
            for a, b in zip(ids, ids[1:] + [None]):
                if skip:
                    skip = False
                elif (a, b) == tuple(pair):
                    out.append(new_id)
                    skip = True
                else:
                    out.append(a)
            return out""",
    "draw": """
        def draw(probs, rng):
            ends = np.cumsum(probs, axis=1)
            u = rng.uniform(size=len(probs)) * ends[:, -1]
            return (ends <= u[:, None]).sum(axis=1)""",
    "numerical_gradient": """
        def numerical_gradient(f, x, h=1e-5):
            g = np.empty_like(x)
            it = np.nditer(x, flags=["multi_index"])
            for _ in it:
                i = it.multi_index
                old = x[i].copy()
                values = []
                for sign in (1, -1):
                    x[i] = old + sign * h
                    values.append(f(x))
                x[i] = old
                g[i] = (values[0] - values[1]) / h / 2
            return g""",
    "embedding": """
        def forward(idx, w):
            return np.take(w, idx, axis=0), [idx, w.shape, w.dtype]
        def backward(dout, cache):
            dw = np.zeros(cache[1], cache[2])
            np.add.at(dw, cache[0], dout)
            return dw""",
    "linear": """
        def forward(x, w, b=None):
            return x @ w + (0 if b is None else b), (x, w, b)
        def backward(dout, cache):
            x, w, b = cache
            lead = tuple(range(x.ndim - 1))
            dw = np.tensordot(x, dout, (lead, lead))
            return [dout @ w.T, dw, None if b is None else dout.sum(axis=lead)]""",
    "layernorm": """
        def forward(x, gain, shift=None, eps=1e-5):
            mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
            h = (x - mean) / (var + eps) ** 0.5
            return h * gain + (0 if shift is None else shift), (h, (var + eps) ** -0.5, gain, shift)
        def backward(d, saved):
            h, r, gain, shift = saved
            lead = tuple(range(h.ndim - 1))
            g = d * gain
            C = h.shape[-1]
            dx = r / C * (C * g - g.sum(-1, keepdims=True) - h * (g * h).sum(-1, keepdims=True))
            return dx, (d * h).sum(lead), None if shift is None else d.sum(lead)""",
    "softmax": """
        def forward(x):
            m = np.maximum(x.max(axis=-1, keepdims=True), np.finfo(x.dtype).min)
            e = np.exp(x - m)
            s = e.sum(axis=-1, keepdims=True)
            p = np.divide(e, s, out=np.zeros_like(e), where=s > 0)
            return p, p
        def backward(dout, p):
            return p * dout - p * np.einsum("...i,...i->...", p, dout)[..., None]""",
    "adamw_update": """
        def adamw_update(w, dw, m, v, step, lr, beta1, beta2, eps, weight_decay):
            m[...] = beta1 * m + (1 - beta1) * dw
            v[...] = beta2 * v + (1 - beta2) * dw**2
            mhat, vhat = m / (1 - beta1**step), v / (1 - beta2**step)
            w -= lr * weight_decay * w
            w -= lr * mhat / (np.sqrt(vhat) + eps)""",
    "probabilities": """
        def probabilities(logits, temperature=1.0, top_k=None, top_p=None, layer=engine_softmax):
            if not np.all(np.isfinite(logits)):
                raise UserError("no")
            if temperature == 0:
                return (np.arange(logits.shape[1]) == logits.argmax(1)[:, None]).astype(float)
            z = logits.astype(float)
            with np.errstate(over="ignore"):
                z = (z - z.max(1, keepdims=True)) / temperature
            if top_k and top_k < z.shape[1]:
                z[z < np.sort(z, axis=1)[:, [-top_k]]] = -np.inf
            p = layer.forward(z)[0]
            if top_p is not None:
                for row in p:
                    order = np.argsort(-row, kind="stable")
                    reached = np.cumsum(row[order]) - row[order]
                    row[order[reached >= top_p]] = 0
                    row /= row.sum()
            return p""",
    "attention_decode": """
        def decode(q, keys, values):
            B, H, t, D = q.shape
            S = keys.shape[2]
            scores = np.einsum("bhtd,bhsd->bhts", q, keys) / D**0.5
            scores[..., np.arange(S)[None] > np.arange(S - t, S)[:, None]] = -np.inf
            p = np.exp(scores - scores.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            return np.einsum("bhts,bhsd->bthd", p, values).reshape(B, t, H * D)""",
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_code_of_another_kind_raises_no_alarm(name, tmp_path):
    (tmp_path / f"{name}.py").write_text(HEAD + textwrap.dedent(RIGHT[name]), encoding="utf-8")
    for seed in range(3):
        checked = check(name, tmp_path / f"{name}.py", seed)
        assert checked.passed, checked.text


def test_a_softmax_and_rules_of_the_readers_own_go_together(tmp_path):
    fill(tmp_path, "softmax")
    (tmp_path / "probabilities.py").write_text(HEAD + textwrap.dedent(RIGHT["probabilities"]), encoding="utf-8")
    parts = load_own_layers(tmp_path).parts
    logits = np.array([[1.0, 2.0, 0.5]])
    own = parts.model["probabilities"](logits, 0.7, None, 0.9, parts.leaves["softmax"])
    np.testing.assert_allclose(own, probabilities(logits, 0.7, None, 0.9))


def test_what_the_engine_cannot_use_is_one_sentence_that_names_the_parts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(PROJECT)
    fill(tmp_path, "gelu")
    spoil(tmp_path, "gelu", "    return x * phi, (", "    return (x * phi)[..., : 7 if x.shape[-1] == 64 else None], (")
    flags = f"--data={TEXT} --n_layer=1 --n_head=2 --n_embd=16 --block_size=8 --max_iters=1 --device=cpu".split()
    assert main(["train", *flags, f"--mine={tmp_path}", f"--out_dir={tmp_path / 'out'}"]) == 1
    assert (
        "the engine could not use what one of your parts (gelu) returned: raised ValueError" in capsys.readouterr().err
    )


def test_code_for_rows_is_told_so_beside_the_line_that_raised(tmp_path):
    path = tmp_path / "linear.py"
    path.write_text(
        "def forward(x, w, b=None):\n"
        "    return (x @ w if b is None else x @ w + b), (x, w, b)\n"
        "def backward(dout, cache):\n"
        "    x, w, b = cache\n"
        "    return dout @ w.T, x.T @ dout, None if b is None else dout.sum(axis=0)\n"
    )
    raised, rows = check("linear", path).wrong.splitlines()
    assert "linear.py, line 5, raised ValueError" in raised
    assert rows.startswith("it is right for rows, but x is (") and "make rows first" in rows


def test_half_a_file_is_judged_by_its_half(tmp_path):
    fill(tmp_path, "softmax")
    path = spoil(tmp_path, "softmax", "    return out * (dout", "    raise NotImplementedError\n    return out * (dout")
    checked = check("softmax", path)
    assert (
        not checked.passed
        and not checked.written
        and checked.wrong.endswith("softmax.py: forward is right in all 4 cases; backward is not written yet")
    )
    spoil(tmp_path, "softmax", "exps / xp.where", "2 * exps / xp.where")
    checked = check("softmax", path)
    assert "not what the definition computes" in checked.text and not checked.written
    assert checked.wrong.splitlines() == [
        "forward's output is 2 times what it should be",
        "backward is not written yet",
    ]


def test_a_forward_that_raises_in_some_cases_is_not_right_in_all(tmp_path):
    path = tmp_path / "linear.py"
    path.write_text(
        "def forward(x, w, b):\n    return x @ w + b, (x, w)\n"
        "def backward(dout, cache):\n    raise NotImplementedError\n"
    )
    raised, blank = check("linear", path).wrong.splitlines()
    assert "linear.py, line 2, raised TypeError" in raised and raised.endswith("(in linear.py, no bias)")
    assert blank == "backward is not written yet"
