"""Whether results depend on the order in which a card happens to run blocks and warps."""

import numpy as np

from tests.cuda.strict_cupy.card import card


def in_orders(function, seeds=(1, 2)):
    """What `function()` gives on the card in use under each of these orders of blocks and warps."""
    before = card().seed
    try:
        for card().seed in seeds:
            yield function()
    finally:
        card().seed = before


def unequal_bits(results):
    """Which of the arrays differ in a bit from one result to another; each result is a sequence of host arrays."""
    first, *others = ([np.asarray(x) for x in result] for result in results)
    return sorted(
        {i for other in others for i, (x, y) in enumerate(zip(first, other, strict=True)) if x.tobytes() != y.tobytes()}
    )
