"""What there is to check in a file, and what the file says of it: `inputs`, `make`, `constant`, `tolerance`,
`max_entries`. Everything else is found.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from tinygpt.errors import UserError, brief
from tinygpt.gradcheck import adapters
from tinygpt.gradcheck.adapters import objects, tensors
from tinygpt.gradcheck.adapters.functions import Adapted
from tinygpt.gradcheck.library import LAYERS

PARTS = (("forward", "backward"), ("fwd", "bwd"))
GIVE = "a dict of forward's arguments, or a function of a numpy Generator that returns one"


def pairs(module: ModuleType) -> dict[str, tuple[Callable, Callable]]:
    """The functions x_forward and x_backward, conv_forward_naive and conv_backward_naive, softmax and softmax_backward,
    by what is left of their names; "" for forward and backward themselves.
    """
    functions = {name: x for name, x in vars(module).items() if callable(x) and not isinstance(x, type)}
    found: dict[str, tuple[Callable, Callable]] = {}
    for name, function in functions.items():
        for forward, backward in PARTS:
            if forward in name and (other := functions.get(name.replace(forward, backward))):
                found[name.replace(forward, "").replace("__", "_").strip("_")] = function, other
    for name, function in functions.items():
        for _, backward in PARTS:
            if name not in found and (other := functions.get(f"{name}_{backward}")):
                found[name] = function, other
    return found


def classes(module: ModuleType, own: bool = True) -> dict[str, type]:
    """The classes with forward and backward; own: that are written in this file."""
    return {
        name: x
        for name, x in vars(module).items()
        if isinstance(x, type)
        and (not own or x.__module__ == module.__name__)
        and objects.method(x, objects.FORWARD)
        and objects.method(x, objects.BACKWARD)
    }


def things(module: ModuleType, own: bool = True) -> dict[str, Any]:
    """All that there is to check, by name."""
    rules = {name: x for name, x in vars(module).items() if tensors.is_custom_vjp(x)}
    return pairs(module) | classes(module, own) | rules


def chosen(module: ModuleType, kind: str, name: str) -> list[str]:
    """The names of what is to be checked. kind: "class" or "function" if `name` was asked for, else "". Raises
    UserError if there is no such thing, or nothing says which.
    """
    if kind:
        _named(module, kind, name)
        return [name]
    inputs, found = getattr(module, "inputs", None), things(module)
    if by_name := _by_name(module, inputs):
        return by_name
    if hasattr(module, "make") and not isinstance(module.make, Mapping):
        return ["make"]
    if "" in found or len(found) == 1:
        return [""] if "" in found else list(found)
    if not found:
        raise UserError(
            "there is nothing to check: expected functions forward and backward, x_forward and x_backward, or a class "
            "with both as methods"
        )
    fitting = [name for name, code in found.items() if _fits(code, inputs)]
    if len(fitting) == 1:
        return fitting
    flags = "--class or --function" if classes(module) else "--function"
    raise UserError(
        f"there are {', '.join(found)}; say which with {flags}, or give the inputs of each by its name: "
        f"inputs = {{{', '.join(f'{name!r}: {{...}}' for name in list(found)[:2])}}}"
    )


def adapted(module: ModuleType, name: str, seed: int, kind: str = "") -> Adapted:
    """One of `chosen`. Raises UserError if it cannot be called."""
    code = module.make if name == "make" and not kind else _named(module, kind, name)
    inputs = adapters.drawn(_of(module, "inputs", name), seed)
    make = _of(module, "make", name)
    if inputs is None:
        give = f"give it inputs: inputs = {{{_arguments(code)}}}, {GIVE}"
        if not name:
            give = (
                f"the file is not named after a layer, so there is nothing to compare it with; say which layer it is "
                f"with --as={'|'.join(LAYERS[:-1])}, or {give}"
            )
        raise UserError(give if not name else f"there are no inputs for {name}; {give}")
    if callable(make) and (isinstance(code, type) or code is make) and not tensors.is_torch_function(code):
        code, inputs = objects.made(make, inputs, seed)
    constant = getattr(module, "constant", ())
    found = adapters.adapted(code, inputs, constant, seed)
    if _by_name(module, getattr(module, "inputs", None)):  # and what is constant may be another's
        found = found._replace(constant=tuple(name for name in found.constant if name in found.inputs))
    return found


def options(module: Any) -> dict[str, Any]:
    """What the file says of how exact the check is to be. Raises UserError for what makes no sense."""
    said = {}
    for name, right, expected in (
        ("tolerance", lambda x: isinstance(x, int | float) and 0 < x < 1, "a number between 0 and 1, such as 1e-9"),
        ("max_entries", lambda x: x is None or type(x) is int and x > 0, "a whole number above 0, or None for all"),
    ):
        if hasattr(module, name):
            said[name] = getattr(module, name)
            if isinstance(said[name], bool) or not right(said[name]):
                raise UserError(f"{name} is {brief(said[name])}; expected {expected}")
    constant = getattr(module, "constant", ())
    if not isinstance(constant, str | tuple | list) or not all(isinstance(name, str) for name in constant):
        raise UserError(f"constant is {brief(constant)}; expected names of inputs, such as ['x']")
    return said


def _named(module: ModuleType, kind: str, name: str) -> Any:
    """The code of that name. Raises UserError if there is none, with the nearest."""
    short = re.sub("_?forward_?", "", name)
    written = pairs(module)
    if kind != "class" and tensors.is_custom_vjp(getattr(module, name, None)):
        return getattr(module, name)
    if kind != "class" and (name in written or kind and short in written):
        return written.get(name) or written[short]
    code = getattr(module, name, None) if name else None
    if isinstance(code, type) if kind == "class" else callable(code):
        return code
    known: dict[str, Any] = things(module) | {n: x for n, x in vars(module).items() if inspect.isfunction(x)}
    if kind == "class":
        known = {n: x for n, x in vars(module).items() if isinstance(x, type) and x.__module__ == module.__name__}
    near = difflib.get_close_matches(name, known, n=1)
    has = f"did you mean {near[0]}?" if near else f"it has {', '.join(filter(None, known)) or 'none'}"
    raise UserError(f"there is no {kind or 'code'} {name} in the file; {has}")


def _by_name(module: ModuleType, inputs: Any) -> list[str]:
    """The names of code to which `inputs` gives each its own; none if it is one dict of arguments."""
    if not isinstance(inputs, Mapping) or not inputs:
        return []
    each = all(isinstance(x, Mapping | tuple | list) or callable(x) for x in inputs.values())
    known = things(module, own=False) | {name: x for name, x in vars(module).items() if callable(x)}
    return list(inputs) if each and all(name in known for name in inputs) else []


def _of(module: ModuleType, what: str, name: str) -> Any:
    """The file's `inputs` or `make` for one of its things."""
    given = getattr(module, what, None)
    if what == "make":
        return given.get(name) if isinstance(given, Mapping) else given
    return given[name] if given is not None and name in _by_name(module, given) else given


def _forward(code: Any) -> Any:
    if isinstance(code, type):
        return getattr(code, "forward" if tensors.is_torch_function(code) else objects.methods(code)[0])
    return code[0] if isinstance(code, tuple) else code


def _arguments(code: Any) -> str:
    """The arguments of a forward, as a dict would be written."""
    names = list(inspect.signature(_forward(code)).parameters.values())
    names = names[1:] if isinstance(code, type) else names
    return ", ".join(f'"{p.name}": ...' for p in names if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD)


def _fits(code: Any, inputs: Any) -> bool:
    """Whether forward takes these inputs by their names."""
    if not isinstance(inputs, Mapping):
        return False
    parameters = inspect.signature(_forward(code)).parameters
    own = inspect.signature(code).parameters if isinstance(code, type) else {}
    needed = [p.name for p in list(parameters.values())[isinstance(code, type) :] if p.default is p.empty]
    return all(name in inputs for name in needed) and all(name in parameters or name in own for name in inputs)
