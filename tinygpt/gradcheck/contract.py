"""Do inputs fit forward, and gradients the inputs? If not, one sentence says what came and what was expected."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinygpt.errors import UserError
from tinygpt.gradcheck.arrays import COMPLEX, is_array, native
from tinygpt.gradcheck.trees import is_tree, labels, leaves


def by_name(forward: Callable, inputs: Any) -> dict[str, Any]:
    """Arguments that were given by name or in order, by name."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    if not isinstance(inputs, tuple | list):
        raise UserError(f"inputs is one {type(inputs).__name__}; expected forward's arguments as a dict, tuple or list")
    try:
        parameters = inspect.signature(forward).parameters
    except ValueError as error:
        raise UserError("forward does not say what its arguments are called; give its inputs as a dict") from error
    names = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(inputs) > len(names):
        raise UserError(f"{len(inputs)} inputs were given, but forward takes {len(names)} by name ({', '.join(names)})")
    return dict(zip(names, inputs, strict=False))


def expect_fitting(definition: Callable, inputs: Mapping[str, Any], constant: Sequence[str], most: Any) -> None:
    for name in constant:
        if name not in inputs:
            raise UserError(f"constant names {name!r}, which is not an input; expected some of {', '.join(inputs)}")
    if most is not None and (not isinstance(most, int) or most < 1):
        raise UserError(f"max_entries is {most!r}; expected a whole number of at least 1, or None for all")
    for path, x in leaves(inputs):
        x = native(x)
        if isinstance(x, complex) or is_array(x) and x.dtype.kind == "c":
            raise UserError(f"{labels(inputs)[path]} is {x.dtype if is_array(x) else 'complex'}; {COMPLEX}")
    try:
        inspect.signature(definition).bind(**inputs)
    except TypeError as error:
        raise UserError(f"the inputs do not fit forward: {error}") from error
    except ValueError:  # a function without a signature
        pass


def expect_form(name: str, x: Any, gradient: Any) -> None:
    """Raises UserError for the gradient of a mapping that is none, of a list that is not as long, or of an array that
    is several.
    """
    if not is_tree(x) and is_tree(gradient):
        raise UserError(f"the gradient of {name} is a {type(gradient).__name__} of {len(gradient)}; expected an array")
    if isinstance(x, Mapping) and not isinstance(gradient, Mapping):
        raise UserError(f"the gradient of {name} is a {type(gradient).__name__}; expected a mapping of the same names")
    if isinstance(x, list | tuple) and not fits(x, gradient):
        length = f" of {len(gradient)}" if isinstance(gradient, list | tuple) else ""
        kind = type(gradient).__name__
        raise UserError(
            f"the gradient of {name} is a {kind}{length}; expected a list or tuple of {len(x)}, as {name} is"
        )


def fits(x: Sequence[Any], gradient: Any) -> bool:
    """Whether it may be the gradient of a list or tuple by itself."""
    if not isinstance(gradient, list | tuple) or len(gradient) != len(x):
        return False
    return all(isinstance(a, list | tuple) == isinstance(b, list | tuple) for a, b in zip(x, gradient, strict=True))
