"""Which rows of a step, or of an evaluation, are a rank's own; the batches follow from the run alone."""

from collections.abc import Iterator

import numpy as np

from tinygpt.data import Batch
from tinygpt.run.state import TrainState


def own_rows(state: TrainState, split: str, rng: np.random.Generator, batches: int) -> Iterator[tuple[int, Batch]]:
    """Of so many batches this rank's rows, in micro-batches of at most batch_size rows that are as even as can be; with
    each the place that its first row has among all of them. There are as many on every rank, a few perhaps empty.
    """
    rows, T, group = state.config.batch_size, state.model.config.block_size, state.group
    shares = group.shares(batches * rows)
    share = shares[group.rank]
    length, most = share.stop - share.start, max(share.stop - share.start for share in shares)
    parts = -(-most // rows)
    ends = iter([length * (part + 1) // parts for part in range(parts)])
    begin, end = 0, next(ends)
    idx = targets = np.empty((0, T), np.int64)  # of the rows from `begin` on that were cut already
    for number in range(batches):
        first = max(share.start - number * rows, 0)
        own = slice(first, max(first, min(share.stop - number * rows, rows)))
        more = state.corpus.batch(split, rows, T, rng, own)
        idx, targets = (np.concatenate(pair) for pair in zip((idx, targets), more, strict=True)) if len(idx) else more
        while begin + len(idx) >= end:
            size = end - begin
            yield share.start + begin, (idx[:size], targets[:size])
            idx, targets = idx[size:], targets[size:]
            begin, end = end, next(ends, -1)
            if end < 0:
                return
