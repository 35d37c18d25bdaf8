"""Indices: what `x[key]` and `x[key] = value` do."""

import numpy as np

from tests.cuda.strict_cupy.array import allocate, copied, ndarray, overlap, store, view_of, write
from tests.cuda.strict_cupy.card import card
from tests.cuda.strict_cupy.creation import asarray


def index_of(key, shape):
    """A NumPy index that does what CuPy's does, and whether it has arrays (then the result is no view).

    Lists and host arrays are uploaded (_routines_indexing.pyx, _prepare_slice_list); integers in arrays wrap around.
    """
    parts = [_index_part(part) for part in (key if isinstance(key, tuple) else (key,))]
    axes = [part.ndim if isinstance(part, ndarray) and part.dtype == bool else 1 for part in parts]
    axes = [0 if part is None or part is Ellipsis else n for part, n in zip(parts, axes, strict=True)]
    if sum(axes) > len(shape):
        raise IndexError(f"too many indices for array: array is {len(shape)}-dimensional, but {sum(axes)} were indexed")
    axis, index = 0, []
    for part, n in zip(parts, axes, strict=True):
        if isinstance(part, ndarray):
            if part.dtype == bool:
                if part.size:
                    card().wait("boolean index", 4)  # how many are True decides the size
                part = part._np
            else:
                if part.size and shape[axis] == 0:
                    raise IndexError("cannot do a non-empty take from an empty axes.")
                part = np.mod(part._np, max(shape[axis], 1), dtype=np.int64, casting="unsafe")
        index.append(part)
        axis += len(shape) - sum(axes) if part is Ellipsis else n
    if not any(part is Ellipsis for part in parts):
        index.append(Ellipsis)  # so that NumPy gives arrays of no dimensions, not scalars
    return tuple(index), any(isinstance(part, ndarray) for part in parts)


def _index_part(part):
    if part is None or part is Ellipsis:
        return part
    if isinstance(part, slice):  # a device scalar has no __index__, so CuPy takes int() of it (internal.pyx:204)
        return slice(*(int(x) if isinstance(x, ndarray) else x for x in (part.start, part.stop, part.step)))
    if not isinstance(part, ndarray):
        if np.isscalar(part) and not isinstance(part, bool | np.bool_):
            if not isinstance(part, int | np.integer):
                raise IndexError("only integers, slices, ellipsis, newaxis and integer or boolean arrays are indices")
            return int(part)
        is_list, part = isinstance(part, list | tuple), asarray(part)
        part = allocate(part.shape, np.int32) if is_list and not part.size else part
    if part.dtype.kind not in "biu":
        raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype.type})")
    return part


def _get(x, key):  # x[key]
    index, has_arrays = index_of(key, x.shape)
    if not has_arrays:
        return view_of(x._np[index], x)
    y = store("getitem", x._np[index], key if isinstance(key, tuple) else (key,))
    card().moved += y.nbytes  # what was read of x
    return y


def _assign(x, key, value):  # x[key] = value
    index, has_arrays = index_of(key, x.shape)
    if has_arrays:
        value = value if isinstance(value, ndarray) else asarray(value, dtype=x.dtype)  # a host array is uploaded
        return scatter("setitem", x, index, value, lambda flat, places, values: flat.__setitem__(places, values))
    target = view_of(x._np[index], x)
    if not isinstance(value, ndarray):
        return target.fill(value)
    if value._np.__array_interface__ == target._np.__array_interface__:
        return None  # what `x[key] += y` stores back
    if overlap(value, target):
        value = copied(value, "setitem", order="K")
    with np.errstate(all="ignore"):
        write(target, value._np)
    return card().launch("setitem", target.nbytes, target.size, [value._np])


def scatter(what, x, index, value, operation):
    """operation(elements of x, places, values) in an order drawn by lot: a card's threads come in any."""
    places = np.arange(x.size).reshape(x.shape)[index]
    with np.errstate(all="ignore"):
        values = np.broadcast_to(value._np.astype(x.dtype), places.shape).reshape(-1)
    order = card().shuffle.permutation(places.size)
    flat = x._np.flatten()
    operation(flat, places.reshape(-1)[order], values[order])
    x._np[...] = flat.reshape(x.shape)
    x._buffer.mark_places(x._np, places)
    reads = [value._np, *(part for part in index if isinstance(part, np.ndarray)), *[values] * (what != "setitem")]
    card().launch(what, values.nbytes, values.size, reads)


ndarray.__getitem__, ndarray.__setitem__ = _get, _assign
