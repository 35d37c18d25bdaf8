"""A sum in a ring among threads; test_losses.py has runs that add up their gradients so."""

import queue
import threading

import numpy as np
import pytest

from tinygpt.run.group import Group
from tinygpt.run.ring import ring_step, sum_in_a_ring

SECONDS = 20


class Threads(Group):
    """One of several threads, with a queue to the next."""

    def __init__(self, rank, queues):
        self.rank, self.size, self.queues = rank, len(queues), queues
        self.passed = 0  # bytes

    def pass_on(self, goes, comes):
        self.passed += goes.nbytes
        self.queues[self.rank].put(goes.copy())
        came = self.queues[self.rank - 1].get(timeout=SECONDS)
        assert came.shape == comes.shape and came.dtype == comes.dtype
        comes[...] = came


def around(arrays, step=ring_step):
    """The groups, after each of as many threads has summed its array, in place."""
    queues = [queue.Queue() for _ in arrays]
    groups = [Threads(rank, queues) for rank in range(len(arrays))]
    threads = [
        threading.Thread(target=sum_in_a_ring, args=(group, x, step), daemon=True)
        for group, x in zip(groups, arrays, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads)
    return groups


@pytest.mark.parametrize("ranks, length", [(1, 5), (2, 5), (3, 7), (4, 8), (5, 3), (7, 1000)])
def test_all_ranks_have_the_same_sum_and_each_has_sent_its_share_of_bytes(ranks, length):
    arrays = [np.random.default_rng(rank).standard_normal(length) for rank in range(ranks)]
    right = sum(arrays)
    groups = around(arrays)
    assert np.allclose(arrays[0], right, rtol=0, atol=1e-12)
    assert all(np.array_equal(x, arrays[0]) for x in arrays)
    assert sum(group.passed for group in groups) == 2 * (ranks - 1) * arrays[0].nbytes


def test_a_step_that_works_in_a_copy_leaves_ranks_with_their_own():
    arrays = [np.full(6, rank + 1.0) for rank in range(3)]
    around(arrays, lambda x, *rest: ring_step(x.copy(), *rest))
    assert [x.tolist() for x in arrays] == [[rank + 1.0] * 6 for rank in range(3)]
