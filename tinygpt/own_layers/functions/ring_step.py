"""`ring_step`, a step of an all-reduce around a ring: its calls, and the mistakes it is usually made with."""

import numpy as np

from tinygpt.own_layers.functions import Call, Calls
from tinygpt.run.ring import ring_step

DEFINITION = ring_step


def calls(rng: np.random.Generator) -> Calls:
    size = int(rng.integers(4, 7))
    for title, step, rank in (
        ("step 0", 0, 1), ("step 1", 1, 1), ("step 1 of rank 0", 1, 0), ("step 2 of the last rank", 2, size - 1),
        ("the last step that adds", size - 1, 2), ("the first step that stores", size, 1),
        ("a later step", size + 1, size - 1), ("the last step of rank 0", 2 * size - 2, 0),
    ):  # fmt: skip
        yield _call(rng, title, 3 * size, step, rank, size)
    for more in (1, size - 2):
        for step, rank in ((0, size - 1), (1, 2), (size + 2, 0)):
            yield _call(rng, f"{more} of the chunks longer by one, step {step}", 3 * size + more, step, rank, size)
    yield _call(rng, "fewer numbers than ranks", size - 2, 1, 0, size)
    yield _call(rng, "two ranks, the first step", 5, 0, 1, 2)
    yield _call(rng, "two ranks, the one that adds", 5, 1, 0, 2)
    yield _call(rng, "two ranks, the one that stores", 5, 2, 0, 2)
    yield _call(rng, "one rank", 5, 0, 0, 1)
    yield _call(rng, "float32", 2 * size + 1, 1, 1, size, np.float32)


def _call(
    rng: np.random.Generator, title: str, n: int, step: int, rank: int, size: int, dtype: type = np.float64
) -> Call:
    """A call with numbers that are whole, so that they add up to the same in any order."""
    x: np.ndarray = rng.integers(1, 100, n).astype(dtype)
    lengths = list(map(len, np.array_split(np.arange(n), size)))
    came: np.ndarray | None = (
        rng.integers(100, 1000, lengths[(rank + 2 * size - step) % size]).astype(dtype) if step else None
    )
    return Call(title, (x, came, step, rank, size))


# fmt: off
_CUT, _PLACE = "np.array_split(x, size)", "(rank - step) % size"
_CHUNK, _RETURN = f"{_CUT}[{_PLACE}]", "return chunk"
_ADDS, _STORES, _FIRST, _SECOND = "chunk += came", "chunk[...] = came", "0 < step < size", "step >= size"
_OWN = "at step 0 a rank gives the chunk of its own number"
_LOW = f"the chunk is one too low, the one that the left neighbour has at this step: {_OWN}"
_HIGH = f"the chunk is one too high, the one that the right neighbour has at this step: {_OWN}"
_TURNED = ("the chunks go round the wrong way: what comes from the left at step 1 is the left neighbour's own chunk, "
           "of the number rank - 1")
_EACH = "each = len(x) // size\nchunk = x[(rank - step) % size * each : ((rank - step) % size + 1) * each]"
_UP = _EACH.replace("len(x) // size", "-(-len(x) // size)")
_SHARES = "place = (rank - step) % size\nchunk = x[len(x) * place // size : len(x) * (place + 1) // size]"
_LAST = ("place = (rank - step) % size\neach = len(x) // size\n"
         "chunk = x[place * each : (place + 1) * each if place < size - 1 else len(x)]")
_FRONT = "chunk = x[:len(np.array_split(x, size)[(rank - step) % size])]"
MISTAKES = [
    ("what came is stored in the first half too, where it is to be added to this rank's own numbers", (_ADDS, _STORES)),
    ("what came is added in the second half too, where it is the whole sum already: store it", (_STORES, _ADDS)),
    ("the halves are exchanged: first what comes is added, then it is stored", (_ADDS, "chunk[...] = came + 0"),
     (_STORES, _ADDS)),
    (_LOW, (_PLACE, "(rank - step - 1) % size")),
    (_HIGH, (_PLACE, "(rank - step + 1) % size")),
    (_TURNED, (_PLACE, "(rank + step) % size")),
    ("the chunk does not depend on the rank, where each rank begins with the chunk of its own number",
     (_PLACE, "step % size")),
    ("the chunk does not depend on the step: it is the rank's own every time", (_PLACE, "rank")),
    ("after step 0 the chunk is the left neighbour's own every time", (_PLACE, "(rank - (step > 0)) % size")),
    ("the number of the chunk is not taken modulo size: after more steps than that there is no such chunk",
     (_PLACE, "rank - step")),
    ("in the second half it is the chunk to the right of the right one, as if the whole sum of chunk `rank` lay with "
     "this rank: it lies with the left neighbour", (_PLACE, "(rank - step + (step >= size)) % size")),
    ("all chunks have len(x) // size numbers, so that the rest, where size does not divide, is in none of them: "
     "np.array_split cuts all of x", (f"chunk = {_CHUNK}", _EACH)),
    ("the chunks are cut len(x) / size long, rounded up, which is not where np.array_split cuts, and not what the "
     "neighbour sends", (f"chunk = {_CHUNK}", _UP)),
    ("the rest, where size does not divide, is all in the last chunk, where np.array_split gives one number more to "
     "each of the first chunks", (f"chunk = {_CHUNK}", _LAST)),
    ("the chunks are of other lengths than np.array_split's, which gives one number more to each of the first",
     (f"chunk = {_CHUNK}", _SHARES)),
    ("the chunk is always taken from the front of x", (f"chunk = {_CHUNK}", _FRONT)),
    ("the last step that adds stores: a chunk is whole only after size - 1 additions",
     (_FIRST, "0 < step < size - 1"), (_SECOND, "step >= size - 1")),
    ("the last step that adds stores: a chunk is whole only after size - 1 additions",
     (_FIRST, "0 < step < size - 1"), (_SECOND, "step >= size - 1 > 0")),
    ("the first step that stores adds: after size - 1 additions a chunk is whole", (_FIRST, "0 < step <= size")),
    ("the sum is made in a new array, and x keeps this rank's own numbers: += into the chunk of x",
     (_ADDS, "chunk = chunk + came")),
    ("what came is returned and not stored in x, which keeps what it had: chunk[...] = came writes into x",
     (_STORES, "chunk = came")),
    ("x stays as it was, since what is taken in goes into another array: write into the part of x that np.array_split "
     "shows, by += and [...] =", (_CUT, "np.array_split(x.copy(), size)")),
    ("what came goes on as it came, without this rank's own numbers: return the sum",
     (_RETURN, "return chunk if came is None else came")),
    ("the chunk goes on as it was before what came was taken in: return it as it is after that",
     (f"chunk = {_CHUNK}", f"chunk = {_CHUNK}\nbefore = chunk.copy()"), (_RETURN, "return before")),
    ("the chunk that goes on is the next one, where the one belongs that has just been taken in",
     (_RETURN, "return np.array_split(x, size)[(rank - step - 1) % size]")),
    ("the chunk that goes on is always the rank's own, where the one belongs that has just been taken in",
     (_RETURN, "return np.array_split(x, size)[rank]")),
    ("all of x is returned, where one chunk of it goes on", (_RETURN, "return x")),
    ("nothing is returned: the chunk that was taken in goes on", (_RETURN, "return None")),
    ("nothing is returned but at step 0: the chunk that was taken in goes on",
     (_RETURN, "return chunk if came is None else None")),
    ("the last step returns nothing: it returns its chunk like the others, though nobody needs it",
     (_RETURN, "return chunk if step < 2 * size - 2 else None")),
    ("at step 0 something is taken in, where nothing has come yet", (_FIRST, "step < size")),
    ("nothing is taken in in the second half", (_STORES, "pass")),
    ("nothing is taken in in the first half", (_ADDS, "pass")),
    ("what came is added to all of x, where it belongs to one chunk", (_ADDS, "x += came")),
    ("the mean is taken: what is wanted is the sum", (_ADDS, "chunk += came\nchunk /= 2")),
    ("what came is divided by size: what is wanted is the sum", (_ADDS, "chunk += came / size")),
    ("the whole sum is divided by size: what is wanted is the sum",
     (_ADDS, "chunk += came\nif step == size - 1:\n    chunk /= size")),
    ("what came is subtracted", (_ADDS, "chunk -= came")),
]
