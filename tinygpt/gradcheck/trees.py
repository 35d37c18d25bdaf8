"""Nested mappings, lists and tuples: how inputs and gradients come, and what their leaves are called."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Path = tuple[Any, ...]


def is_tree(x: Any) -> bool:
    """Whether it holds others by name or by place."""
    return isinstance(x, Mapping | list | tuple)


def mapped(change: Callable[[Any], Any], tree: Any) -> Any:
    """`tree` in mappings, lists and tuples of its own, with every leaf changed."""
    if isinstance(tree, Mapping):
        return {name: mapped(change, x) for name, x in tree.items()}
    if isinstance(tree, list | tuple):
        items = [mapped(change, x) for x in tree]
        return items if isinstance(tree, list) else type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)
    return change(tree)


def leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Each leaf of a tree with its path: the names and places that lead there."""
    if not is_tree(tree):
        yield path, tree
        return
    for name, x in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
        yield from leaves(x, (*path, name))


def labels(tree: Any) -> dict[Path, str]:
    """What each leaf is called: by its innermost name, as in "w" or "w[1]", by the whole path where two are alike."""
    paths = [path for path, _ in leaves(tree)]
    short = {path: written(path[_innermost(path) :]) for path in paths}
    count = Counter(short.values())
    return {path: name if count[name] == 1 else written(path) for path, name in short.items()}


def written(path: Path) -> str:
    """A path as Python would have it: "params.layers[0].w"."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


def _innermost(path: Path) -> int:
    """Where the last of its names stands."""
    return max((place for place, part in enumerate(path) if not isinstance(part, int)), default=0)
