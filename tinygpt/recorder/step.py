"""One training step of a tiny GPT, recorded: two blocks, two heads, eight channels, one sequence of characters."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinygpt import layers
from tinygpt.errors import UserError, brief
from tinygpt.models import gpt2, model
from tinygpt.ops import DEFINITIONS
from tinygpt.optim import AdamW, adamw_update
from tinygpt.progress import Progress, report
from tinygpt.recorder.axes import APART, BATCH, LENGTH, name_axes
from tinygpt.recorder.instrument import instrumented
from tinygpt.recorder.names import name_arrays, name_calls
from tinygpt.recorder.own import Own, OwnParts
from tinygpt.recorder.pairs import hold_by_chain_rule, pair_gradients
from tinygpt.recorder.recorder import Recorder
from tinygpt.recorder.recording import Array, Call, Recording, Update
from tinygpt.run.state import OURS

TEXT = "the cat sat on the mat. "
START, CHARACTERS = 4, 8  # of the sequence in the text above
LONGEST = 12
SHORTEST, DISTINCT = 3, 24
LAYERS, HEADS, CHANNELS = 2, 2, 8
STEPS, LEARNING_RATE, MAX_NORM = 60, 1e-2, 1.0  # of the moment that it was trained for, and of the step
LARGER = 5  # times GPT-2's initialisation, which is for far more channels
H, COARSE_H = 1e-5, 2e-2  # of a nudge of the whole loss; the latter where something is in float32
MODEL = {"Model.loss", "Model.backward"}
PAGE = {f"{part}.{f}" for part in ("MLP", "Block", "LMHeadLoss") for f in ("forward", "backward")} | {
    "GPT.hidden", "GPT.hidden_backward",
}  # fmt: skip


def record_step(text: str = TEXT, own: Own | None = None, nudging: bool = True) -> Recording:
    """A step on the first characters of `text`, by a model that was trained on it for a moment, in float64.

    text: 3 or more characters, at least 2 and at most 24 distinct ones; the first 12 are read, each asked for the one
    after it. own: what takes the place of parts of the engine; it is given `copy(path, source)`, which makes a module
    of a reader's file that tells what it does, and returns the parts, made of such. It is called twice. nudging:
    whether the derivatives are taken, which is most of the time; how far that is, is reported (`progress.py`). Raises
    UserError for a text that is none of these, and for what a reader's part raises.
    """
    chars, ids, start, length = _read(text)
    config = gpt2.GPTConfig(length, len(chars), LAYERS, HEADS, CHANNELS)
    idx, targets = ids[None, start : start + length], ids[None, start + 1 : start + length + 1]
    before = _trained(config, tuple(ids.tolist()), length)
    step = _Step(config, own, idx, targets)
    recorder, net, optimizer = step.recorder, step.net, step.optimizer
    with step.blaming(lambda: _engines_calls(config, idx, targets)), np.errstate(all="ignore" if own else None):
        step.restore(before)
        loss, grads = step.take()
        name_calls(recorder.calls)
        name_arrays(recorder.arrays)
        name_axes(recorder.arrays, _shapes_apart(own), config, length)
        step.restore(before)
        steady = not nudging or _nudge(step, before, loss)
        step.restore(before)
        norm = float(optimizer.step(grads, LEARNING_RATE, MAX_NORM))
        after = step.loss()
    for array in recorder.arrays:
        if array.kind == "param":
            name = array.name
            array.update = Update(
                grads[name].copy(), before.m[name], before.v[name], optimizer.m[name].copy(), optimizer.v[name].copy(),
                net.params[name].copy(), decayed=array.values.ndim > 1,
            )  # fmt: skip
    whole = {name: recorder.gradient_of(name) for name in net.params}
    pair_gradients(recorder.arrays, recorder.calls, whole, recorder.coarse)
    end = next(iter(recorder.calls[0].results), None)
    hold_by_chain_rule(recorder.arrays, end, recorder.coarse)
    beta1, beta2 = optimizer.betas
    update = {
        "step": optimizer.steps, "lr": LEARNING_RATE, "beta1": beta1, "beta2": beta2, "eps": optimizer.eps,
        "weight_decay": optimizer.weight_decay, "max_norm": MAX_NORM, "norm": norm,
        "scale": min(1.0, MAX_NORM / (norm + 1e-6)),
    }  # fmt: skip
    return Recording(
        text, chars, idx[0], targets[0], config, recorder.calls, recorder.arrays, loss, after, update,
        step.own.names if step.own else (), steady, recorder.coarse,
    )  # fmt: skip


def _read(text: str) -> tuple[list[str], np.ndarray, int, int]:
    """The text's characters, its ids, and where in them the sequence starts and how long it is."""
    if not isinstance(text, str):
        raise UserError(f"the text is {brief(text)}; expected characters, such as {TEXT!r}")
    chars = sorted(set(text))
    if len(text) < SHORTEST:
        raise UserError(
            f"the text has {len(text)} character{'s' * (len(text) != 1)}; expected at least {SHORTEST}, each asked for "
            f"the one after it, such as {TEXT!r}"
        )
    if len(chars) < 2:
        raise UserError(f"the text has but one character, {chars[0]!r}, so that there is nothing to learn; give two")
    if len(chars) > DISTINCT:
        raise UserError(
            f"the text has {len(chars)} distinct characters, and the page has room for {DISTINCT}; give one with fewer"
        )
    if any("\ud800" <= char <= "\udfff" for char in chars):
        raise UserError("the text holds half a character, a surrogate, which no file can; leave it out")
    start, length = (START, CHARACTERS) if text == TEXT else (0, min(LONGEST, len(text) - 1))
    return chars, np.array([chars.index(char) for char in text]), start, length


def _leaves(recorder: Recorder) -> dict[str, ModuleType]:
    """The engine's leaves, made to tell what they do."""
    names = sorted(path.stem for path in Path(str(layers.__file__)).parent.glob("*.py") if path.stem != "__init__")
    return {name: _telling(import_module(f"{layers.__name__}.{name}"), recorder) for name in names}


def _gpt(recorder: Recorder) -> Any:
    """GPT with the methods of a step made to tell what they do."""
    page, shared = _telling(gpt2, recorder, PAGE), _telling(model, recorder, MODEL)
    own = {"config_class": gpt2.GPTConfig, "loss": shared.Model.loss, "backward": shared.Model.backward}
    return type("GPT", (page.GPT,), own)


def _telling(module: ModuleType, recorder: Recorder, only: Collection[str] | None = None) -> ModuleType:
    """A copy of a module of the engine's that tells what it does."""
    text = Path(str(module.__file__)).read_text(encoding="utf-8")
    return instrumented(text, module.__name__.replace(".", "/") + ".py", recorder, module.__name__, only)


@functools.lru_cache(maxsize=8)
def _trained(config: gpt2.GPTConfig, ids: tuple[int, ...], length: int) -> AdamW:
    """The engine's own model and its optimiser, after a moment's training on the text; neither is written into."""
    net = gpt2.GPT(config, dtype="float64", ops=DEFINITIONS, seed=3)
    for value in net.params.values():
        value *= LARGER if value.ndim > 1 else 1
    optimizer = AdamW(net.params, update=adamw_update)
    rng = np.random.default_rng(0)
    around = np.resize(np.array(ids), len(ids) + length)
    for _ in range(STEPS):
        starts = rng.integers(0, len(ids), 8)
        batch = np.stack([around[start : start + length + 1] for start in starts])
        _, cache = net.loss(batch[:, :-1], batch[:, 1:])
        optimizer.step(net.backward(cache), LEARNING_RATE, MAX_NORM)
    return optimizer


class _Step:
    """A model that tells what it does, its batch, and the parts of a reader's in it."""

    def __init__(
        self, config: gpt2.GPTConfig, own: Own | None, idx: np.ndarray, targets: np.ndarray, shapes_alone: bool = False
    ):
        self.recorder = Recorder(shapes_alone)
        leaves = _leaves(self.recorder)
        self.own = OwnParts(own, self.recorder, leaves) if own else None
        parts = self.own.parts if self.own else OURS
        table = DEFINITIONS.replace(**leaves | dict(parts.leaves))
        self.net = _gpt(self.recorder)(config, dtype="float64", ops=table, seed=3, parts=parts.model)
        self.optimizer = AdamW(self.net.params, **{"update": adamw_update, **parts.optimizers.get("adamw", {})})
        self.optimizer.norm = parts.global_norm  # type: ignore[method-assign]
        self._batch = idx, targets

    def restore(self, before: AdamW) -> None:
        """Everything as it was before the step: a reader's part may have written into it."""
        self.net.params.flat[...] = before.params.flat
        self.optimizer.m.flat[...], self.optimizer.v.flat[...] = before.m.flat, before.v.flat
        self.optimizer.steps = before.steps

    def forward(self) -> tuple[Any, Any]:
        idx, targets = self._batch
        return self.net.loss(idx.copy(), targets.copy())

    def loss(self) -> float:
        return float(self.forward()[0])

    def take(self) -> tuple[float, Any]:
        """The loss and the gradients, every array on the way recorded."""
        recorder = self.recorder
        for name, value in self.net.params.items():
            recorder.parameter(name, value)

        def step() -> tuple[Any, Any]:
            recorder.backward = False
            loss, cache = self.forward()
            recorder.backward = True
            return loss, self.net.backward(cache)

        loss, grads = recorder.record(step)
        return float(loss), grads

    @contextlib.contextmanager
    def blaming(self, engine: Callable[[], Sequence[Call]]) -> Iterator[None]:
        """Within it, what a reader's part raises, or what it makes the engine raise, is a UserError that says so."""
        try:
            yield
        except (Exception, SystemExit) as error:
            if self.own is None:
                raise
            raise self.own.blame(error, engine) from error


def _shapes_apart(own: Own | None) -> dict[str, tuple[int, ...]]:
    """By key, the shapes of a step's arrays where all sizes are different; none where a reader's part cannot do it."""
    rng = np.random.default_rng(0)
    idx, targets = rng.integers(0, APART.vocab_size, (2, BATCH, LENGTH))
    try:
        step = _Step(APART, own, idx, targets, shapes_alone=True)
        step.take()
    except (Exception, SystemExit):
        if own is None:
            raise
        return {}
    name_calls(step.recorder.calls)
    name_arrays(step.recorder.arrays)
    return {array.key: array.values.shape for array in step.recorder.arrays}


def _engines_calls(config: gpt2.GPTConfig, idx: np.ndarray, targets: np.ndarray) -> list[Call]:
    """What the engine's own step calls, for the shapes of what they return."""
    step = _Step(config, None, idx, targets, shapes_alone=True)
    step.take()
    return step.recorder.calls


def _nudge(step: _Step, before: AdamW, loss: float) -> bool:
    """The derivative of the loss by every element of every parameter and forward array, by running all anew. False
    where the step does not give the same loss again, and nothing can be said.
    """
    recorder, params, kept = step.recorder, step.net.params, before.params.flat

    def again(**nudge: Any) -> float:
        params.flat[...] = kept
        return recorder.run(step.loss, **nudge)

    if not (np.isfinite(loss) and again() == again() == loss):
        return False
    arrays = [array for array in recorder.arrays if array.kind != "backward"]
    done, total = 0, sum(array.values.size for array in arrays)
    for array in arrays:
        report(Progress("nudging every number of the step", done, total, "numbers"))
        since = _first_use(recorder.calls, array) if array.kind == "param" else -1

        def moved(by: float, place: tuple, array: Array = array, since: int = since) -> float:
            if array.kind == "param":
                params.flat[...] = kept
                params[array.name][place] += by
                return recorder.run(step.loss, since=since)
            nudge = np.zeros(array.values.shape)
            nudge[place] = by
            return again(array=array, nudge=nudge)

        array.derivative = np.zeros(array.values.shape)
        for place in np.ndindex(array.values.shape):
            array.derivative[place] = _slope(lambda by, place=place: moved(by, place), recorder.coarse)  # type: ignore[misc]
        done += array.values.size
    report(Progress("nudging every number of the step", total, total, "numbers"))
    return True


def _first_use(calls: Sequence[Call], parameter: Array) -> int:
    """The moment from which on a parameter may be used: the innermost call that is given it begins, or the outermost of
    a reader's around that.
    """
    given = [call for call in calls if not call.backward and parameter.name in call.parameters_given]
    outer = {call.parent.number for call in given if call.parent}
    inner = [call for call in given if call.number not in outer]
    return min(([call, *(one for one in call.above if one.mine)][-1].start for call in inner), default=0)


def _slope(f: Callable[[float], float], coarse: bool) -> float:
    """The derivative of f at 0, by two points; by four that are further apart where f is coarse."""
    if not coarse:
        return (f(H) - f(-H)) / (2 * H)
    near, far = (f(COARSE_H) - f(-COARSE_H)) / 2, (f(2 * COARSE_H) - f(-2 * COARSE_H)) / 4
    return (4 * near - far) / (3 * COARSE_H)
