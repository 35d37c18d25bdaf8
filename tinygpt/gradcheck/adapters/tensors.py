"""Backwards that are written for PyTorch or JAX: `torch.autograd.Function` and `jax.custom_vjp`, called with NumPy's.

Neither library is imported here: whoever hands over such a function has imported it.
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygpt.errors import UserError
from tinygpt.gradcheck.adapters.functions import Adapted, slots
from tinygpt.gradcheck.adapters.libraries import in_double, to_numpy


def is_torch_function(code: Any) -> bool:
    """Whether it is a class that is derived from torch.autograd.Function."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(code, type) and issubclass(code, torch.autograd.Function)


def is_custom_vjp(code: Any) -> bool:
    """Whether it is a function that jax.custom_vjp decorates."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(code, jax.custom_vjp)


def of_torch_function(
    function: Any, inputs: Mapping[str, Any] | Sequence[Any], constant: Sequence[str], seed: int
) -> Adapted:
    """A torch.autograd.Function: `apply`, and `torch.autograd.grad` for its backward."""
    torch: Any = sys.modules["torch"]
    names = list(inspect.signature(function.forward).parameters)
    if function.setup_context is torch.autograd.Function.setup_context:
        names = names[1:]  # of ctx
    named = _named(names, inputs, function.__name__)
    wanted = slots(named, constant)

    def forward(**inputs: Any) -> tuple:
        tensors = {name: _tensor(torch, x, name in wanted) for name, x in inputs.items()}
        out = function.apply(*tensors.values())
        return _each(out, lambda x: x.detach().numpy().copy()), (out, [tensors[name] for name in wanted])

    def backward(dout: Any, cache: tuple) -> tuple:
        outs, above = (x if isinstance(x, tuple) else (x,) for x in (cache[0], dout))
        moving = [(out, torch.tensor(d)) for out, d in zip(outs, above, strict=True) if out.requires_grad]
        if not moving:
            return tuple(None for _ in cache[1])
        outs, above = zip(*moving, strict=True)
        found = torch.autograd.grad(outs, cache[1], above, allow_unused=True, retain_graph=True)
        return tuple(None if x is None else x.numpy() for x in found)

    return Adapted(forward, backward, named, tuple(constant))


def _tensor(torch: Any, x: Any, requires_grad: bool) -> Any:
    return torch.tensor(x, requires_grad=requires_grad) if isinstance(x, np.ndarray) else x


def of_custom_vjp(
    function: Any, inputs: Mapping[str, Any] | Sequence[Any], constant: Sequence[str], seed: int
) -> Adapted:
    """A function under jax.custom_vjp: itself, and `jax.vjp` for its backward, in float64."""
    jax: Any = sys.modules["jax"]
    names = list(inspect.signature(function).parameters)
    named = _named(names, inputs, getattr(function, "__name__", "the function"))
    wanted = list(slots(named, constant))

    def forward(**inputs: Any) -> tuple:
        def of(*differentiated: Any) -> Any:
            given = inputs | dict(zip(wanted, differentiated, strict=True))
            return function(*given.values())

        with in_double("jax"):
            out, pullback = jax.vjp(of, *(jax.tree.map(jax.numpy.asarray, inputs[name]) for name in wanted))
            return _each(out, np.array), (out, pullback)

    def backward(dout: Any, cache: tuple) -> tuple:
        with in_double("jax"):
            above = tuple(map(jax.numpy.asarray, dout)) if isinstance(dout, tuple) else jax.numpy.asarray(dout)
            return tuple(to_numpy(x) for x in cache[1](above))

    return Adapted(forward, backward, named, tuple(constant))


def _named(names: list[str], inputs: Mapping[str, Any] | Sequence[Any], title: str) -> dict[str, Any]:
    """Arguments by name, in the order in which the function takes them."""
    if not isinstance(inputs, Mapping | tuple | list):
        raise UserError(f"inputs is one {type(inputs).__name__}; expected the arguments as a dict, tuple or list")
    given = inputs if isinstance(inputs, Mapping) else dict(zip(names, inputs, strict=False))
    if wrong := [name for name in given if name not in names]:
        raise UserError(f"{title} takes {', '.join(names)}; the inputs have {', '.join(map(str, wrong))}")
    if len(inputs) > len(names) or list(names[: len(given)]) != [name for name in names if name in given]:
        raise UserError(f"{title} takes {', '.join(names)}; {len(inputs)} inputs were given")
    return {name: to_numpy(given[name]) for name in names if name in given}


def _each(out: Any, change: Callable[[Any], Any]) -> Any:
    return tuple(map(change, out)) if isinstance(out, tuple | list) else change(out)
