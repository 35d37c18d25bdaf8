"""What is known of a recorded step: its calls, its arrays, and for each element what it was made from."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tinygpt.errors import UserError

ENTRIES = ("forward", "backward", "loss", "hidden", "hidden_backward")


@dataclass(eq=False, repr=False)
class Call:
    """A call of a function that was listened to. A helper's arrays belong to the place that it was called from."""

    number: int
    module: str  # such as "layernorm"
    function: str  # "forward", "backward", or a helper's name
    file: str
    line: int
    parameters: list[str]  # the names of its arguments, in order
    mine: bool  # whether the file is a reader's own
    parent: "Call | None"
    backward: bool  # whether it belongs to the backward pass
    start: int  # the step's moment at which it began
    ordinal: int  # of all calls of the step, heard or not
    of: "Call | None" = None  # of a backward call, the forward call whose cache it was given
    path: str = ""  # where in the model: "h.0.attn.c_attn"
    parameters_given: list[str] = field(default_factory=list)  # the model's, which came in its arguments
    takes: list[str] = field(default_factory=list)  # those of its arguments that are arrays of numbers
    arguments: list["Array | None"] = field(default_factory=list)  # what came, where it is a recorded array, whole
    results: list["Array | None"] = field(default_factory=list)  # what it returned, likewise
    returned: dict[tuple, tuple[np.ndarray, "Array | None"]] = field(default_factory=dict)  # all of it, by its path
    named: list[tuple[str, "Array"]] = field(default_factory=list)  # every name it gave an array, in order
    helpers: list["Call"] = field(default_factory=list)  # the calls of helpers that it made
    cache: Any = None  # what it returned for backward
    form: list[str] | None = None  # what each thing is that it returned, such as "an array of shape (8,)"
    end: int = 0  # the line that returned it

    def __repr__(self) -> str:
        return f"<{self.module}.{self.function} at {self.path}>"

    @property
    def helper(self) -> bool:
        """Whether it is a function that a layer calls on its way, and no layer or method of the model."""
        return self.function not in ENTRIES

    @property
    def owned(self) -> bool:
        """Whether it is of a reader's function, or of what stands between that and the model."""
        return self.mine or self.module == "places"

    @property
    def above(self) -> list["Call"]:
        """The calls around it, the innermost first."""
        return [self.parent, *self.parent.above] if self.parent else []

    @property
    def all_named(self) -> list[tuple[str, "Array"]]:
        """The names that it gave arrays, its helpers' included."""
        return self.named + [entry for helper in self.helpers for entry in helper.all_named]


class Terms(NamedTuple):
    """What the elements of one array were made from: element `of` changes by `by` when element `element` of array
    `source` changes by one, to first order. One entry for each pair of elements that touch; sorted by `of`.
    """

    of: np.ndarray  # (N,) int64
    source: np.ndarray  # (N,) int64, ids
    element: np.ndarray  # (N,) int64
    by: np.ndarray  # (N,) float64


class Term(NamedTuple):
    """A number that another one was made from, which changes by `by` when this one changes by one, to first order."""

    array: "Array"
    place: tuple[int, ...]
    by: float


@dataclass(eq=False, repr=False)
class Update:
    """What AdamW did with a parameter: float64 arrays of its shape. gradient: as backward left it, before clipping."""

    gradient: np.ndarray
    m0: np.ndarray  # the moments before
    v0: np.ndarray
    m: np.ndarray
    v: np.ndarray
    after: np.ndarray  # the parameter itself
    decayed: bool  # whether weight decay acts on it


@dataclass(eq=False, repr=False)
class Array:
    """An array that the step made, or a parameter. Elements are numbered in C order."""

    id: int  # in the order in which they were made
    name: str
    kind: str  # "param", "forward" or "backward"
    values: np.ndarray  # float64
    call: Call | None = None  # None of a parameter, as is what the line is
    file: str = ""
    line: int = 0
    end: int = 0
    code: str = ""
    comment: str = ""
    at: int = -1  # which of the step's moments made it, and where it stood in what the line made
    within: tuple = ()
    in_place: bool = False  # whether it was written over another one
    also: list[str] = field(default_factory=list)  # other names that it goes by
    terms: Terms | None = None  # None of a parameter, and where it could not be found out
    key: str = ""  # where/name, unique
    axes: list[str] = field(default_factory=list)  # what each runs over, see `axes.py`
    derivative: np.ndarray | None = None  # of the loss by each element, by nudging it; None of a backward array
    gradient: "Array | None" = None  # the engine's own, where it ever forms it
    error: float = 0.0  # the largest difference of that and the derivative, relative to the largest derivative
    followed: bool = True  # whether all that it goes into is known: the chain rule then gives its derivative
    update: Update | None = None  # of a parameter
    differs: bool = False  # whether it is other than in the step of the engine alone

    def __repr__(self) -> str:
        return f"<{self.key} {self.values.shape}>"

    @property
    def path(self) -> str:
        """Where it was made: "h.0.attn"; of a parameter the layer's."""
        return self.name.rpartition(".")[0] if self.call is None else self.call.path

    @property
    def mine(self) -> bool:
        """Whether a line of a reader's made it."""
        return self.call is not None and self.call.mine

    @property
    def names(self) -> list[str]:
        """All names that it goes by."""
        return [self.name, *self.also]


@dataclass(eq=False, repr=False)
class Recording:
    """A step. loss: of the batch before the update; after: of the same batch after it. parts: those that are a
    reader's own. first: where it parts from the engine's step, once it has been compared (`parting.mark`).
    `step["h.0.attn/scores"]` is an array by its key; UserError if there is none.
    """

    text: str
    chars: list[str]
    idx: np.ndarray  # (T,) int64
    targets: np.ndarray  # (T,) int64
    config: Any
    calls: list[Call]
    arrays: list[Array]
    loss: float
    after: float
    update: dict[str, float]
    parts: Sequence[str] = ()
    steady: bool = True  # whether it gives the same loss twice, without which nothing can be nudged
    coarse: bool = False  # whether a forward array is in less than float64
    compared: bool = False
    first: Array | None = None
    worst: tuple[tuple[int, ...], float, str] | None = (
        None  # where `first` is furthest off, what should be there, by whom
    )
    handed_on: bool = False  # whether `first` is right by itself, and does not belong where it is returned
    wrong: Call | None = None  # the call of a reader's that returned other than the engine's of what that is given too

    def __post_init__(self) -> None:
        self._by_key = {array.key: array for array in self.arrays}

    def __repr__(self) -> str:
        return f"<a step on {self.text!r}: {len(self.arrays)} arrays, loss {self.loss:.4f}, after it {self.after:.4f}>"

    def __getitem__(self, key: str) -> Array:
        if key not in self._by_key:
            near = difflib.get_close_matches(str(key), self._by_key, 3) or [array.key for array in self.arrays[-3:]]
            raise UserError(f"the step has no array {key!r}; expected a key such as {', '.join(near)}")
        return self._by_key[key]

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def of_kind(self, *kinds: str) -> Iterator[Array]:
        """The arrays of some kinds, in order."""
        return (array for array in self.arrays if array.kind in kinds)

    def made_from(self, key: str, *index: int) -> list[Term]:
        """What one element of an array was made from: `step.made_from("h.0.attn/scores", 0, 1, 3, 2)`.

        Nothing, of a parameter. Raises UserError for a key or an index that is not there, and for an array of which it
        could not be found out.
        """
        array = self[key]
        shape = array.values.shape
        if len(index) != len(shape) or not all(0 <= place < length for place, length in zip(index, shape, strict=True)):
            raise UserError(f"{key} is {shape}, and has no element {index}; expected an index for each axis, from 0")
        if array.kind == "param":
            return []
        if array.terms is None:
            raise UserError(f"what {key} was made from could not be followed; its line is {array.code!r}")
        here = array.terms.of == np.ravel_multi_index(index, shape) if shape else slice(None)
        terms = zip(*(numbers[here].tolist() for numbers in array.terms[1:]), strict=True)
        found = ((self.arrays[source], element, by) for source, element, by in terms)
        return [Term(one, tuple(map(int, np.unravel_index(at, one.values.shape))), by) for one, at, by in found]
