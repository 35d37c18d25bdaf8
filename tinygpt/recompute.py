"""Less kept for backward, and computed again: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016,
arXiv:1604.06174.
"""

from typing import Any

# What is computed again: nothing; the output of GELU, where a card's kernels compute the MLP; the blocks
RECOMPUTE = ("none", "gelu", "blocks")


class Recomputed:
    """A block of which only the input is kept: its backward begins by running its forward once more. Layers are pure
    and dropout's masks are hashed, so that this gives what the first time gave, to the last bit.
    """

    def __init__(self, block: Any):
        self.block = block

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, tuple]:
        """The block's output; the cache is what it was computed from."""
        return self.block.forward(*args, **kwargs)[0], (args, kwargs)

    def backward(self, dout: Any, cache: tuple, *rest: Any) -> Any:
        """What the block's backward returns."""
        args, kwargs = cache
        return self.block.backward(dout, self.block.forward(*args, **kwargs)[1], *rest)
