"""The stand-in notes every wait for the card."""

import inspect

import numpy as np
import pytest

from tests.cuda import strict_cupy

HERE = "tests/cuda/stand_in/test_waits.py"

WAITS = {
    "get": lambda xp, x: x.get(),
    "get of numpy's": lambda xp, x: xp.asnumpy(x),
    "float": lambda xp, x: float(x.sum()),
    "int": lambda xp, x: int(x.sum()),
    "bool": lambda xp, x: bool(x.sum()),
    "bool of if": lambda xp, x: 1 if x.sum() > 0 else 0,
    "bool of array_equal": lambda xp, x: bool(xp.array_equal(x, x)),
    "complex": lambda xp, x: complex(x.sum()),
    "item": lambda xp, x: x.sum().item(),
    "tolist": lambda xp, x: x.tolist(),
    "repr": lambda xp, x: repr(x),
    "str": lambda xp, x: str(x),
    "format": lambda xp, x: f"{x.sum():.1f}",
    "boolean index": lambda xp, x: x[x > 2],
    "boolean index to set": lambda xp, x: x.__setitem__(x > 2, 0),
    "nonzero": lambda xp, x: x.nonzero(),
    "nonzero of where": lambda xp, x: xp.where(x),
    "flatnonzero": lambda xp, x: xp.flatnonzero(x),
    "argwhere": lambda xp, x: xp.argwhere(x),
    "unique": lambda xp, x: xp.unique(x),
    "repeat": lambda xp, x: xp.repeat(x, xp.asarray([2])),
    "int of a slice's end": lambda xp, x: x[: xp.argmax(x[0])],
    "stream.synchronize": lambda xp, x: xp.cuda.get_current_stream().synchronize(),
    "device.synchronize": lambda xp, x: xp.cuda.Device().synchronize(),
    "event.synchronize": lambda xp, x: xp.cuda.Stream.null.record().synchronize(),
}


@pytest.mark.parametrize("what", WAITS)
def test_this_waits_once(cupy, card, a, what):
    WAITS[what](cupy, a)
    (event,) = card.syncs
    assert event.file == HERE and what.startswith(event.what)


def test_what_reads_more_than_one_value_waits_for_each(cupy, card, a):
    counts = []
    for call in (
        lambda: cupy.repeat(a, cupy.arange(12)),
        lambda: cupy.bincount(cupy.arange(3)),
        lambda: cupy.array_equal(a, a, equal_nan=True),
        lambda: a[a > 1][a[a > 1] > 2],
    ):
        card.reset()
        call()
        counts.append(len(card.syncs))
    assert counts == [2, 2, 3, 3]


def line():
    """The number of the line that calls this."""
    return inspect.currentframe().f_back.f_lineno


def test_a_wait_is_noted_with_its_line(card, a):
    float(a.sum()); where = line()  # fmt: skip # noqa: E702
    assert card.syncs == [strict_cupy.Event("float", 4, HERE, where)]


def test_a_wait_within_numpy_is_that_of_its_caller(card, a):
    np.unique(a); where = line()  # fmt: skip # noqa: E702
    assert [(e.file, e.line) for e in card.syncs] == [(HERE, where)]


def test_most_things_never_wait(cupy, card, a):
    a[cupy.asarray([0, 5])], a[cupy.argmax(a[0])], a @ a.T, a.copy(), cupy.where(a > 1, a, 0), cupy.add.at(a, 0, 1)
    cupy.asarray(np.ones(3)), cupy.allclose(a, a), cupy.array_equal(a, a), cupy.asarray([a.sum(), a.max()]), list(a)
    a[1:] = cupy.zeros(4)
    a[0] = a.max()
    assert a.shape == (3, 4) and len(a) == 3 and not card.syncs


def test_an_element_of_an_iteration_waits_when_it_is_read(card, a):
    assert [float(x) for x in a[0]] == [0, 1, 2, 3]
    assert len(card.syncs) == 4


def test_events_must_be_waited_for_before_their_times_are_read(cupy):
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    end.record()
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorNotReady"):
        cupy.cuda.get_elapsed_time(start, end)
    end.synchronize()
    assert cupy.cuda.get_elapsed_time(start, end) >= 0 and end.done


def test_waiting_for_one_stream_is_not_waiting_for_another(cupy):
    with cupy.cuda.Stream(non_blocking=True) as stream:
        event = stream.record()
    cupy.cuda.get_current_stream().synchronize()
    assert not event.done
    stream.synchronize()
    assert event.done
