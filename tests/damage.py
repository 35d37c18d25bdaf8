"""What happens to files on a disk that forgets, drawn at random: each changes what the file holds."""

from pathlib import Path

import numpy as np


def flip_a_bit(content: bytearray, rng: np.random.Generator) -> None:
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))


def zero_a_part(content: bytearray, rng: np.random.Generator) -> None:
    start, length = int(rng.integers(len(content))), int(rng.integers(1, 5000))
    content[start : start + length] = bytes(len(content[start : start + length]))


def cut_it_short(content: bytearray, rng: np.random.Generator) -> None:
    del content[rng.integers(len(content)) :]


def swap_two_blocks(content: bytearray, rng: np.random.Generator) -> None:
    size = min(4096, len(content) // 2)
    a, b = (int(place) for place in sorted(rng.integers(len(content) - size + 1, size=2)))
    b = max(b, a + size) if a + 2 * size <= len(content) else b
    content[a : a + size], content[b : b + size] = content[b : b + size], content[a : a + size]


KINDS = flip_a_bit, zero_a_part, cut_it_short, swap_two_blocks


def damage(path: Path, rng: np.random.Generator) -> str:
    """Change a file in one way or another; returns which."""
    before = path.read_bytes()
    content = bytearray(before)
    while content == before:  # a part may have been zero before
        kind = KINDS[rng.integers(len(KINDS))]
        kind(content, rng)
    path.write_bytes(content)
    return f"{kind.__name__} in {path.name}"
