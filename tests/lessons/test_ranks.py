"""The processes of lesson 19: what passes between them is counted, and they end, whatever becomes of one."""

import os
import sys

import numpy as np
import pytest

from lessons import ranks
from lessons.ranks import on_ranks

posix = pytest.mark.skipif(os.name != "posix", reason="pipes are handed to processes on POSIX alone")


def in_a_circle(x, rank, size, send, receive):
    send(x, (rank + 1) % size)
    x[...] = receive((rank - 1) % size)


def one_raises(x, rank, size, send, receive):
    if rank == 2:
        raise ValueError("this one has had enough")
    receive((rank - 1) % size)


def all_wait(x, rank, size, send, receive):
    receive((rank - 1) % size)


def doubled(x, rank, size, send, receive):
    x[...] = twice(x)


def twice(x):
    return 2 * x


def arrays(size, length, dtype=np.float64):
    return [np.full(length, rank, dtype) for rank in range(size)]


@pytest.fixture
def begun(monkeypatch):
    """The processes that are started."""
    found, popen = [], ranks.subprocess.Popen
    monkeypatch.setattr(ranks.subprocess, "Popen", lambda *a, **k: found.append(popen(*a, **k)) or found[-1])
    yield found
    assert all(process.poll() is not None for process in found)


@posix
def test_more_than_a_pipe_holds_passes_among_processes_and_every_byte_is_counted(begun):
    given = arrays(3, 200_000, np.float32)
    results = on_ranks(in_a_circle, given)
    assert len({process.pid for process in begun}) == 3
    assert [result.x[0] for result in results] == [2, 0, 1] and results[0].x.dtype == np.float32
    assert [result.sent for result in results] == [{1: 800_000}, {2: 800_000}, {0: 800_000}]
    assert [result.received for result in results] == [{2: 800_000}, {0: 800_000}, {1: 800_000}]
    assert [x[0] for x in given] == [0, 1, 2]


@posix
def test_what_a_rank_raised_is_said_and_not_what_its_neighbours_missed(begun):
    with pytest.raises(RuntimeError, match="rank 2: ValueError: this one has had enough"):
        on_ranks(one_raises, arrays(3, 4))


@posix
def test_ranks_that_wait_for_each_other_are_ended(begun, monkeypatch):
    monkeypatch.setattr(ranks, "SECONDS", 1)
    with pytest.raises(RuntimeError, match="rank 0: ended, after 1 s at the latest"):
        on_ranks(all_wait, arrays(2, 4))


def test_where_no_process_can_be_started_threads_do_the_same_and_it_is_said(monkeypatch, capsys):
    def refused(*_, **__):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(ranks.subprocess, "Popen", refused)
    results = on_ranks(in_a_circle, arrays(3, 5))
    assert [result.x[0] for result in results] == [2, 0, 1] and results[0].sent == {1: 40}
    said = capsys.readouterr().out
    assert "(" in said and "threads take their place" in said
    with pytest.raises(RuntimeError, match="rank 2: .*had enough"):
        monkeypatch.setattr(ranks, "SECONDS", 1)
        on_ranks(one_raises, arrays(3, 4))


@posix
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_functions_that_the_program_calls_go_with_it_and_no_pipe_is_left_open(begun):
    before = len(os.listdir("/proc/self/fd"))
    results = on_ranks(doubled, arrays(2, 3), twice)
    assert [result.x.tolist() for result in results] == [[0] * 3, [2] * 3]
    for process in begun:
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream.closed
    assert len(os.listdir("/proc/self/fd")) == before
