"""What every optimiser shares: named state in flat buffers, clipping by the global norm, the walk over arrays."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tinygpt.backend import BLOCK, Array, array_module
from tinygpt.errors import UserError, brief
from tinygpt.parameters import Parameters
from tinygpt.values import real_number


def global_norm(arrays: Iterable[Array] | Mapping[str, Array], each: Callable[..., Iterable] = map) -> Array:
    """The Euclidean norm of all numbers in `arrays` as one vector, a 0-d array of their dtype, on their device.

    arrays: at least one, of any shapes, or a mapping to them; they are only read. each: calls a function for every
    array, as `map` does.
    """
    arrays = arrays.values() if isinstance(arrays, Mapping) else arrays
    # not xp.dot: BLAS would split it over as many threads as it likes, and the bits would depend on their number
    squares = list(each(lambda x: (x * x).sum(), arrays))
    xp = array_module(squares[0])
    return xp.sqrt(xp.stack(squares).sum())


class Optimizer:
    """Updates `params` in place from their gradients.

    A subclass names its state in `state_names`: buffers of the parameters' shapes, zero at first, in `state` by these
    names; `never_negative` says which of them cannot hold a number below 0. With `steps`, the number of steps taken,
    they are all that a run has to keep. `elementwise` says whether each number is updated from its own gradient and
    state alone: the flat buffer is then cut into blocks that fit in the cache, and otherwise `apply` gets each
    parameter whole.
    """

    state_names: tuple[str, ...] = ()
    never_negative: tuple[str, ...] = ()
    elementwise = True
    norm: Callable[..., Array] = staticmethod(global_norm)  # of the gradients; a reader's own takes its place here

    def __init__(self, params: Parameters):
        if not isinstance(params, Parameters):
            name = type(self).__name__
            raise UserError(f"{name} got {brief(params)} for params; expected a model's, such as {name}(model.params)")
        self.params = params
        self.state = {name: params.zeros_like() for name in self.state_names}
        self.steps = 0

    @classmethod
    def from_config(cls, params: Parameters, config: Any, **own: Any) -> "Optimizer":
        """The optimiser of a run, with those settings of `config`, a TrainConfig, that it has a use for."""
        return cls(params, **own)

    def apply(self, w: Array, dw: Array, lr: float, decayed: bool, **state: Array) -> None:
        """Update `w` and the arrays of `state`, by name, in place; `dw` is only read. All of one shape.

        decayed: whether weight decay applies to `w`: it is of a parameter with two or more dimensions.
        """
        raise NotImplementedError

    def step(self, grads: Parameters, lr: float, max_norm: float = 0.0, each: Callable[..., Iterable] = map) -> Array:
        """Update the parameters from `grads`, first scaled so that their global norm is at most `max_norm` (0: not).

        each: calls a function for every piece of the work; `Workers.map` spreads the calls over threads. Returns the
        norm before scaling, a 0-d array on the parameters' device, where reading it may mean waiting. Raises UserError
        for what is none of these.
        """
        lr, max_norm = self.checked(grads, lr, max_norm)
        norm = self.norm([grads.flat[block] for block in _blocks(grads)], each)
        xp = array_module(grads.flat)
        # PyTorch's clip_grad_norm_ adds the 1e-6, and so do we
        scale = xp.minimum(1, max_norm / (norm + 1e-6)).astype(self.params.dtype) if max_norm > 0 else None
        self.steps += 1

        def update_piece(piece: slice | str) -> None:  # a block of the flat buffer, or a parameter by its name
            buffers = self.params, grads, *self.state.values()
            w, dw, *state = (p.flat[piece] if isinstance(piece, slice) else p[piece] for p in buffers)
            dw = dw if scale is None else dw * scale
            decayed = piece.start < self.params.n_decayed if isinstance(piece, slice) else w.ndim >= 2
            self.apply(w, dw, lr, decayed, **dict(zip(self.state, state, strict=True)))

        list(each(update_piece, _blocks(self.params) if self.elementwise else list(self.params)))
        return norm

    def checked(self, grads: Parameters, lr: float, max_norm: float) -> tuple[float, float]:
        """The numbers of `step` as Python's. Raises UserError for those, and for gradients, that no step can have."""
        if not isinstance(grads, Parameters) or grads.shapes != self.params.shapes:
            problem = "of other names or shapes" if isinstance(grads, Parameters) else f"as {brief(grads)}"
            way_out = "expected what model.backward(cache) returns, or model.params.zeros_like() that it added to"
            raise UserError(f"step got gradients {problem}; {way_out}")
        lr = real_number(lr, "lr", "a finite number of at least 0", 0)
        return lr, real_number(max_norm, "max_norm", "a number above 0, or 0 for no limit", 0)


def _blocks(params: Parameters) -> list[slice]:
    """The flat buffer in pieces: cache-sized on a CPU, whole on a card, none across the end of what decays."""
    size = len(params.flat)
    length = BLOCK if params.device == "cpu" else max(size, 1)
    return [
        slice(start, min(start + length, end))
        for begin, end in ((0, params.n_decayed), (params.n_decayed, size))
        for start in range(begin, end, length)
    ]
