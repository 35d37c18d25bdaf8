"""Recordings: of a text, whole or with a single block, and with parts that stand in the engine's place."""

import functools
from unittest import mock

import numpy as np

from lessons.exercises import Exercise
from tinygpt.own_layers import PARTS
from tinygpt.own_layers.places import places
from tinygpt.recorder import Recording, record_step, step

SHORT = "abcab"
FOLDER = "lessons/work"
SHAPES_APART = step._shapes_apart


@functools.cache
def recorded(*text: str) -> Recording:
    return record_step(*text)


@functools.cache
def shapes_apart() -> dict[str, tuple[int, ...]]:
    """The engine's own, found once."""
    return SHAPES_APART(None)


def small(text: str = SHORT, **sources: str) -> Recording:
    """With one block of four channels; sources: of a reader's parts, by name, what stands in their files."""

    def own(copy):
        parts = {}
        for name, source in sources.items():
            module = copy(f"{FOLDER}/{name}.py", source)
            parts[name] = module if PARTS[name].is_layer else getattr(module, PARTS[name].functions[0])
        return places(parts)

    with mock.patch.multiple(step, LAYERS=1, CHANNELS=4, _shapes_apart=lambda _: shapes_apart()):
        return record_step(text, own if sources else None)


def solution(name: str) -> str:
    """The engine's own part as a reader's file."""
    return Exercise(name, 0).solution()


def spoilt(name: str, *edits: tuple[str, str]) -> str:
    source = solution(name)
    for old, new in edits:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source


def line_of(source: str, text: str) -> int:
    """The number of the line that holds a text."""
    (number,) = [n for n, line in enumerate(source.splitlines(), 1) if text in line]
    return number


def apart(given, right) -> float:
    """The largest difference, relative to the largest number."""
    return float(np.abs(np.asarray(given) - right).max() / max(np.abs(right).max(), 1e-9))
