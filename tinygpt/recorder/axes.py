"""What each axis of an array runs over: found by the same step once more, with sizes that are all different.

There a length of 5 can only be heads; in the step that is shown, 8 may be characters as well as channels.
"""

from collections.abc import Iterable, Mapping

from tinygpt.models.gpt2 import GPTConfig
from tinygpt.recorder.recording import Array

BATCH, LENGTH = 2, 7
APART = GPTConfig(block_size=LENGTH, vocab_size=13, n_layer=2, n_head=5, n_embd=20)


def meanings(config: GPTConfig, batch: int, length: int) -> list[tuple[int, str]]:
    """The lengths that an axis may have, and what it then runs over; rows of batch and time are called "time"."""
    C, D = config.n_embd, config.n_embd // config.n_head
    channels = [(size, "channel") for size in (D, C, 3 * C, 4 * C)]
    rest = [(config.n_head, "head"), (length, "time"), (batch * length, "time"), (config.vocab_size, "token")]
    return [(1, "one"), (batch, "batch"), *rest, *channels]


def name_axes(arrays: Iterable[Array], shapes: Mapping[str, tuple[int, ...]], config: GPTConfig, length: int) -> None:
    """Give each array its axes: "batch", "time", "head", "channel", "token" or "one", or "" where it cannot be said.

    shapes: by key, those of the step that was taken with APART.
    """
    apart, here = dict(meanings(APART, BATCH, LENGTH)), set(meanings(config, 1, length))
    for array in arrays:
        shape, there = array.values.shape, shapes.get(array.key, ())
        array.axes = [""] * len(shape)
        if len(there) == len(shape):
            said = [apart.get(size, "") for size in there]
            array.axes = [name if (size, name) in here else "" for size, name in zip(shape, said, strict=True)]
