"""The stand-in notes every copy, upload and kernel."""

import numpy as np
import pytest

HERE = "tests/cuda/stand_in/test_copies.py"

COPIES = {
    "copy": lambda xp, x: x.copy(),
    "astype": lambda xp, x: x.astype(x.dtype),
    "ascontiguousarray": lambda xp, x: xp.ascontiguousarray(x.T),
    "reshape": lambda xp, x: x.T.reshape(-1),
    "reshape by ravel": lambda xp, x: x.T.ravel(),
    "flatten": lambda xp, x: x.flatten(),
    "matmul": lambda xp, x: x[:, ::2] @ x[:2],
    "matmul in batches": lambda xp, x: xp.matmul(x[None], x.T[None]),
    "matmul in batches, upcast": lambda xp, x: xp.zeros((1, 1, 12), "float16") @ x.reshape(1, 12, 1),
    "add into overlapping memory": lambda xp, x: xp.add(x[1:], 1, out=x[:-1]),
    "setitem": lambda xp, x: x.__setitem__(slice(1, None), x[:-1]),
    "get": lambda xp, x: x[:, 1].get(),
    "array": lambda xp, x: xp.array(x),
}
NO_COPIES = {
    "views": lambda xp, x: (x.T, x[1:], x[:, 1], x.swapaxes(0, 1), x.reshape(4, 3), x.ravel(), xp.flip(x, 0)),
    "products of two dimensions": lambda xp, x: (x @ x.T, x.T @ x, x[1:] @ x.T),
    "astype without copy": lambda xp, x: x.astype(x.dtype, copy=False),
    "astype to another dtype": lambda xp, x: x.astype("float64"),
    "concatenate and stack": lambda xp, x: (xp.concatenate([x, x]), xp.stack([x, x])),
    "in place": lambda xp, x: x.__iadd__(x),
    "the array itself": lambda xp, x: (xp.asarray(x), x.__setitem__(slice(None), x)),
}  # fmt: skip


@pytest.mark.parametrize("what", COPIES)
def test_this_copies_once(cupy, card, a, what):
    COPIES[what](cupy, a)
    (event,) = card.copies
    assert what.startswith(event.what) or what == "array"
    assert event.file == HERE and event.nbytes == 4 * np.prod(event.shape)


@pytest.mark.parametrize("what", NO_COPIES)
def test_this_copies_nothing(cupy, card, a, what):
    NO_COPIES[what](cupy, a)
    assert not card.copies


def test_a_transposed_operand_is_copied_in_batches_only(cupy, card, a):
    p = cupy.ones((2, 3, 4), np.float32)
    p.swapaxes(1, 2) @ p
    assert [copy.shape for copy in card.copies] == [(2, 4, 3)]


def test_arrays_lists_and_host_indices_are_uploaded_but_numbers_are_not(cupy, card, a):
    cupy.asarray(np.ones(3)), cupy.array([1, 2]), a[np.array([0, 1])], a[[0]]
    assert [(e.nbytes, e.file) for e in card.uploads] == [(24, HERE), (16, HERE), (16, HERE), (8, HERE)]
    card.reset()
    cupy.asarray(1.5), cupy.full(3, 2), cupy.zeros(3), cupy.arange(3), a + 1
    assert not card.uploads and not card.syncs


def test_launches_are_counted_by_function(cupy, card, a):
    cupy.exp(a * 2).sum(axis=0)
    assert [launch.what for launch in card.launches] == ["multiply", "exp", "sum"]
    card.reset()
    cupy.exp(a[:0])
    assert not card.launches and not card.syncs
