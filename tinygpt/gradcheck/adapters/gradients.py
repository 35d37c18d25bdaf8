"""Where the gradients of an object's arrays are: beside them, in a dict or list of gradients, or returned."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygpt.gradcheck.adapters.held import Path, at, within
from tinygpt.gradcheck.adapters.libraries import is_array, shape
from tinygpt.gradcheck.adapters.names import HOLDERS, THEIRS, VALUES, find, plain


def sibling(thing: Any, path: Path) -> Path:
    """The path of the gradient of what is at a path: beside it, or in a holder of gradients beside what holds it."""
    *above, last = path
    for depth in range(len(above), -1, -1):
        beside = dict(within(at(thing, tuple(above[:depth]))))
        rest = path[depth:]
        holders = [key for key in beside if plain(key) in HOLDERS or depth < len(above) and find(rest[0], [key])]
        if len(rest) == 1 and isinstance(last, str):
            key = find(last, beside)
            if key is None and plain(last) in VALUES:
                key = next((name for name in beside if plain(name) in THEIRS), None)
            if key is not None and _is_gradient(beside[key]):
                return (*above[:depth], key)
        for holder in holders:
            inner = dict(within(beside[holder]))
            key = last if last in inner else find(last, inner, itself=True) if isinstance(last, str) else None
            if key is not None and _is_gradient(inner[key]):
                if (*above[:depth], holder, key) != path:
                    return (*above[:depth], holder, key)
    return ()


def _is_gradient(x: Any) -> bool:
    return is_array(x) or isinstance(x, np.generic | float)


def after_the_inputs(rest: Sequence[Any], missing: Mapping[str, tuple[Path, tuple[int, ...]]]) -> dict[str, Any]:
    """The gradients of parameters that backward returned after those of its inputs: each of its own, or in one dict or
    list. missing: where the parameters are whose gradients are nowhere else, and their shapes.
    """
    if len(rest) == 1 and isinstance(rest[0], Mapping):
        keys = {name: find(path[-1], rest[0], itself=True) for name, (path, _) in missing.items()}
        return {name: rest[0][key] for name, key in keys.items() if key is not None}
    if len(rest) == 1 and isinstance(rest[0], tuple | list):
        rest = rest[0]
    theirs = [shape(gradient) for gradient in rest]
    names = list(missing)
    if len(rest) < len(missing):  # those that fit, in their order
        names, left = [], iter(missing)
        for its in theirs:
            names += [next((name for name in left if missing[name][1] == its), "")]
    if len(rest) > len(missing) or not all(names):
        return {}
    shapes = [missing[name][1] for name in names]
    if shapes != theirs and sorted(shapes) == sorted(theirs) and len(set(shapes)) == len(shapes):
        rest = [rest[theirs.index(its)] for its in shapes]  # in an order of its own
    return dict(zip(names, rest, strict=True))
