"""A function that is no layer held against the engine's own: the same calls to both, and the same results expected."""

import copy
import functools
import importlib
import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygpt.backend import to_host
from tinygpt.errors import UserError, brief
from tinygpt.gradcheck.differences import relative
from tinygpt.gradcheck.edits import StaleEdit
from tinygpt.gradcheck.gradients import difference as distance
from tinygpt.gradcheck.library import modules_in
from tinygpt.gradcheck.mutants import Mutant
from tinygpt.gradcheck.report import apart
from tinygpt.gradcheck.runs import raised
from tinygpt.own_layers import functions as folder
from tinygpt.own_layers.functions import Call, Uniform
from tinygpt.random import generator

TOLERANCE = 1e-9  # of every array, relative
SINGLE = 1e-6  # of one in float32, whose last digit is another where its terms are added in another order
SEEDS = 3  # that a mistake has to give the outcomes for
SHORT = 8  # items of a list that are shown
FUNCTIONS = modules_in(folder)


class Outcome(NamedTuple):
    """What a call gave: what it returned, its arguments afterwards, or the error that it raised."""

    result: Any
    arguments: tuple
    error: BaseException | None


def calls(name: str, seed: int) -> list[Call]:
    """The calls that a function is held to, by its file's name; another seed draws other numbers and sizes."""
    return list(FUNCTIONS[name].calls(generator(seed, FUNCTIONS[name].DEFINITION.__name__)))


@functools.cache
def mistakes(name: str) -> list[Mutant]:
    """The ways in which a function is usually got wrong: mutants of the module that the engine's own stands in."""
    file = FUNCTIONS[name]
    source = importlib.import_module(file.DEFINITION.__module__)
    return [Mutant(name, says, "", says, tuple(edits), source) for says, *edits in file.MISTAKES]


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
        if isinstance(given.error, _kind(right.error)):
            return ""
        return f"{'raised nothing' if given.error is None else raised(given.error)}; {expected(right)}"
    if given.error is not None:
        return raised(given.error)
    if right.result is None and given.result is not None:
        return f"returned {_say(given.result)}, where nothing is to be returned: it works in place"
    found = [f"returned {said}"] if (said := differs(given.result, right.result)) else []
    for name, before, mine, theirs in zip(names, call.arguments, given.arguments, right.arguments, strict=False):
        if isinstance(before, Uniform) and found and mine.numbers == before.numbers:
            found.append(f"{name} was not asked: take one number for each row from {name}.random")
        elif said := became(before, mine, theirs):
            found.append(said.format(name=name))
    return "; ".join(found)


def _kind(error: BaseException) -> type[BaseException]:
    """The class by which an error is known that was raised in a file's process: UserError, or the nearest built in."""
    known = (cls for cls in type(error).__mro__ if cls is UserError or cls.__module__ == "builtins")
    return next(cls for cls in known if issubclass(cls, BaseException))


def became(before: Any, mine: Any, theirs: Any) -> str:
    """What is wrong with what became of an argument, in words about {name}; "" if nothing is."""
    if isinstance(before, tuple | list | np.ndarray) and _equal(before, theirs):  # the engine only reads it
        return "" if _equal(before, mine) else "left {name} changed: it should be as it was, to the last bit"
    said = differs(mine, theirs) if isinstance(before, list | np.ndarray) else ""
    return f"made of {{name}} {said}" if said else ""


def _equal(a: Any, b: Any) -> bool:
    """Whether two arrays, lists of numbers, or tuples of such are the same to the last bit."""
    return all(map(_equal, a, b)) if isinstance(a, tuple) else np.array_equal(a, b)


def expected(right: Outcome) -> str:
    """What error there should be, if there should be one."""
    return "" if right.error is None else f"expected {type(right.error).__name__}"


def diagnose(name: str, candidate: Callable, seed: int = 0) -> str:
    """The usual mistake that gives the candidate's outcomes in every call for three seeds, or else the two that do
    together, in a line each; "" if none do. Zeros, which many pairs give, are no pair's.
    """
    right = FUNCTIONS[name].DEFINITION
    names = list(inspect.signature(right).parameters)
    given = [(call, outcome(candidate, call)) for n in range(SEEDS) for call in calls(name, seed + n)]
    if not any(difference(call, names, mine, outcome(right, call)) for call, mine in given):
        return ""
    single = mistakes(name)
    both = (
        Mutant(name, "both", "", f"{a.says}\n{b.says}", a.edits + b.edits, a.source)
        for a, b in itertools.combinations(single, 2)
    )
    empty = all(_is_nothing(mine) for _, mine in given)
    for mistake in itertools.chain(single, () if empty else both):
        try:
            wrong = getattr(mistake.wrong, right.__name__)
        except StaleEdit:
            if mistake.name == "both":  # of the same line
                continue
            raise
        if not any(difference(call, names, mine, outcome(wrong, call)) for call, mine in given):
            return mistake.says
    return ""


def _is_nothing(given: Outcome) -> bool:
    """Whether what a call returned is an array of zeros."""
    return isinstance(given.result, np.ndarray) and not given.result.any()


def differs(given: Any, right: Any) -> str:
    """What was given and what was expected, where they differ."""
    if isinstance(right, tuple):
        if not isinstance(given, tuple | list) or len(given) != len(right):
            return f"{_say(given)}; expected {len(right)} arrays"
        pairs = enumerate(map(differs, given, right))
        return next((f"{said}, in {_which(n, len(right))}" for n, said in pairs if said), "")
    if isinstance(right, list):
        return _lists_differ(given, right)
    if type(right) is float and isinstance(given, float):
        # a term added in another order makes another last digit
        return "" if abs(given - right) <= TOLERANCE * abs(right) else "; expected ".join(apart(given, right, True))
    if not hasattr(right, "shape"):
        same = type(given) is type(right) and given == right
        return "" if same else f"{_say(given)}; expected {_say(right)}"
    if not hasattr(given, "shape"):
        return f"{_say(given)}; expected an array of shape {right.shape}"
    if given.shape != right.shape or given.dtype != right.dtype:
        return f"{given.dtype} of shape {given.shape}; expected {right.dtype} of shape {right.shape}"
    allowed = SINGLE if right.dtype == np.float32 else TOLERANCE
    a, b = (to_host(x).astype(np.float64) for x in (given, right))
    if np.array_equal(a, b, equal_nan=True):
        return ""
    if not np.isfinite(a).all() and np.isfinite(b).all():
        return "numbers that are not finite"
    if not np.isfinite(b).all():  # as one may expect of a mistake
        off = distance(a, b)
        return f"other numbers (relative error {off:.1e})" if off > allowed else ""
    error = relative(np.linalg.norm(a - b), np.linalg.norm(a), np.linalg.norm(b))
    if error <= allowed:
        return ""
    worst = np.unravel_index(int(np.argmax(np.abs(a - b))), a.shape)
    at = f" at {[int(i) for i in worst]}" if a.ndim else ""
    whole = f" (relative error of the whole {error:.1e})" if right.dtype.kind == "f" else ""
    mine, theirs = apart(float(a[worst]), float(b[worst]), True)
    return f"{mine}{at}; expected {theirs}{whole}"


def _which(number: int, of: int) -> str:
    """One of several, in words."""
    names = "first second third fourth fifth sixth".split(), "none one two three four five six".split()
    return f"the {names[0][number]} of the {names[1][of]}" if of <= 6 else f"number {number + 1} of {of}"


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
        text = ", ".join(map(brief, x[start : start + SHORT]))
        return f"[{'..., ' if start else ''}{text}{', ...' if len(x) > start + SHORT else ''}]"
    if isinstance(x, tuple) and any(hasattr(part, "shape") for part in x):
        return f"a tuple of {len(x)}"
    text = " ".join(repr(x).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
