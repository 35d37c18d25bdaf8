"""What this project checks of itself: every layer, the model with every option in turn, and GPT-2 in full size."""

import dataclasses
import functools
import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

from tinygpt import kernels
from tinygpt.backend import to_device
from tinygpt.errors import UserError
from tinygpt.gradcheck.cases import Draw
from tinygpt.gradcheck.differences import FIVE_POINTS, ROUNDING, relative
from tinygpt.gradcheck.experiment import Experiment
from tinygpt.gradcheck.library import FILES, cases, definition
from tinygpt.gradcheck.models import gpt2
from tinygpt.gradcheck.report import Report, Reports, Row
from tinygpt.gradcheck.support import split
from tinygpt.models.gpt2 import GPT, GPTConfig
from tinygpt.ops import DEFINITIONS, Ops
from tinygpt.random import generator

LAYER_TOLERANCE, MODEL_TOLERANCE, DIRECTION_TOLERANCE = 1e-9, 1e-8, 1e-6


class Trial(NamedTuple):
    """One case of a layer or model: its numerical derivatives, and what makes a forward and backward of a candidate.

    special: a candidate may do without it.
    """

    title: str
    experiment: Experiment
    functions: Callable[[Any], tuple[Callable, Callable]]
    tolerance: float
    special: bool = False

    def judge(self, candidate: Any, forward_alone: bool = False, strict: bool = True) -> Report:
        """Hold a candidate against the definition. strict: as for `Experiment.judge`."""
        forward, backward = self.functions(candidate)
        return self.experiment.judge(forward, None if forward_alone else backward, self.tolerance, self.title, strict)


def trials(layer: str, seed: int = 0, device: str = "cpu", initial: bool = False, **options: Any) -> Iterator[Trial]:
    """The cases of a layer, or of "model". Another seed gives other numbers and, but for the model, other sizes.
    initial: as for `Draw`. options: max_entries and dout, as for `Experiment`.
    """
    original = definition(layer)
    if layer == "model":
        for case in gpt2.CASES:
            yield model_trial(case, seed, device, initial, **options)
        return

    special = getattr(FILES[layer], "SPECIAL", ())

    def functions(candidate: Any) -> tuple[Callable, Callable]:
        for name in ("forward", "backward"):
            if not callable(getattr(candidate, name, None)):
                raise UserError(f"the candidate for {layer} has no function {name}; expected forward and backward")
        if candidate is original:
            return candidate.forward, candidate.backward
        try:
            inspect.signature(candidate.backward).bind(None, None)
        except TypeError as error:
            raise UserError(f"backward does not take dout and cache: {error}") from error
        return _by_position(layer, candidate.forward), candidate.backward

    for title, inputs in cases(layer, seed, device, initial):
        experiment = Experiment(original.forward, inputs, seed=seed, **options)
        yield Trial(f"{layer}, {title}" if title else layer, experiment, functions, LAYER_TOLERANCE, title in special)


def _by_position(layer: str, forward: Callable) -> Callable:
    """forward called as the model calls a layer, by position, so that its arguments may have names of their own."""
    parameters = inspect.signature(definition(layer).forward).parameters
    names = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]

    def called(**inputs: Any) -> Any:
        last = max(number for number, name in enumerate(names) if name in inputs)
        arguments = [inputs.pop(name, parameters[name].default) for name in names[: last + 1]]
        try:
            inspect.signature(forward).bind(*arguments, **inputs)
        except TypeError as error:
            given = ", ".join([*names[: last + 1], *inputs])
            raise UserError(f"forward does not take {layer}'s arguments ({given}): {error}") from error
        return forward(*arguments, **inputs)

    return called


def check_layer(layer: str, candidate: Any = None, **options: Any) -> Reports:
    """Hold a candidate for a layer's place against its definition, case by case; None for the definition itself.

    A candidate is anything with the layer's forward and backward; for "model", a class like GPT. Forward is compared
    with the definition's to 1e-12, then backward with the numerical derivatives of the definition's forward: to 1e-9
    for a layer, to 1e-8 for the model. options: seed, device and max_entries, as for `gradient_check`, and tolerance,
    which lets a candidate compute in float32 too. Cases that a candidate was not written for are left out, and named in
    `Report.unsupported`. What it raises is a problem of that case's. A report is true if it passed, so
    `all(check_layer("softmax", mine))` is the verdict; printed, there is a line for each case.
    """
    return Reports(reports(layer, candidate, **options))


def reports(
    layer: str, candidate: Any = None, title: str = "", tolerance: float | None = None, **options: Any
) -> Iterator[Report]:
    """The reports of `check_layer` one by one as they are made. title: what they call the candidate."""
    if tolerance is not None and not tolerance > 0:
        raise UserError(f"tolerance is {tolerance}; expected a number above 0, such as 1e-9")
    candidate = definition(layer) if candidate is None else candidate
    made: Iterable[Trial] = trials(layer, **options)
    left_out: list[Trial] = []
    if candidate is not definition(layer) and layer != "model":
        candidate, made, left_out = split(layer, candidate, list(made))
    last: Report | None = None
    for trial in made:
        if last is not None:
            yield last
        allowed = trial.tolerance if tolerance is None else tolerance
        last = _judged(trial._replace(tolerance=allowed), candidate, strict=tolerance is None)
        last.title = title + trial.title.removeprefix(layer) if title else trial.title
    if last is not None:
        last.unsupported = [trial.title for trial in left_out]
        yield last


def _judged(trial: Trial, candidate: Any, strict: bool) -> Report:
    """A report in any case: what the candidate raises is a problem of its own."""
    try:
        return trial.judge(candidate, strict=strict)
    except UserError as error:
        problem = str(error)
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        problem = (
            f"raised {type(error).__name__}: {' '.join(str(error).split())} ({frame.filename}, line {frame.lineno})"
        )
    return Report(trial.title, problems=[problem], tolerance=trial.tolerance)


@functools.cache
def twins(device: str = "cpu") -> dict[str, dict[str, Any]]:
    """By layer, what a device's table has in a definition's place; a twin that works in chunks also with several."""
    found: dict[str, dict[str, Any]] = {}
    for name, twin in kernels.twins(device).items():
        found[name] = {f"{name}, fast twin": twin}
        if "rows" in inspect.signature(twin.forward).parameters:
            two_rows = functools.partial(twin.forward, rows=2)  # the cases are too small for several chunks of its own
            found[name][f"{name}, chunked twin"] = SimpleNamespace(**vars(twin) | {"forward": two_rows})
    return found


def candidates(layer: str, device: str = "cpu") -> dict[str, Any]:
    """What of this project stands in a layer's place, by title: its definition (None) and the device's fast twins."""
    return {layer: None} | twins(device).get(layer, {})


def model_trial(case: str, seed: int = 0, device: str = "cpu", initial: bool = False, **options: Any) -> Trial:
    """One of gpt2.CASES: a small GPT, every parameter differentiated, right being GPT with the definitions alone."""
    settings = dict(gpt2.CASES[case])
    B, T = settings.pop("batch", (5, 4))
    in_chunks = {name: list(found.values())[-1] for name, found in twins(device).items()}
    table = Ops(in_chunks, {}) if settings.pop("twins", False) else DEFINITIONS
    through_logits, ignored = settings.pop("logits", False), settings.pop("ignored", False)
    denominator = settings.pop("denominator", None)
    config = dataclasses.replace(gpt2.SMALL, **settings)
    draw = Draw(seed, "model", case, initial=initial)
    idx = to_device(draw.tokens(B, T, vocab_size=config.vocab_size), device)
    targets = to_device((draw.targets if ignored else draw.tokens)(B, T, vocab_size=config.vocab_size), device)
    params = {name: to_device(draw.parameter(name, shape), device) for name, shape in config.shapes().items()}

    def functions(model_class: type[GPT], ops: Ops = table) -> tuple[Callable, Callable]:
        if model_class is GPT and ops is DEFINITIONS:
            return right
        return _functions(model_class(config, device, "float64", seed=seed, ops=ops), *call)

    call = (idx, targets, denominator, through_logits)
    right = _functions(GPT(config, device, "float64", seed=seed, ops=DEFINITIONS), *call)
    experiment = Experiment(right[0], params, seed=seed, **options)
    return Trial(f"model, {case}" if case else "model", experiment, functions, MODEL_TOLERANCE)


def _functions(model: GPT, idx: Any, targets: Any, denominator: Any, logits: bool) -> tuple[Callable, Callable]:
    """A model as forward(**params), its loss or its logits, and backward, one gradient for each parameter."""

    def forward(**params: Any) -> tuple[Any, tuple | None]:
        for name, array in params.items():
            model.params[name] = array
        return model.forward(idx) if logits else model.loss(idx, targets, denominator, step=3)

    def backward(dout: Any, cache: tuple) -> tuple:
        grads = model.params.zeros_like()
        for array in grads.values():
            array += 1  # backward adds: what is there before must still be there after
        return tuple(array - 1 for array in model.backward(cache, grads, dout).values())

    return forward, backward


def check_directions(model: GPT, idx: Any, targets: Any, seed: int = 0) -> Iterator[Row]:
    """The slope of the loss along one random direction in each parameter, against its gradient: for large models.

    error: |gradient . u - slope| / max(norm(gradient), |slope|, floor) for u of independent standard normal numbers,
    where gradient . u is of the size of norm(gradient). The model's dtype should be float64.
    """
    loss, cache = model.loss(idx, targets)
    grads = model.backward(cache)
    del cache
    for name, w in model.params.items():
        u = to_device(generator(seed, "direction", name).standard_normal(w.shape), model.device)
        start, norm = w.copy(), float((u * u).sum()) ** 0.5
        h = 1e-3 * max(1.0, float((w * w).sum()) ** 0.5) / norm
        slope: Any = 0.0
        for k, weight in FIVE_POINTS:
            w[...] = start + k * h * u
            slope = slope + weight * (model.loss(idx, targets, need_grad=False)[0] - loss)
        w[...] = start
        slope, along = float(slope) / h, float((grads[name] * u).sum())
        size = float((grads[name] * grads[name]).sum()) ** 0.5
        floor = 8 * ROUNDING * abs(float(loss)) / h / DIRECTION_TOLERANCE
        error = relative(abs(along - slope), size, abs(slope), floor)
        yield Row(f"d{name}", w.shape, error, (), along, slope, w.size, "" if error <= DIRECTION_TOLERANCE else "WRONG")


def random_model(config: GPTConfig, seed: int = 0, device: str = "cpu") -> GPT:
    """A float64 model with weights of variance 1/fan_in, at which a wrong gradient is not small."""
    model = GPT(config, device, "float64", seed=None)
    draw = Draw(seed, "model")
    for name, shape in config.shapes().items():
        model.params[name] = draw.parameter(name, shape)
    return model
