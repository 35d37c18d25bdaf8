"""What `tinygpt gradcheck` prints: a line for each check as it is made, and all there is to say of those that fail."""

import difflib
import importlib.util
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

from tinygpt.backend import generator
from tinygpt.errors import UserError
from tinygpt.gradcheck.cases import CASES
from tinygpt.gradcheck.check import Report, gradient_check
from tinygpt.gradcheck.diagnosis import diagnose
from tinygpt.gradcheck.measure import HABITS, LAYERS, false_alarms, verdicts
from tinygpt.gradcheck.suite import (
    DIRECTION_TOLERANCE,
    LAYER_TOLERANCE,
    MODEL_TOLERANCE,
    check_directions,
    check_layer,
    random_model,
    twins,
)
from tinygpt.model import GPT2_SIZES, GPTConfig

MODEL_ENTRIES = 12  # of each parameter of the model, and one direction, without --all-entries
WIDTH = 58
HEADING = f"{'':<{WIDTH}}gradients  entries    error"


def check(names: list[str], device: str, all_entries: bool, seed: int, layer: str | None, verbose: bool) -> bool:
    """Check layers, "model", GPT-2's sizes or files by name, all layers and the model if none; True if all is right."""
    known = [*LAYERS, *GPT2_SIZES]
    for name in names:
        if name not in known and not name.endswith(".py"):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(known)}, or the path of a .py file"
            raise UserError(f"there is no layer {name!r}; {hint}")
    began, right = time.perf_counter(), True
    reports: list[Report] = []
    layers = [name for name in names or LAYERS if name in LAYERS]
    if layers and not verbose:
        print(HEADING)
    for name in layers:
        entries = None if all_entries or name != "model" else MODEL_ENTRIES
        candidates = {name: None} | ({f"{name}, fast twin": twins()[name]} if name in twins() else {})
        for title, candidate in candidates.items():
            reports += _lines(
                check_layer(name, candidate, title, seed=seed, device=device, max_entries=entries), verbose
            )
    if not verbose:
        _print_wrong(reports)
    if layers:
        print("\n" + _summary(reports, time.perf_counter() - began))
        right = all(report.passed for report in reports)
    for name in names:
        if name in GPT2_SIZES:
            right &= _check_size(name, device, seed)
        elif name.endswith(".py"):
            right &= _check_file(Path(name), layer, device, seed, verbose)
    return right


def _lines(reports: Iterable[Report], verbose: bool) -> Iterator[Report]:
    for report in reports:
        if verbose:
            print(f"{report}\n", flush=True)
            yield report
            continue
        entries = sum(row.entries for row in report.rows)
        verdict = "" if report.passed else "  WRONG"
        print(f"{report.title:<{WIDTH}}{len(report.rows):9}{entries:9,}{report.error:9.1e}{verdict}", flush=True)
        yield report


def _print_wrong(reports: list[Report]) -> None:
    for report in reports:
        if not report.passed:
            print(f"\n{report}")


def _summary(reports: list[Report], seconds: float) -> str:
    wrong = sum(not report.passed for report in reports)
    worst = []
    for kind, tolerance in (("layers", LAYER_TOLERANCE), ("model", MODEL_TOLERANCE)):
        errors = [report.error for report in reports if report.title.startswith("model") == (kind == "model")]
        if errors:
            worst.append(f"{kind}: worst relative error {max(errors):.1e}, at most {tolerance:.0e} allowed")
    verdict = f"{wrong} of {len(reports)} checks WRONG" if wrong else f"all {len(reports)} checks right"
    return "\n".join([*worst, f"{verdict}, in {seconds:.0f} s"])


def _check_size(preset: str, device: str, seed: int) -> bool:
    """One random direction in each parameter of a model of OpenAI's size."""
    config = GPTConfig.preset(preset)
    print(f"{preset}: {config.n_params:,} parameters in float64, one random direction in each tensor")
    tokens = generator(seed, "directions").integers(config.vocab_size, size=(2, 1, 8))
    model, worst, count, began = random_model(config, seed, device), 0.0, 0, time.perf_counter()
    print(f"{'':<32}{'shape':<16}{'gradient . u':>18}{'slope along u':>18}{'error':>9}")
    for row in check_directions(model, tokens[0], tokens[1], seed):
        values = f"{row.analytic:18.10f}{row.numerical:18.10f}{row.error:9.1e}"
        print(f"{row.name:<32}{str(row.shape):<16}{values}{'  ' * bool(row.problem)}{row.problem}", flush=True)
        worst, count = max(worst, row.error if np.isfinite(row.error) else np.inf), count + 1
    right = worst <= DIRECTION_TOLERANCE
    print(
        f"\n{count} parameters, worst error {worst:.1e}, at most {DIRECTION_TOLERANCE:.0e} allowed: "
        f"{'all right' if right else 'WRONG'}, in {time.perf_counter() - began:.0f} s"
    )
    return right


def _check_file(path: Path, layer: str | None, device: str, seed: int, verbose: bool) -> bool:
    """A reader's own module: against the definition of the layer it is named after, or by itself."""
    began = time.perf_counter()
    module = _load(path)
    layer = layer or (path.stem if path.stem in CASES else None)
    if layer is None and not hasattr(module, "inputs"):
        raise UserError(
            f"{path} is not named after a layer, so there is nothing to compare it with; say which it is with --as="
            f"{'|'.join(CASES)}, or give it a function inputs(rng) that returns forward's arguments as a dict"
        )
    candidate = SimpleNamespace(forward=module.forward, backward=module.backward)
    try:
        if layer is None:
            inputs = module.inputs(generator(seed, "inputs"))
            report = gradient_check(module.forward, module.backward, inputs, seed=seed, title=str(path))
            print(report)
            return report.passed
        if not verbose:
            print(HEADING)
        reports = list(_lines(check_layer(layer, candidate, path.name, seed=seed, device=device), verbose))
        if not verbose:
            _print_wrong(reports)
        right = all(report.passed for report in reports)
        if not right:
            print(f"\nwhat is wrong:\n{diagnose(layer, candidate, seed)}")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # whatever a reader's code raises: say where
        raise UserError(f"{path}{_place(path, error)} raised {type(error).__name__}: {error}") from error
    print("\n" + _summary(reports, time.perf_counter() - began))
    return right


def _load(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"there is no file {path}; expected a Python file with the functions forward and backward")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # of a .py file there always is one
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # its imports of its neighbours
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{path}{_place(path, error)} raised {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    for name in ("forward", "backward"):
        if not callable(getattr(module, name, None)):
            raise UserError(f"{path} has no function {name}; expected forward and backward, as in tinygpt/layers/")
    return module


def _place(path: Path, error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f", line {error.lineno},"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == path.resolve()
    ]
    return f", line {lines[-1]}," if lines else ""


def measure(seeds: int = 100) -> bool:
    """How many mutants the checker kills and names, how many the usual habits let through, and its false alarms."""
    found: dict[str, list] = {layer: [] for layer in LAYERS}
    print(f"{'':<16}{'mutants':>8}{'killed':>8}{'named':>7}   survive:" + "".join(f"{name:>15}" for name in HABITS))
    for layer in LAYERS:
        rows = []
        for verdict in verdicts(layer):
            diagnosis = diagnose(layer, verdict.mutant.stand_in(), seed=1)
            first = diagnosis.explanations[0].says if diagnosis and diagnosis.certain else ""
            rows.append((verdict.error > 0, first == verdict.mutant.says, *verdict.passes.values()))
        found[layer] = rows
        print(_counts(layer, rows), flush=True)
    rows = [row for layer in LAYERS for row in found[layer]]
    print(_counts("all", rows) + "\n")
    for name, habit in HABITS.items():
        print(f"{name}: {habit.says}" + (f"; mean of {habit.seeds} draws" if habit.seeds > 1 else ""))
    print("named: the first guess of the diagnosis, on other shapes and numbers, is the mistake that was made\n")
    checks, alarms = 0, Counter[str]()
    for number, failed in false_alarms(seeds):
        checks += number
        alarms.update(failed)
    print(f"false alarms: {sum(alarms.values())} in {checks:,} checks of the right code, {seeds} seeds")
    for title, count in alarms.items():
        print(f"  {title}: {count}")
    return all(killed for killed, *_ in rows) and not alarms


def _counts(layer: str, rows: list[tuple]) -> str:
    killed, named, *survive = (sum(column) for column in zip(*rows, strict=True))
    digits = [0 if habit.seeds == 1 else 1 for habit in HABITS.values()]
    habits = "".join(f"{count:>15.{n}f}" for count, n in zip(survive, digits, strict=True))
    return f"{layer:<16}{len(rows):>8}{killed:>8}{named:>7}           {habits}"
