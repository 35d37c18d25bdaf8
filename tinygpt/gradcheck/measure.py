"""How good is the checker? The mutants it kills, its false alarms, and what the usual ways of checking let through."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tinygpt.backend import to_host
from tinygpt.device import cpu_count
from tinygpt.errors import UserError
from tinygpt.gradcheck.experiment import Experiment
from tinygpt.gradcheck.library import LAYERS
from tinygpt.gradcheck.mutants import Mutant, mutants
from tinygpt.gradcheck.report import Report
from tinygpt.gradcheck.suite import Trial, candidates, reports, trials

ENTRIES = 3  # of each input, and one direction: what is differentiated here, where thousands of checks are made


class UsualCheck(NamedTuple):
    """A usual way of checking a gradient. It takes a layer's forward as it is and differentiates that; dout is ones.

    accept: whether the analytic and the numerical gradient of one input pass. initial: as for `cases.Draw`. entries:
    how many of each input are looked at. seeds: how many draws of them to try.
    """

    says: str
    accept: Callable[[np.ndarray, np.ndarray], bool]
    initial: bool
    entries: int
    seeds: int


USUAL_CHECKS = {
    "atol 1e-4": UsualCheck(
        "dout = ones, absolute tolerance 1e-4, weights of 0.02, 50 entries",
        lambda analytic, numerical: bool(np.all(np.abs(analytic - numerical) <= 1e-4)),
        initial=True, entries=50, seeds=1,
    ),
    "one index": UsualCheck(  # minitorch's grad_check: rtol and atol 1e-2 at one random index of each input
        "dout = ones, one entry of each input, tolerance 1e-2",
        lambda analytic, numerical: bool(np.all(np.abs(analytic - numerical) <= 1e-2 + 1e-2 * np.abs(numerical))),
        initial=False, entries=1, seeds=10,
    ),
}  # fmt: skip


class Verdict(NamedTuple):
    """What became of one mutant: whether it was caught, and the share of each usual check's draws that let it pass."""

    mutant: Mutant
    killed: bool
    passes: dict[str, float]


def verdicts(layer: str, seed: int = 0) -> Iterator[Verdict]:
    """Every mutant of a layer held against the checker, and against the usual checks on the same cases."""
    ours = list(trials(layer, seed, max_entries=ENTRIES))
    theirs = {}
    for name, usual in USUAL_CHECKS.items():
        options: dict[str, Any] = {"initial": usual.initial, "max_entries": usual.entries, "dout": 1.0}
        theirs[name] = [list(trials(layer, seed + draw, **options)) for draw in range(usual.seeds)]
    for mutant in mutants(layer):
        passes = {}
        for name, usual in USUAL_CHECKS.items():
            passed = [all(_passes(trial, mutant, usual) for trial in draw) for draw in theirs[name]]
            passes[name] = float(np.mean(passed))
        yield Verdict(mutant, any(kills(trial, mutant) for trial in ours), passes)


def kills(trial: Trial, mutant: Mutant) -> bool:
    """Whether a trial tells a mutant from the right layer."""
    stand_in = mutant.stand_in()
    try:
        with np.errstate(all="ignore"):  # what overflows is seen in the numbers
            return not trial.judge(stand_in).passed
    except (UserError, ValueError, IndexError):  # a shape that does not fit
        return True


def _passes(trial: Trial, mutant: Mutant, usual: UsualCheck) -> bool:
    forward, backward = trial.functions(mutant.stand_in())
    experiment = trial.experiment
    try:
        with np.errstate(all="ignore"):
            if mutant.family == "forward":  # which it knows nothing of: it differentiates what it is given
                experiment = Experiment(forward, experiment.inputs, (), usual.entries, dout=1.0)
            _, gradients, _ = experiment.run(forward, backward)
    except (UserError, ValueError, IndexError):
        return False
    for name, x in experiment.arrays.items():
        entries, numerical = experiment.derivatives.numerical(name)
        analytic = to_host(gradients[name])
        if analytic.shape != tuple(x.shape) or not usual.accept(analytic.reshape(-1)[entries], numerical.values):
            return False
    return True


def false_alarms(seeds: int = 100) -> Iterator[tuple[int, list[str]]]:
    """The right code, fast twins included, checked once for each seed: how many checks, and the titles that failed."""
    from concurrent.futures import ProcessPoolExecutor  # here, since a browser's Python has no processes
    from multiprocessing import get_context

    with ProcessPoolExecutor(cpu_count(), get_context("spawn")) as pool:
        yield from pool.map(_alarms, range(seeds))


def _alarms(seed: int) -> tuple[int, list[str]]:
    made: list[Report] = []
    for layer in LAYERS:
        for title, candidate in candidates(layer).items():
            made += reports(layer, candidate, title, seed=seed, max_entries=ENTRIES)
    return len(made), [report.title for report in made if not report.passed]
