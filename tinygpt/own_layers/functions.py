"""What is no layer, held against the engine's own function: the same calls to both, and the same results expected.

Beside each function stand the ways in which it is usually got wrong, as edits of the engine's source like the mutants
of `gradcheck`: where the results are those of one of them in every call, the mistake has a name.
"""

import copy
import importlib
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from tinygpt.backend import to_host
from tinygpt.gradcheck.check import relative
from tinygpt.gradcheck.mutants import Mutant
from tinygpt.layers import softmax
from tinygpt.random import generator

TOLERANCE = 1e-9  # of every array, relative
SHORT = 8  # items of a list that are shown


class Call(NamedTuple):
    """One call of the function. Each side gets copies of its arguments."""

    title: str
    arguments: tuple


class Uniform:
    """Stands in for a NumPy Generator where numbers between 0 and 1 are drawn: it gives those that it was made of."""

    def __init__(self, *numbers: float):
        self.numbers = list(numbers)

    def uniform(self, low: float = 0.0, high: float = 1.0, size: Any = None) -> Any:
        return low + (high - low) * self.random(size)

    def random(self, size: Any = None, dtype: Any = np.float64) -> Any:
        count = int(np.prod(size)) if size is not None else 1
        drawn, self.numbers = self.numbers[:count], self.numbers[count:]
        if len(drawn) < count:
            raise IndexError(f"rng.random was asked for more than one number for each row, {count} at once")
        return np.array(drawn).reshape(size) if size is not None else drawn[0]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"rng.{name} is not what draws here: take one number for each row from rng.random")


SOFTER = SimpleNamespace(forward=lambda x: softmax.forward(x / 3))  # whoever does not ask it, shows

# The calls, drawn by a seed


def _windows_at(rng: np.random.Generator) -> Iterator[Call]:
    B, T = rng.permutation(np.arange(2, 8))[:2]
    tokens = rng.integers(60_000, size=40).astype(np.uint16)
    yield Call("", (tokens, rng.integers(40 - T, size=B), int(T)))
    yield Call("overlapping windows", (tokens, np.array([3, 4, 3]), 5))
    yield Call("the last window", (tokens, np.array([40 - int(T) - 1]), int(T)))
    yield Call("one token", (tokens, np.array([7, 0]), 1))


def _merge(rng: np.random.Generator) -> Iterator[Call]:
    yield Call("the pair at the end", ([3, 2, 1, 2], (1, 2), 9))
    yield Call("the pair twice", ([1, 2, 3, 1, 2], (1, 2), 9))
    yield Call("no such pair", ([2, 1, 3, 2, 1], (1, 2), 9))
    yield Call("three of a kind", ([7, 7, 7], (7, 7), 9))
    yield Call("one token", ([5], (5, 5), 9))
    yield Call("no tokens", ([], (5, 5), 9))
    yield Call("equal neighbours", ([int(i) for i in rng.integers(2, size=30)], (1, 1), 9))
    yield Call("ids of two digits", ([11, 2, 1, 2, 12, 1, 21, 2, 1, 22], (1, 2), 9))
    yield Call("many tokens", ([int(i) for i in rng.integers(3, size=40)], (1, 2), 9))


def _draw(rng: np.random.Generator) -> Iterator[Call]:
    probs = rng.dirichlet(np.ones(6), size=5)
    yield Call("", (probs, Uniform(*rng.random(5))))
    yield Call("many rows of the same", (np.repeat(probs[:1], 40, axis=0), Uniform(*rng.random(40))))
    yield Call("probabilities of zero", (np.array([[0, 0.5, 0, 0.5], [0, 0, 0, 1.0]]), Uniform(0.0, 0.0)))
    yield Call("sums a little below 1", (np.array([[0.5, 0.25, 0.25 - 1e-9]]), Uniform(1 - 1e-12)))


def _numerical_gradient(rng: np.random.Generator) -> Iterator[Call]:
    a = rng.standard_normal((2, 3))
    yield Call("a polynomial", (lambda x: float((a * x * x + x**4).sum()), rng.standard_normal((2, 3)), 1e-3))
    yield Call("exp", (lambda x: float(np.exp(x).sum()), rng.standard_normal(5), 1e-3))
    yield Call("entries that depend on each other", (lambda x: float(np.prod(x)), rng.uniform(1, 2, (2, 2)), 1e-3))
    yield Call("a single number", (lambda x: np.sin(x), np.array(rng.standard_normal()), 1e-3))
    yield Call("a large step", (lambda x: float(np.exp(x).sum()), rng.standard_normal(4), 0.1))
    yield Call("the usual step", (lambda x: float(np.sin(3 * x).sum()), rng.standard_normal((1, 2, 2))))


def _adamw_update(rng: np.random.Generator) -> Iterator[Call]:
    for title, step, decay, shape in (
        ("the first step", 1, 0.1, (3, 4)), ("later", 7, 0.1, (5,)), ("no decay", 3, 0.0, (2, 3)),
        ("a gradient of zero", 2, 0.1, (4,)),
    ):  # fmt: skip
        w, dw, m = (rng.standard_normal(shape) for _ in range(3))
        v = rng.uniform(0.1, 1, shape)
        dw, v = (dw * 0, v * 1e-12) if title == "a gradient of zero" else (dw, v)
        if step == 1:
            m, v = np.zeros(shape), np.zeros(shape)
        lr, beta1, beta2, eps = rng.uniform((0.01, 0.8, 0.9, 1e-5), (0.1, 0.95, 0.99, 1e-3)).tolist()
        yield Call(title, (w, dw, m, v, step, lr, beta1, beta2, eps, decay))


def _probabilities(rng: np.random.Generator) -> Iterator[Call]:
    logits = rng.standard_normal((3, 9)).astype(np.float32) * 2
    ties = np.array([[1.0, 3.0, 2.0, 2.0, 0.0]])
    yield Call("", (logits,))
    yield Call("temperature", (logits, 0.7))
    yield Call("temperature 0", (logits, 0))
    yield Call("a low temperature", (logits * 100, 1e-3))
    yield Call("a temperature next to 0", (logits, 1e-310))
    yield Call("top_k", (logits * np.array([[1], [4], [0.25]], np.float32), 1.0, 4))
    yield Call("top_k, equal logits", (ties, 1.0, 2))
    yield Call("top_k beyond the vocabulary", (logits, 1.0, 50))
    yield Call("top_p", (logits, 1.0, None, 0.7))
    yield Call("top_p below the likeliest", (logits, 1.0, None, 1e-3))
    yield Call("top_p, exactly reached", (np.log(np.array([[0.5, 0.25, 0.125, 0.125]])), 1.0, None, 0.5))
    yield Call("top_k, then top_p", (np.log(np.array([[0.4, 0.3, 0.2, 0.1]])), 1.0, 2, 0.5))
    yield Call("all three", (logits, 1.3, 5, 0.8))
    yield Call("another softmax", (logits, 1.0, None, None, SOFTER))
    yield Call("logits that are not a number", (np.array([[0.0, np.nan]]),))
    yield Call("logits that are infinite", (np.array([[0.0, np.inf]]),))


def _decode(rng: np.random.Generator) -> Iterator[Call]:
    B, H, D, S = (int(n) for n in rng.permutation(np.arange(2, 7))[:4])
    S += 2 * (S == 2) * 3  # longer than two, and unlike the others
    for title, t, size in (
        ("one new position", 1, 1), ("several", 2, 1), ("all of them", S, 1), ("large scores", 2, 40),
    ):  # fmt: skip
        q, keys, values = rng.standard_normal((B, H, t, D)), *(rng.standard_normal((B, H, S, D)) for _ in range(2))
        yield Call(title, (q * size, keys * size, values))


# The usual mistakes


def _mistakes(source: str, *rows: tuple) -> list[Mutant]:
    return [Mutant("", says, "", says, tuple(edits), source) for says, *edits in rows]


# fmt: off
WINDOWS_AT = _mistakes(
    "tinygpt.data.corpus",
    ("targets are the tokens at the same places as idx, so there is nothing to predict: they belong one place on",
     ("tokens[places + 1]", "tokens[places]")),
    ("targets are the tokens one place back, where one place on belongs",
     ("tokens[places + 1]", "tokens[places - 1]")),
    ("the windows stand in the columns, (T, B), where they belong in the rows, (B, T)",
     ("places = starts[:, None] + np.arange(block_size)", "places = starts + np.arange(block_size)[:, None]")),
    ("idx and targets keep the dtype of tokens, where int64 is expected",
     ("tokens[places].astype(np.int64), tokens[places + 1].astype(np.int64)", "tokens[places], tokens[places + 1]")),
    ("targets are the tokens' ids plus 1, where the ids of the tokens one place on belong",
     ("tokens[places + 1].astype(np.int64)", "tokens[places].astype(np.int64) + 1")),
    ("the windows begin one place too late",
     ("np.arange(block_size)  # (B, 1) + (T,) -> (B, T)", "np.arange(1, block_size + 1)"),
     ("tokens[places + 1]", "tokens[np.minimum(places + 1, len(tokens) - 1)]"),
     ("tokens[places].astype", "tokens[np.minimum(places, len(tokens) - 1)].astype")),
)
MERGE = _mistakes(
    "tinygpt.tokenizer",
    ("after a merge the second token of the pair is read once more: step over both",
     ("            i += 2", "            i += 1")),
    ("only the first of the pairs is replaced",
     ("(ids[i], ids[i + 1]) == pair:", "(ids[i], ids[i + 1]) == pair and new_id not in merged:")),
    ("the pairs are taken from right to left: merge([7, 7, 7], (7, 7), 9) is [9, 7]",
     ("    merged = []\n    i = 0", "    merged = []\n    i = 0\n    ids, pair = ids[::-1], pair[::-1]"),
     ("    return merged", "    return merged[::-1]")),
    ("the last token is lost where no pair ends the list",
     ("while i < len(ids):", "while i + 1 < len(ids):")),
    ("the order within the pair is ignored: (1, 2) is not (2, 1)",
     ("(ids[i], ids[i + 1]) == pair:", "sorted((ids[i], ids[i + 1])) == sorted(pair):")),
    ("every token of the pair is replaced, wherever it stands",
     ("if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:", "if ids[i] in pair:"), ("i += 2", "i += 1")),
)
DRAW = _mistakes(
    "tinygpt.sample",
    ("the likeliest token is taken, where one is to be drawn",
     ("(cumulative > threshold)", "(probs >= probs.max(axis=-1, keepdims=True))")),
    ("a token of probability 0 can be drawn: its cumulative probability is equal to a threshold of 0, not above it",
     ("(cumulative > threshold)", "(cumulative >= threshold)")),
    ("one random number serves all rows, where each row has its own",
     ("rng.random((len(probs), 1))", "rng.random((1, 1))")),
    ("a row's probabilities add up to 1 only nearly, and a number above their sum finds no token: scale it by the sum",
     (" * cumulative[:, -1:]", "")),
    ("the token after the right one is taken",
     ("(cumulative > threshold).argmax(axis=-1)",
      "np.minimum((cumulative > threshold).argmax(axis=-1) + 1, probs.shape[-1] - 1)")),
)
NUMERICAL_GRADIENT = _mistakes(
    "tinygpt.gradcheck.numerical",
    ("the difference is one-sided, (f(x + h) - f(x)) / h, whose error is of the order of h: use both sides",
     ("x[place] = kept - h\n", "x[place] = kept\n"), ("(2 * h)", "h")),
    ("the difference is one-sided, (f(x) - f(x - h)) / h, whose error is of the order of h: use both sides",
     ("x[place] = kept + h\n", "x[place] = kept\n"), ("(2 * h)", "h")),
    ("f(x + h) and f(x - h) are 2h apart, but the difference is divided by h",
     ("(2 * h)", "h")),
    ("the difference is not divided by 2h",
     (" / (2 * h)", "")),
    ("the sign is wrong: it is f(x + h) - f(x - h)",
     ("above - below", "below - above")),
    ("an entry is not put back before the next one is moved",
     ("        x[place] = kept\n", "")),
    ("its numbers are those of a step of 1e-5, whatever h it is given",
     ("kept + h", "kept + 1e-5"), ("kept - h", "kept - 1e-5"), ("(2 * h)", "2e-5")),
)
_DECAY, _STEP = "    w *= 1 - lr * weight_decay\n", "    w -= lr * m_hat / (xp.sqrt(v_hat) + eps)\n"
ADAMW_UPDATE = _mistakes(
    "tinygpt.optim.adamw",
    ("w is not updated in place, so nothing is learned",
     (_DECAY + "    w -= ", "    w = w * (1 - lr * weight_decay)\n    w = w - ")),
    ("the step divides by the second moment, where its root belongs",
     ("xp.sqrt(v_hat)", "v_hat")),
    ("neither moment is corrected for its start at zero",
     (" / (1 - beta1**step)", ""), (" / (1 - beta2**step)", "")),
    ("the first moment is not corrected for its start at zero",
     (" / (1 - beta1**step)", "")),
    ("the second moment is not corrected for its start at zero",
     (" / (1 - beta2**step)", "")),
    ("the correction of the second moment stands outside the root",
     ("xp.sqrt(v_hat)", "xp.sqrt(v) / (1 - beta2**step)")),
    ("steps are counted from 0: step is 1 the first time",
     ("1 - beta1**step", "1 - beta1 ** (step + 1)"), ("1 - beta2**step", "1 - beta2 ** (step + 1)")),
    ("eps stands under the root, where it is added to the root",
     ("xp.sqrt(v_hat) + eps", "xp.sqrt(v_hat + eps)")),
    ("eps is added before the second moment is corrected",
     ("xp.sqrt(v_hat) + eps", "(xp.sqrt(v) + eps) / xp.sqrt(1 - beta2**step)")),
    ("the decay goes into the gradient, as in Adam with L2 regularisation: in AdamW it acts on w alone",
     ("    m *= beta1\n", "    dw = dw + weight_decay * w\n    m *= beta1\n"), (_DECAY, "")),
    ("the decay is not multiplied by the learning rate",
     ("w *= 1 - lr * weight_decay", "w *= 1 - weight_decay")),
    ("there is no weight decay",
     (_DECAY, "")),
    ("the decay comes after the step, and takes from what the step has just added",
     (_DECAY, ""), (_STEP, _STEP + _DECAY)),
    ("the new gradient enters the first moment whole, where 1 - beta1 of it belongs",
     ("m += (1 - beta1) * dw", "m += dw")),
    ("the new gradient enters the second moment whole, where 1 - beta2 of its square belongs",
     ("v += (1 - beta2) * dw * dw", "v += dw * dw")),
    ("the second moment is of the gradient, where its square belongs",
     ("v += (1 - beta2) * dw * dw", "v += (1 - beta2) * abs(dw)")),
    ("beta1 and beta2 have changed places",
     ("    m *= beta1\n", "    beta1, beta2 = beta2, beta1\n    m *= beta1\n")),
    ("w moves up the gradient, where it belongs down",
     ("w -= lr", "w += lr")),
    ("m and v are not updated in place, so the next step does not know them",
     ("    m *= beta1\n", "    m, v = m.copy(), v.copy()\n    m *= beta1\n")),
)
PROBABILITIES = _mistakes(
    "tinygpt.sample",
    ("logits are multiplied by the temperature, where they are to be divided by it",
     ("keepdims=True)) / temperature", "keepdims=True)) * temperature")),
    ("the softmax that it was given is not asked",
     ("probs, _ = softmax.forward(logits)",
      "probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)")),
    ("the temperature is not used",
     ("keepdims=True)) / temperature", "keepdims=True)) / 1")),
    ("top_k keeps one token too many",
     ("np.partition(logits, -top_k, axis=-1)[:, -top_k, None]",
      "np.sort(logits, axis=-1)[:, max(-top_k - 1, -logits.shape[-1]), None]")),
    ("of equal logits at the edge of top_k only some are kept, or more are dropped than asked for",
     ("np.where(logits < smallest_kept, -np.inf, logits)", "np.where(logits <= smallest_kept, -np.inf, logits)")),
    ("top_k keeps the smallest logits",
     ("logits < smallest_kept", "logits > np.partition(logits, top_k - 1, axis=-1)[:, top_k - 1, None]")),
    ("the token that crosses top_p is dropped: it belongs to those that together reach it",
     ("np.where(before < top_p, ordered, 0.0)",
      "np.where((before + ordered <= top_p) | (np.arange(ordered.shape[-1]) == 0), ordered, 0.0)")),
    ("one token too many is kept where the likeliest reach top_p exactly",
     ("before < top_p", "before <= top_p")),
    ("what is left after top_p is not divided by its sum",
     ("        probs /= probs.sum(axis=-1, keepdims=True)\n", "")),
    ("top_p keeps the unlikeliest tokens",
     ("np.argsort(-probs", "np.argsort(probs")),
    ("the kept probabilities are left in the order of their size, not put back in their tokens' places",
     ("np.put_along_axis(probs, order, ordered, axis=-1)", "probs = ordered")),
)
DECODE = _mistakes(
    "tinygpt.layers.attention",
    ("the scores are not divided by sqrt(D)",
     (" * q.shape[-1] ** -0.5  # (B, H, t, D) @ (B, H, D, S) -> (B, H, t, S)", "")),
    ("the scores are divided by D, where its root belongs",
     ("q.shape[-1] ** -0.5  # (B, H, t, D) @ (B, H, D, S) -> (B, H, t, S)", "q.shape[-1] ** -1.0")),
    ("a new position sees those after it: the mask is missing",
     ("(q, keys, transpose_b=True) * q.shape[-1] ** -0.5", "(q, keys, transpose_b=True) * q.shape[-1] ** -0.5"),
     ("merge_heads(bmm(_causal_softmax(scores), values))",
      "merge_heads(bmm((lambda e: e / e.sum(axis=-1, keepdims=True))(\n"
      "        array_module(q).exp(scores - scores.max(axis=-1, keepdims=True))), values))")),
    ("the mask takes the new positions for the first ones, where they are the last",
     ("xp.arange(S - t, S)", "xp.arange(t)")),
    ("the heads are not put side by side: (B, H, t, D) is reshaped without moving the heads behind the time",
     ("return x.transpose(0, 2, 1, 3).reshape(B, T, H * D)", "return x.reshape(B, T, H * D)")),
)
# fmt: on

FUNCTIONS: dict[str, tuple[Callable[[np.random.Generator], Iterator[Call]], list[Mutant]]] = {
    "windows_at": (_windows_at, WINDOWS_AT),
    "merge": (_merge, MERGE),
    "draw": (_draw, DRAW),
    "numerical_gradient": (_numerical_gradient, NUMERICAL_GRADIENT),
    "adamw_update": (_adamw_update, ADAMW_UPDATE),
    "probabilities": (_probabilities, PROBABILITIES),
    "decode": (_decode, DECODE),
}


# Both sides


class Outcome(NamedTuple):
    """What a call gave: what it returned, its arguments afterwards, or the error that it raised."""

    result: Any
    arguments: tuple
    error: BaseException | None


def calls(function: str, seed: int) -> list[Call]:
    """The calls that a function is held to; another seed draws other numbers and sizes."""
    return list(FUNCTIONS[function][0](generator(seed, function)))


def outcome(function: Callable, call: Call) -> Outcome:
    """One call, on copies of its arguments. NotImplementedError passes: what is not written has no outcome."""
    arguments = copy.deepcopy(call.arguments)
    try:
        with np.errstate(all="ignore"):
            return Outcome(function(*arguments), arguments, None)
    except NotImplementedError:
        raise
    except (Exception, SystemExit) as error:
        return Outcome(None, arguments, error)


def difference(call: Call, names: Sequence[str], given: Outcome, right: Outcome) -> str:
    """How the outcome of a call differs from the right one, in a sentence; "" if it does not. names: the arguments'."""
    if right.error is not None:
        expected = type(right.error).__name__
        return "" if isinstance(given.error, type(right.error)) else f"raised nothing; expected {expected}"
    if given.error is not None:
        return f"raised {type(given.error).__name__}: {given.error}"
    if right.result is None and given.result is not None:
        return f"returned {_say(given.result)}, where nothing is to be returned: it works in place"
    said = [f"returned {differs}"] if (differs := _differs(given.result, right.result)) else []
    for name, before, mine, theirs in zip(names, call.arguments, given.arguments, right.arguments, strict=False):
        if isinstance(before, Uniform) and said and mine.numbers == before.numbers:
            said.append(f"{name} was not asked: take one number for each row from {name}.random")
        elif isinstance(before, list | np.ndarray) and np.array_equal(before, theirs):  # the engine only reads it
            if not np.array_equal(before, mine):
                said.append(f"left {name} changed: it should be as it was, to the last bit")
        elif isinstance(before, list | np.ndarray) and (differs := _differs(mine, theirs)):
            said.append(f"made of {name} {differs}")
    return "; ".join(said)


def diagnose(function: str, candidate: Callable, seed: int) -> str:
    """The usual mistake that gives the candidate's outcomes in every call; "" if none does."""
    made = calls(function, seed)
    given = [outcome(candidate, call) for call in made]
    for mutant in FUNCTIONS[function][1]:
        theirs = (outcome(getattr(mutant.module, function), call) for call in made)
        if not any(_unlike(a, b) for a, b in zip(given, theirs, strict=True)):
            return mutant.says
    return ""


def _unlike(a: Outcome, b: Outcome) -> bool:
    """Whether two outcomes are not the same."""
    if a.error is not None or b.error is not None:
        return type(a.error) is not type(b.error)
    arguments = zip(a.arguments, b.arguments, strict=True)
    return bool(_differs(a.result, b.result)) or any(
        isinstance(x, list | np.ndarray) and _differs(x, y) for x, y in arguments
    )


def engine(source: str, function: str) -> Callable:
    """The engine's own function."""
    module: ModuleType = importlib.import_module(source)
    return getattr(module, function)


def _differs(given: Any, right: Any) -> str:
    """What was given and what was expected, where they differ."""
    if isinstance(right, tuple):
        if not isinstance(given, tuple | list) or len(given) != len(right):
            return f"{_say(given)}; expected {len(right)} arrays"
        said = (
            f"{differs}, in number {n} of {len(right)}"
            for n, (a, b) in enumerate(zip(given, right, strict=True), 1)
            if (differs := _differs(a, b))
        )
        return next(said, "")
    if isinstance(right, list):
        return _lists_differ(given, right)
    if not hasattr(right, "shape"):
        same = type(given) is type(right) and given == right
        return "" if same else f"{_say(given)}; expected {_say(right)}"
    if not hasattr(given, "shape"):
        return f"{_say(given)}; expected an array of shape {right.shape}"
    if given.shape != right.shape or given.dtype != right.dtype:
        return f"{given.dtype} of shape {given.shape}; expected {right.dtype} of shape {right.shape}"
    a, b = (to_host(x).astype(np.float64) for x in (given, right))
    if not np.isfinite(a).all() and np.isfinite(b).all():
        return "numbers that are not finite"
    error = relative(np.linalg.norm(a - b), np.linalg.norm(a), np.linalg.norm(b))
    if error <= TOLERANCE or np.array_equal(a, b):
        return ""
    worst = np.unravel_index(int(np.argmax(np.abs(a - b))), a.shape)
    at = f" at {[int(i) for i in worst]}" if a.ndim else ""
    whole = f" (relative error of the whole {error:.1e})" if right.dtype.kind == "f" else ""
    return f"{a[worst]:.6g}{at}; expected {b[worst]:.6g}{whole}"


def _lists_differ(given: Any, right: list) -> str:
    if not isinstance(given, list):
        return f"{_say(given)}; expected {_say(right)}"
    if given == right:
        strange = {type(x).__name__ for x in given} - {type(x).__name__ for x in right}
        return f"a list that holds {', '.join(strange)}; expected int" if strange else ""
    parting = (n for n, (a, b) in enumerate(zip(given, right, strict=False)) if a != b)
    start = max(0, next(parting, min(len(given), len(right))) - 2) if len(right) > SHORT else 0
    return f"{_say(given, start)}; expected {_say(right, start)}"


def _say(x: Any, start: int = 0) -> str:
    if hasattr(x, "shape"):
        return f"an array of {x.dtype} of shape {x.shape}"
    if isinstance(x, list) and len(x) > SHORT:
        text = ", ".join(map(repr, x[start : start + SHORT]))
        return f"[{'..., ' if start else ''}{text}{', ...' if len(x) > start + SHORT else ''}]"
    text = repr(x)
    return text if len(text) <= 60 else f"{text[:57]}..."
