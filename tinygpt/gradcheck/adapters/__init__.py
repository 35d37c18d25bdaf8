"""Anybody's code as the pair of functions that `gradient_check` takes.

    check_gradients(code, inputs)     a class or object, a pair of functions, a loss that returns its gradients,
                                      a torch.autograd.Function or a jax.custom_vjp function
    assert_gradients(code, inputs)    the same in a test: it fails with the table

`names.py` knows whose gradient `grad_w` is; `calls.py` how a backward is called; `functions.py`, `objects.py` and
`tensors.py` each a kind of code; `files.py` what is in a file.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinygpt.errors import UserError
from tinygpt.gradcheck.adapters import functions, objects, sentences, tensors
from tinygpt.gradcheck.adapters.functions import Adapted
from tinygpt.gradcheck.adapters.libraries import library, to_numpy
from tinygpt.gradcheck.experiment import gradient_check
from tinygpt.gradcheck.report import Report, Row
from tinygpt.parallel import blas_threads
from tinygpt.random import generator

__all__ = ["Adapted", "adapted", "assert_gradients", "check_gradients"]


def adapted(code: Any, inputs: Any, constant: Sequence[str] = (), seed: int = 0) -> Adapted:
    """Somebody's code as a pair of functions of the layers' contract, and all that they are differentiated by.

    code and inputs: as for `check_gradients`. Raises UserError for what is none of these, or does not fit together.
    """
    constant = (constant,) if isinstance(constant, str) else tuple(constant)
    inputs = drawn(inputs, seed)
    kind, inputs = library(inputs), to_numpy(inputs)
    if tensors.is_torch_function(code):
        return tensors.of_torch_function(code, inputs, constant, seed)
    if tensors.is_custom_vjp(code):
        return tensors.of_custom_vjp(code, inputs, constant, seed)
    if isinstance(code, tuple | list):
        if len(code) != 2 or not all(map(callable, code)):
            raise UserError("expected a pair of functions, (forward, backward)")
        forward, backward = code
        return functions.of_pair(forward, backward, inputs, constant, seed, kind)
    if isinstance(code, type) and functions.has_context(code):
        return functions.of_context(code, inputs, constant, seed, kind)
    if isinstance(code, type):
        code, inputs = objects.made(code, inputs, seed)
    if inspect.ismethod(code) and not isinstance(code.__self__, type):
        return objects.of_object(code.__self__, inputs, constant, seed, kind, code.__name__)
    if inspect.isroutine(code):
        return functions.of_loss(code, inputs, constant, seed, code.__name__, kind)
    if type(code).__module__ == "builtins":
        raise UserError(
            f"the code to check is one {type(code).__name__}; expected a class or an object with forward and backward, "
            f"or a pair of functions"
        )
    return objects.of_object(code, inputs, constant, seed, kind)


def drawn(inputs: Any, seed: int) -> Any:
    """The inputs; what a function of a numpy Generator, or of nothing, returns, where they are one."""
    if not callable(inputs):
        return inputs
    return inputs(generator(seed, "inputs")) if inspect.signature(inputs).parameters else inputs()


def check_gradients(
    code: Any, inputs: Mapping[str, Any] | Sequence[Any] | Callable, *, constant: Sequence[str] | str = (),
    tolerance: float | None = None, max_entries: int | None = 500, seed: int = 0, title: str = "",
) -> Report:  # fmt: skip
    """Is somebody's backward the derivative of their forward? `gradient_check` for code as it is.

    code: an object with forward and backward, or a class, which is called with those inputs that are named like its
    arguments and not like forward's; a pair (forward, backward); a function that returns a loss and its gradients; a
    torch.autograd.Function or a function under jax.custom_vjp. An object's parameters are the arrays of floats that it
    holds, in attributes, dicts, lists or objects, and whose gradients backward returns or leaves in it by such names as
    dw, grad_w or grads["w"]. Parameters that are all alike or tiny are varied, so that a mistake shows; your own object
    is not touched, and each call has a copy. inputs: forward's arguments, by name or in order, or a function of a
    numpy Generator that returns them. The other arguments are those of `gradient_check`.

    Returns the report; what the output depends on and is not differentiated is in its `unchecked`. Raises UserError
    for code that cannot be called, and whatever the code raises.
    """

    def make(seed: int) -> tuple[Callable, Callable, Adapted]:
        found = adapted(code, inputs, constant, seed)
        return found.forward, found.backward, found

    exact = {} if tolerance is None else {"tolerance": tolerance}
    with blas_threads(1):  # most arrays are too small to share out
        return report(make, title or _title(code), seed, max_entries=max_entries, **exact)


def report(make: Callable[[int], tuple[Callable, Callable, Adapted]], title: str, seed: int, **options: Any) -> Report:
    """The report on adapted code, with what is wrong in words. make: forward, backward, wherever they compute, and what
    they were adapted to, from a seed.
    """
    forward, backward, found = make(seed)
    given: dict[str, Any] = {"constant": found.constant, "seed": seed, "title": title} | options
    made = gradient_check(forward, backward, found.inputs, **given)
    made.warnings = [*made.warnings, *found.warnings]
    of_inputs = [name for name in made.unchecked if re.split(r"[.\[]", name)[0] in found.inputs]  # none of ours
    made.unchecked = list(dict.fromkeys([*of_inputs, *found.unchecked]))
    wrong = [row.name.removeprefix("d") for row in made.rows if row.problem]
    repeats = not made.problems  # of what changes from call to call nothing else can be said
    if wrong and repeats and (says := sentences.what_is_wrong(make, seed, wrong)):
        made.note = "\n".join(["what is wrong:", *says])
        made.rows = [_told(row, says) for row in made.rows]
    return made


def _told(row: Row, says: Sequence[str]) -> Row:
    """A row without words for what the sentences say."""
    told = row.problem.startswith("WRONG") and any(re.search(rf"\b{re.escape(row.name)}\b", words) for words in says)
    return row._replace(problem="WRONG") if told else row


def assert_gradients(code: Any, inputs: Mapping[str, Any] | Sequence[Any] | Callable, **options: Any) -> None:
    """For tests: raises AssertionError with the table of `check_gradients`, what is wrong, and the seed, if backward is
    not the derivative of forward. The arguments are those of `check_gradients`.
    """
    __tracebackhide__ = True  # pytest then shows the line of the test
    made = check_gradients(code, inputs, **options)
    if not made.passed:
        raise AssertionError(f"{made}\nseed={options.get('seed', 0)} draws these numbers again")


def _title(code: Any) -> str:
    """What code is called."""
    if isinstance(code, tuple | list):
        return ", ".join(map(_title, code))
    return getattr(code, "__name__", type(code).__name__)
