"""Dropout: in training, each element is zeroed with probability p and the others scaled up to keep the mean.

Srivastava et al., "Dropout", JMLR 2014, in the "inverted" form, which leaves evaluation alone.
"""

from tinygpt.backend import Array, array_module, random_bits

ATTENTION, AFTER_ATTENTION, AFTER_MLP = range(3)  # the places in a transformer block, each with a key of its own


def forward(x: Array, p: float, key: int = 0, row: int = 0) -> tuple[Array, tuple]:
    """out = x * keep / (1 - p), keep being 0 with probability p.

    x: (B, ...); p in [0, 1). The random bits are a hash of `key` and of each element's place in the whole batch,
    `row` being the place of x[0]: the same on every device, and for any split of the batch over workers. Returns
    out: the shape of x, cache.
    """
    if p == 0:
        return x, (None, p)
    xp = array_module(x)
    keep = random_bits(x.shape, key, row, xp) >= xp.uint32(p * 2**32)
    return x * keep / (1 - p), (keep, p)


def backward(dout: Array, cache: tuple) -> Array:
    """dx: the shape of x, zero where x was dropped.

    dout: the shape of x.
    """
    keep, p = cache
    return dout if keep is None else dout * keep / (1 - p)
