"""A call as one would type it, with what it gave and what was expected, for a reader whose function is not right."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygpt.gradcheck.runs import raised
from tinygpt.own_layers.functions import Call, Uniform
from tinygpt.own_layers.outcomes import Outcome, became, expected

SMALL = 12  # numbers of an array that are written out
DIGITS, ALL = 4, 17  # of a number, where it takes no more, and where it does
LONG = 100  # characters that are


def shown(function: str, names: Sequence[str], call: Call, given: Outcome, right: Outcome) -> list[str]:
    """The lines of one call: as it would be typed, what came of it, and what was expected."""
    given_names = list(zip(names, call.arguments, strict=False))
    line = f"{function}({', '.join(written(x, name) for name, x in given_names)})"
    lines = [line]
    if len(line) > LONG:
        lines = [f"{function}({', '.join(name for name, _ in given_names)})"]
        lines += [f"    {name} = {text}" for name, x in given_names if (text := written(x, name)) != name]
    for name, x in given_names:
        if isinstance(x, Uniform):
            lines.append(f"    where {name}.random gives {', '.join(f'{u:.4g}' for u in x.numbers[:SMALL])}")
    if any(x.error is not None or x.result is not None for x in (given, right)):
        mine, theirs = _two(given.result, right.result)
        lines.append(f"    {raised(given.error) if given.error else f'returned {mine}'}")
        lines.append(f"    {expected(right) or f'expected {theirs}'}")
    for name, before, mine, theirs in zip(names, call.arguments, given.arguments, right.arguments, strict=False):
        if not given.error and isinstance(before, list | np.ndarray) and became(before, mine, theirs):
            ours, right_ones = _two(mine, theirs)
            lines += [f"    {name} is then {ours}", f"    {'expected':<{len(name) + 8}} {right_ones}"]
    return lines


def _two(a: Any, b: Any) -> list[str]:
    """Two values as they are written, with the digits, or the one entry, that it takes to tell them apart."""

    def both(digits: int) -> list[str]:
        return [written(x, f"a {type(x).__name__}", digits) for x in (a, b)]

    said = both(DIGITS)
    if said[0] != said[1]:
        return said
    if isinstance(a, np.ndarray) and a.shape and not same(a, b) and np.shape(b) == a.shape:
        off = np.nan_to_num(np.abs(a.astype(float) - b.astype(float)), nan=np.inf)
        worst = np.unravel_index(int(np.argmax(off)), a.shape)
        return [
            f"{text}, {x[worst].item()!r} at {[int(i) for i in worst]}" for text, x in zip(said, (a, b), strict=True)
        ]
    more = both(2 * DIGITS)
    return more if more[0] != more[1] else both(ALL)


def written(x: Any, name: str = "...", digits: int = DIGITS) -> str:
    """A value as Python reads it, an array that is not small by its shape; name: of what has no such form."""
    if isinstance(x, np.ndarray | np.generic):
        if x.size > SMALL:
            return f"<{x.dtype} of shape {x.shape}>"
        with np.printoptions(precision=digits, linewidth=10_000):
            numbers = " ".join(np.array2string(np.asarray(x), separator=", ").split())
        plain = x.dtype in (np.dtype(float), np.dtype(int), np.dtype(bool))
        return f"array({numbers})" if plain else f"array({numbers}, {x.dtype})"
    if isinstance(x, tuple):
        return f"({', '.join(written(part, digits=digits) for part in x)}{',' * (len(x) == 1)})"
    if isinstance(x, list):
        text = f"[{', '.join(map(written, x))}]"
        return text if len(text) <= LONG else f"{text[:LONG].rpartition(', ')[0]}, ... {len(x)} items]"
    if x is None or isinstance(x, int | str):
        return repr(x)
    return f"{x:.{max(digits, 6)}g}" if isinstance(x, float) else name


def same(a: Any, b: Any) -> bool:
    """Whether two arrays or lists are, to the last bit; what is no number is like itself."""
    return np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f")
