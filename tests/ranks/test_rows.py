"""A step's rows are shared out: each once, in order, in micro-batches that fit, as many on every rank."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygpt.run.group import Group
from tinygpt.run.rows import own_rows


class Corpus:
    """Rows that are what was drawn for them."""

    def batch(self, split, batch_size, block_size, rng, rows):
        drawn = rng.integers(1 << 40, size=(batch_size, block_size))[rows]
        return drawn, -drawn


def rows_of(rank: int, size: int, batch_size: int, batches: int) -> list:
    group = Group()
    group.rank, group.size = rank, size
    state = SimpleNamespace(
        config=SimpleNamespace(batch_size=batch_size), model=SimpleNamespace(config=SimpleNamespace(block_size=2)),
        group=group, corpus=Corpus(),
    )  # fmt: skip
    return list(own_rows(state, "train", np.random.default_rng(7), batches))


@settings(max_examples=200, deadline=None)
@given(size=st.integers(1, 20), batch_size=st.integers(1, 16), batches=st.integers(1, 12))
def test_ranks_share_all_rows(size, batch_size, batches):
    alone = [batch for _, batch in rows_of(0, 1, batch_size, batches)]
    assert [len(idx) for idx, _ in alone] == [batch_size] * batches
    shares = [rows_of(rank, size, batch_size, batches) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1  # as many micro-batches
    place = 0
    for share in shares:
        lengths = [len(idx) for _, (idx, _) in share]
        assert max(lengths) <= batch_size and max(lengths) - min(lengths) <= 1
        for row, (idx, targets) in share:
            assert row == place and len(idx) == len(targets)
            place += len(idx)
    together = [batch for share in shares for _, batch in share]
    for ours, theirs in zip(zip(*together, strict=True), zip(*alone, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(ours), np.concatenate(theirs))
    if batch_size * batches >= size:
        assert all(sum(len(idx) for _, (idx, _) in share) for share in shares)  # nobody is idle


def test_480_rows_on_8_ranks_are_5_micro_batches_of_12():
    for rank in range(8):
        assert [len(idx) for _, (idx, _) in rows_of(rank, 8, 12, 40)] == [12] * 5


def test_without_accumulation_no_rank_has_twice_as_many_rows_as_another():
    assert sorted(len(idx) for rank in range(5) for _, (idx, _) in rows_of(rank, 5, 12, 1)) == [2, 2, 2, 3, 3]


@settings(max_examples=100, deadline=None)
@given(length=st.integers(0, 2000).map(lambda n: 16 * n), size=st.integers(1, 20))
def test_shards_are_all_of_a_buffer_and_begin_at_cache_lines(length, size):
    group = Group()
    group.size = size
    shards = group.shards(length)
    assert [shard.start for shard in shards] == [0, *(shard.stop for shard in shards[:-1])]
    assert shards[-1].stop == length and all(shard.start % 16 == 0 for shard in shards)
    assert max(shard.stop - shard.start for shard in shards) <= length // size + 16 * size
