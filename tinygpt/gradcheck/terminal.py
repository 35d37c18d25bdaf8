"""What `tinygpt gradcheck` prints: a line for each check as it is made, and all there is to say of those that fail."""

import difflib
import functools
import inspect
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.errors import UserError
from tinygpt.gradcheck import adapters
from tinygpt.gradcheck.diagnosis import diagnose
from tinygpt.gradcheck.edits import StaleEdit
from tinygpt.gradcheck.library import LAYERS
from tinygpt.gradcheck.measure import USUAL_CHECKS, false_alarms, verdicts
from tinygpt.gradcheck.own_file import blame, compared, judge, meddling, what_is_wrong
from tinygpt.gradcheck.process import NoAnswer, OwnFile
from tinygpt.gradcheck.report import Report, wrapped
from tinygpt.gradcheck.suite import (
    DIRECTION_TOLERANCE,
    Trial,
    candidates,
    check_directions,
    random_model,
    reports,
    trials,
)
from tinygpt.gradcheck.support import split
from tinygpt.gradcheck.wire import RaisedThere
from tinygpt.models.gpt2 import GPT2_SIZES, GPTConfig
from tinygpt.random import generator

MODEL_ENTRIES = 12  # of each parameter of the model, and one direction, without --all-entries
FILE_ENTRIES = 500  # of each input that a reader's own file brings, likewise
SAY = functools.partial(print, flush=True)


def check_named(
    names: list[str], device: str, all_entries: bool, seed: int, layer: str | None, verbose: bool, seconds: float,
    asked: tuple[str, str] = ("", ""),
) -> bool:  # fmt: skip
    """Check layers, "model", GPT-2's sizes or files by name, all layers and the model if none; True if all is right.

    asked: what of a file, ("class", "LayerNorm") or ("function", "affine"), if it is not to be found.
    """
    refuse_unknown([name for name in names if not name.endswith(".py")])
    if layer is not None and not any(name.endswith(".py") for name in names):
        raise UserError(f"--as={layer} says what a file is; give the file too, such as mine.py")
    if asked[0] and not any(name.endswith(".py") for name in names):
        raise UserError(f"--{asked[0]}={asked[1]} says what of a file; give the file too, such as mine.py")
    verdicts = []
    if layers := [name for name in names or LAYERS if name in LAYERS]:
        verdicts.append(all(overview(_check_layers(layers, device, all_entries, seed), SAY, verbose)))
    for name in names:
        if name in GPT2_SIZES:
            verdicts.append(_check_size(name, device, seed))
        elif name.endswith(".py"):
            verdicts.append(_check_file(Path(name), layer, device, all_entries, seed, verbose, seconds, asked))
    return all(verdicts)


def refuse_unknown(names: list[str], known: tuple[str, ...] = (*LAYERS, *GPT2_SIZES)) -> None:
    """Raises UserError for a name that is not among the known ones, with the nearest of them."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(known)}, or the path of a .py file"
            raise UserError(f"there is no layer {name!r}; {hint}")


def _check_layers(layers: list[str], device: str, all_entries: bool, seed: int) -> Iterator[Report]:
    for layer in layers:
        entries = None if all_entries or layer != "model" else MODEL_ENTRIES
        for title, candidate in candidates(layer, device).items():
            yield from reports(layer, candidate, title, seed=seed, device=device, max_entries=entries)


def overview(
    made: Iterable[Report], say: Callable[[str], Any], verbose: bool = False,
    in_full: Callable[[Report], bool] = lambda report: True,
) -> list[Report]:  # fmt: skip
    """Reports, said as they come: a line each and the wrong ones in full after, or all in full; at last the verdict.
    in_full: of the wrong ones, which; of the others it is said elsewhere what is wrong.
    """
    began, done = time.perf_counter(), []
    if not verbose:
        say(f"{'':<45}gradients  entries    error")
    for report in made:
        done.append(report)
        entries = sum(row.entries for row in report.gradients)
        error = f"{report.error:9.1e}" if math.isfinite(report.error) else " " * 9
        line = f"{report.title:<45}{len(report.gradients):9}{entries:9,}{error}"
        say(f"{report}\n" if verbose else line + ("" if report.passed else "  WRONG"))
    wrong = [report for report in done if not report.passed]
    if not verbose:
        say("\n".join([*(f"\n{report}" for report in wrong if in_full(report)), ""]))
    for tolerance in sorted({report.tolerance for report in done}):
        errors = [report.error for report in done if report.tolerance == tolerance and math.isfinite(report.error)]
        if errors:
            say(f"worst relative error {max(errors):.1e}, where {tolerance:.0e} is allowed ({_checks(errors)})")
    verdict = f"{len(wrong)} of {_checks(done)} WRONG" if wrong else f"{'all ' * (len(done) != 1)}{_checks(done)} right"
    say(f"{verdict}, in {time.perf_counter() - began:.0f} s")
    return done


def _checks(made: Sized) -> str:
    return f"{len(made)} check{'s' * (len(made) != 1)}"


def _check_size(preset: str, device: str, seed: int) -> bool:
    """One random direction in each parameter of a model of OpenAI's size."""
    config = GPTConfig.preset(preset)
    print(f"{preset}: {config.n_params:,} parameters in float64, one random direction in each tensor")
    tokens = generator(seed, "directions").integers(config.vocab_size, size=(2, 1, 8))
    model, rows, began = random_model(config, seed, device), [], time.perf_counter()
    print(f"{'':<25}{'shape':<13}{'gradient . u':>16}{'slope along u':>16}{'error':>9}")
    for row in check_directions(model, tokens[0], tokens[1], seed):
        rows.append(row)
        line = f"{row.name:<25}{str(row.shape):<13}{row.analytic:16.10f}{row.numerical:16.10f}{row.error:9.1e}"
        print(f"{line}  {row.problem}".rstrip(), flush=True)
    wrong = sum(bool(row.problem) for row in rows)
    print(
        f"\n{len(rows)} parameters, worst error {np.max([row.error for row in rows]):.1e}, where "
        f"{DIRECTION_TOLERANCE:.0e} is allowed: {f'{wrong} WRONG' if wrong else 'all right'}, "
        f"in {time.perf_counter() - began:.0f} s"
    )
    return not wrong


def _check_file(
    path: Path, layer: str | None, device: str, all_entries: bool, seed: int, verbose: bool, seconds: float,
    asked: tuple[str, str],
) -> bool:  # fmt: skip
    """A reader's own module: against the definition of the layer it is named after, or by itself."""
    named = layer is None and not asked[0] and path.stem in LAYERS and path.stem != "model"
    layer = path.stem if named else layer
    try:
        with OwnFile(path, ("forward", "backward") if layer else (), seconds, seed, device) as file:
            if layer is None:
                return _check_by_itself(path, file, None if all_entries else FILE_ENTRIES, seed, asked)
            candidate, kept, left_out = split(layer, file, list(trials(layer, seed, device)))
            done = overview((judge(trial, candidate, layer, path) for trial in kept), SAY, verbose, compared)
            if left_out:
                print(
                    "\n".join(
                        wrapped(f"not supported: {'; '.join(_asked_for(trial, layer, file) for trial in left_out)}")
                    )
                )
            wrong = "" if all(done) else what_is_wrong(layer, file, done, seed)
            wrong = wrong or meddling(file)
            if wrong:
                print(f"\nwhat is wrong:\n{wrong}")
            return not wrong
    except NoAnswer as error:
        raise UserError(str(error)) from None
    except StaleEdit:
        raise
    except UserError as error:
        hint = "; or say with --class or --function what to check" if named and "no function" in str(error) else ""
        raise UserError(f"{path}: {error}{hint}") from error
    except RaisedThere as error:
        raise UserError(blame(path, error)) from error


def _asked_for(trial: Trial, layer: str, file: OwnFile) -> str:
    """A case's title; of the plain one, what it has that a file's forward does not take."""
    if trial.title != layer:
        return trial.title
    taken = inspect.signature(file.forward).parameters
    return f"{layer} with {' and '.join(name for name in trial.experiment.inputs if name not in taken)}"


def _check_by_itself(path: Path, file: OwnFile, max_entries: int | None, seed: int, asked: tuple[str, str]) -> bool:
    """What is in a file: whether each backward is the derivative of its forward."""
    names, said = file.things(*asked)
    options: dict[str, Any] = {"max_entries": max_entries} | said
    made = []
    for name in names:
        title = f"{path}, {name}" if name not in ("", "make") else str(path)
        made.append(adapters.report(functools.partial(file.adapted, asked[0], name), title, seed, **options))
        if name == names[-1] and (wrong := meddling(file)):
            made[-1].problems.append(wrong)
        print(made[-1], flush=True)
    return all(made)


def measure_checker(names: list[str], seed: int, seeds: int = 100) -> bool:
    """How many mutants the checker kills, how many the usual habits let through, and its false alarms."""
    refuse_unknown(names, LAYERS)
    rows: list[tuple] = []
    heading = "".join(f"{name:>13}" for name in USUAL_CHECKS)
    print(f"{'':<14}{'mutants':>8}{'killed':>8}{'named':>7}   survive:{heading}")
    for layer in names or LAYERS:
        found = []
        for mutant, killed, passes in verdicts(layer, seed):
            diagnosis = diagnose(layer, mutant.stand_in(), seed + 1)
            said = [explanation.says for explanation in diagnosis.explanations] if diagnosis else []
            found.append((mutant.family == "forward", killed, said[:1] == [mutant.says], *passes.values()))
        print(_counts(layer, found), flush=True)
        rows += found
    for title, forward in (("backwards", False), ("forwards", True)):
        print(_counts(title, [row for row in rows if row[0] == forward]))
    print("\nforwards: wrong ones with their own derivative, of which a habit sees few")
    print("named: told from all other mutants by the diagnosis, which says what is wrong")
    for name, usual in USUAL_CHECKS.items():
        print(f"{name}: {usual.says}" + (f" (mean of {usual.seeds})" if usual.seeds > 1 else ""))
    checks, failed = zip(*false_alarms(seeds), strict=True)
    alarms = Counter(itertools.chain(*failed))
    print(f"\nfalse alarms: {sum(alarms.values())} in {sum(checks):,} checks of the right code, {seeds} seeds")
    for title, count in alarms.items():
        print(f"  {title}: {count}")
    return all(row[1] for row in rows) and not alarms


def _counts(title: str, rows: list[tuple[Any, ...]]) -> str:
    _, killed, named, *survive = map(sum, zip(*rows, strict=True)) if rows else (0,) * (3 + len(USUAL_CHECKS))
    digits = [0 if usual.seeds == 1 else 1 for usual in USUAL_CHECKS.values()]
    habits = "".join(f"{count:>13.{n}f}" for count, n in zip(survive, digits, strict=True))
    return f"{title:<14}{len(rows):>8}{killed:>8}{named:>7}           {habits}"
