"""A reader's own parts: each checked, what is wrong named, and taken into a run."""

import ast
import inspect
import json
import textwrap
from pathlib import Path

import numpy as np
import pytest

from lessons.exercises import Exercise
from tinygpt.cli import main
from tinygpt.data import load_corpus
from tinygpt.errors import UserError
from tinygpt.gradcheck.edits import edited
from tinygpt.gradcheck.mutants import mutants
from tinygpt.models.gpt2 import GPT, Leaves
from tinygpt.ops import build
from tinygpt.own_layers import PARTS, check, load_own_layers, outcomes
from tinygpt.sample import probabilities
from tinygpt.tokenizer import BPETokenizer
from tinygpt.train import TrainConfig, resume, start, train

FUNCTIONS = outcomes.FUNCTIONS
MISTAKES = [(name, mistake) for name in FUNCTIONS for mistake in outcomes.mistakes(name)]
LAYER_MUTANTS = [
    next(m for m in mutants(part.name) if m.family != "forward") for part in PARTS.values() if part.is_layer
]
TEXT = "lessons/text.txt"
PROJECT = Path(__file__).parents[1]


def fill(folder, *names):
    """The engine's own parts as a reader's files."""
    for name in names or PARTS:
        (folder / f"{name}.py").write_text(Exercise(name, 0).solution(), encoding="utf-8")
    return folder


def spoil(folder, name, old, new):
    path = folder / f"{name}.py"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def run(folder, monkeypatch, own=None, **changes):
    monkeypatch.chdir(PROJECT)
    settings = {
        "data": TEXT, "out_dir": str(folder / "out"), "n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 12,
        "batch_size": 6, "max_iters": 20, "eval_interval": 20, "eval_iters": 1, "log_interval": 1, "dropout": 0.1,
        "sample_length": 0, "device": "cpu", "dtype": "float64", "threads": 2, "learning_rate": 1e-2, "bias": True,
    }  # fmt: skip
    own = own or (load_own_layers(changes["mine"]) if "mine" in changes else None)
    state = start(TrainConfig(**(settings | changes)), *([own.parts] if own else []))
    return [record.loss for record in train(state) if hasattr(record, "loss")], state, own


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
    assert "returned [9, 9, 7]; expected [9, 7]" in checked.text
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


@pytest.mark.parametrize("name", PARTS)
def test_the_engines_own_file_passes(name, tmp_path):
    fill(tmp_path, name)
    for seed in (0, 5):
        checked = check(name, tmp_path / f"{name}.py", seed)
        assert checked.passed and checked.wrong == "", checked.text


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
    texts = [check("gelu", tmp_path / "gelu.py", seed).text for seed in range(30)]
    assert any("DISAGREES" in text for text in texts) and any("agrees" in text for text in texts)


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
        ("linear", "dw = rows.T @ drows", "dw = (rows.T @ drows).astype('f8')", "gradient 2 of 3 is float64"),
        ("linear", " if has_bias else None", "", "db is to be None where b is None"),
        ("cross_entropy", "loss.astype(logits.dtype)", "float(loss)", "out is a float, where an array"),
        ("attention", "3 * C)", "3 * C), None", "backward's result is a tuple of 2, where an array of float32 belongs"),
        ("block", " if gradient is not None}", "}", "leave out gradients that are None, here attn.c_attn"),
        ("gelu", "    else:\n        raise", "    elif approximate == 'x':\n        raise", "approximate='sigmoid'"),
        ("layernorm", "tuple(range(dout.ndim - 1))", "(0, 1)", "is summed over its axis 0 too"),
        ("softmax", "    return out * (dout", "    dout -= 1\n    return out * (dout", "backward wrote to dout"),
        ("embedding", "    return dw", "    return", "backward returned None; is there a return at its end?"),
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
    for seed in range(12):
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
    assert "not what the definition computes" in check("softmax", path).text


# In a run


def test_a_run_with_every_part_of_the_readers_own_is_the_reference_run(tmp_path, monkeypatch):
    fill(tmp_path)
    settings = {"tokenizer": "bpe", "vocab_size": 290}
    mine, _, own = run(tmp_path, monkeypatch, mine=str(tmp_path), **settings)
    reference, *_ = run(tmp_path, monkeypatch, kernels="reference", **settings)
    assert set(own.used) == set(PARTS)
    assert len(mine) == 20 and mine[-1] < mine[0] - 0.3
    np.testing.assert_allclose(mine, reference, rtol=0, atol=1e-10)


def test_every_part_is_really_used(tmp_path, monkeypatch):
    """Each file leaves a file when it is called: all are, in one run and a sample from it, or in the others' checks."""
    fill(tmp_path)
    for name, part in PARTS.items():
        path = tmp_path / f"{name}.py"
        path.write_text(path.read_text(encoding="utf-8") + NOISY.format(part=part.functions), encoding="utf-8")
    own = load_own_layers(tmp_path)
    assert (tmp_path / "numerical_gradient.numerical_gradient").exists()
    for said in tmp_path.glob("*.*"):
        if said.suffix != ".py":
            said.unlink()
    _, state, _ = run(tmp_path, monkeypatch, own, max_iters=2, tokenizer="bpe", vocab_size=270)
    state.model.generate(np.array([[1, 2, 3]]), 4, top_p=0.9, seed=1)
    quiet = {name: {f for f in PARTS[name].functions if not (tmp_path / f"{name}.{f}").exists()} for name in own.used}
    of_no_page = {name for name in quiet if PARTS[name].is_layer and not (hasattr(Leaves, name) or hasattr(GPT, name))}
    assert {name for name in quiet if quiet[name]} == {"numerical_gradient", "softmax", *of_no_page}
    assert quiet["softmax"] == {"backward"}  # it serves in sampling alone


NOISY = """
import pathlib

def _noisy(name, function):
    def noisy(*arguments, **options):
        pathlib.Path(__file__).with_suffix("." + name).touch()
        return function(*arguments, **options)
    return noisy

for _name in {part}:
    globals()[_name] = _noisy(_name, globals()[_name])
"""


@pytest.mark.parametrize("mutant", LAYER_MUTANTS, ids=lambda mutant: f"{mutant.layer}-{mutant.name}")
def test_a_wrong_layer_among_right_ones_is_named_and_left_out(mutant, tmp_path):
    fill(tmp_path, "linear", mutant.layer)
    path = tmp_path / f"{mutant.layer}.py"
    path.write_text(ast.unparse(edited(path.read_text(encoding="utf-8"), mutant.edits)), encoding="utf-8")
    mine = load_own_layers(tmp_path)
    assert list(mine.left_out) == [mutant.layer] and mine.left_out[mutant.layer] == mutant.says
    assert set(mine.used) == {"linear"} - {mutant.layer}
    unchecked = load_own_layers(tmp_path, unchecked=True)
    assert set(unchecked.used) == {"linear", mutant.layer} and set(unchecked.unchecked) == {mutant.layer}


def test_the_command_names_yours_leaves_out_the_wrong_and_takes_it_in_when_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(PROJECT)
    fill(tmp_path, "gelu", "attention", "layernorm")
    spoil(tmp_path, "attention", "dk = bmm(dscores, q, transpose_a=True)", "dk = bmm(dscores, q)")
    (tmp_path / "layernorm.py").write_text(Exercise("layernorm", 0).blank(), encoding="utf-8")
    flags = (
        f"--data={TEXT} --n_layer=1 --n_head=2 --n_embd=16 --block_size=8 --batch_size=4 --max_iters=2 --eval_iters=1 "
        f"--log_interval=1 --sample_length=20 --device=cpu --threads=1 --mine={tmp_path} --out_dir={tmp_path / 'out'}"
    ).split()
    assert main(["train", *flags]) == 0
    out = capsys.readouterr().out
    assert "yours       gelu\n" in out
    assert "attention.py does not pass its check and is left out: dk multiplies q by dscores, where" in out
    assert f"not written yet in {tmp_path}: layernorm" in out
    assert main(["train", *flags, "--mine-unchecked"]) == 0
    out = capsys.readouterr().out
    assert "yours       gelu, attention\n" in out and "is taken in all the same: dk multiplies q" in out
    losses = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1]["val_loss"] > 0
    assert main(["sample", f"--mine={tmp_path}", f"--out_dir={tmp_path / 'out'}", "--max_new_tokens=5"]) == 0
    err = capsys.readouterr().err
    assert "attention.py does not pass its check and is left out" in err and "note: yours: gelu\n" in err


def test_a_resumed_run_goes_on_with_the_readers_parts_only_if_they_are_asked_for_again(tmp_path, monkeypatch, capsys):
    """A folder that somebody gives you may say anything: what it says never makes code run."""
    fill(tmp_path, "adamw_update")
    _, state, own = run(tmp_path, monkeypatch, mine=str(tmp_path), max_iters=2)
    assert list(own.used) == ["adamw_update"]
    assert inspect.getfile(state.optimizer.update) == str(tmp_path / "adamw_update.py")
    out_dir = state.config.out_dir
    ran = tmp_path / "ran"
    with (tmp_path / "adamw_update.py").open("a", encoding="utf-8") as file:
        file.write(f"\nopen({str(ran)!r}, 'w').close()\n")
    more = ["train", "--init_from=resume", f"--out_dir={out_dir}", "--max_iters=4"]
    assert main(more) == 1
    says = capsys.readouterr().err
    assert (
        f"the run in {out_dir} used parts of yours from {tmp_path}" in says and f"give --mine={tmp_path} again" in says
    )
    assert says.count("\n") == 1 and not ran.exists()
    assert main([*more, f"--mine={tmp_path}"]) == 0
    assert "yours       adamw_update\n" in capsys.readouterr().out and ran.exists()
    with pytest.raises(UserError, match="is for the command line; from Python give the parts themselves"):
        resume(out_dir, {"max_iters": 6})
    assert resume(out_dir, {"max_iters": 6}, own.parts).step == 4
    ran.unlink()
    assert main([*more[:-1], "--max_iters=6", "--mine="]) == 0
    assert "yours" not in capsys.readouterr().out and not ran.exists()


def test_a_configuration_file_cannot_ask_for_code_to_be_run(tmp_path, capsys):
    config = tmp_path / "config.py"
    config.write_text(f"mine = {str(tmp_path)!r}\n", encoding="utf-8")
    assert main(["train", str(config), f"--out_dir={tmp_path / 'out'}"]) == 1
    assert "line 1: mine makes a run execute files, which is for you to say" in capsys.readouterr().err


def test_what_a_readers_layer_raises_in_training_is_one_sentence_with_its_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(PROJECT)
    fill(tmp_path, "gelu")
    spoil(
        tmp_path, "gelu", "    return x * phi, (x, phi, approximate)",
        "    if x.shape[-1] == 64:\n        x.no_such_thing\n    return x * phi, (x, phi, approximate)",
    )  # fmt: skip
    flags = f"--data={TEXT} --n_layer=1 --n_head=2 --n_embd=16 --block_size=8 --max_iters=1 --device=cpu".split()
    assert main(["train", *flags, f"--mine={tmp_path}", f"--out_dir={tmp_path / 'out'}"]) == 1
    err = capsys.readouterr().err
    assert f"error: {tmp_path / 'gelu.py'}, line " in err and "raised AttributeError" in err and "Traceback" not in err


def test_what_the_readers_rules_raise_while_text_is_shown_is_one_sentence_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(PROJECT)
    fill(tmp_path, "draw")
    spoil(tmp_path, "draw", "    cumulative = ", "    assert probs.shape[1] != 49, 'of the text'\n    cumulative = ")
    flags = f"--data={TEXT} --n_layer=1 --n_head=2 --n_embd=16 --block_size=8 --max_iters=1 --device=cpu".split()
    assert main(["train", *flags, f"--mine={tmp_path}", f"--out_dir={tmp_path / 'out'}"]) == 1
    err = capsys.readouterr().err
    assert f"error: {tmp_path / 'draw.py'}, line " in err and "AssertionError: of the text" in err


def test_a_misspelt_file_and_a_flag_alone_are_one_sentence_each(tmp_path, capsys):
    fill(tmp_path, "gelu")
    (tmp_path / "gellu.py").write_text("", encoding="utf-8")
    mine = load_own_layers(tmp_path)
    assert mine.unknown == {"gellu": "gelu"} and list(mine.remarks()) == [
        f"{tmp_path / 'gellu.py'} is no part of the engine; did you mean gelu.py?"
    ]
    assert main(["train", "--mine_unchecked"]) == 1
    assert "--mine_unchecked goes with --mine=FOLDER" in capsys.readouterr().err


def test_a_folder_without_parts_is_one_sentence(tmp_path, capsys):
    with pytest.raises(UserError, match="holds no part of the engine; expected files such as layernorm.py"):
        load_own_layers(tmp_path)
    assert main(["train", f"--mine={tmp_path / 'nothing'}", f"--out_dir={tmp_path / 'out'}"]) == 1
    assert "is no folder" in capsys.readouterr().err


def test_the_readers_cross_entropy_goes_before_the_fast_loss(tmp_path):
    fill(tmp_path, "cross_entropy")
    ops = build().replace(**load_own_layers(tmp_path).parts.leaves)
    assert build().fused("lm_head_loss") and ops.fused("lm_head_loss") is None and ops.attention is build().attention


def test_a_readers_merge_trains_the_tokenizer_and_nothing_of_it_stays_in_the_cache(tmp_path, monkeypatch):
    calls = []

    def own(ids, pair, new_id):
        calls.append(new_id)
        return [i for i in ids if i not in pair]  # wrong, and it shows

    path = tmp_path / "text.txt"
    path.write_text("the cat and the hat and the rat " * 40, encoding="utf-8")
    first = load_corpus(data=path, tokenizer="bpe", vocab_size=260)
    wrong = load_corpus(data=path, tokenizer="bpe", vocab_size=260, merge=own)
    again = load_corpus(data=path, tokenizer="bpe", vocab_size=260)
    assert set(calls) == {256, 257, 258, 259} and wrong.tokenizer != first.tokenizer == again.tokenizer
    assert isinstance(first.tokenizer, BPETokenizer)
