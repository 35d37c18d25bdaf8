"""What a caller gives a model: token ids, gradients to add to, a cache. Each mistake is a sentence."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygpt.backend import Array, array_module
from tinygpt.errors import UserError, brief
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.parameters import Parameters
from tinygpt.values import plain

PYTORCHS_IGNORED = -100  # what nn.CrossEntropyLoss leaves out unless it is told otherwise


def as_token_array(idx: Any, name: str) -> Array:
    """Token ids as an array, NumPy's or a card's, of whatever shape and dtype. Lists will do. Raises UserError for what
    is no array, by `name`.
    """
    expected = "expected an array of integers, (B, T), such as np.array([[1, 2, 3]])"
    if isinstance(idx, list | tuple):
        lengths = sorted({len(row) for row in idx if hasattr(row, "__len__") and not isinstance(row, str)})
        if len(lengths) > 1:
            problem = f"{name} has rows of different lengths, from {lengths[0]} to {lengths[-1]}"
            raise UserError(
                f"{problem}; {expected}: cut or fill them up to one length (a target of {IGNORED} is left out)"
            )
        try:
            idx = np.asarray(idx)
        except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # ragged deeper down, or no numbers
            raise UserError(f"{name} is {brief(idx)}, which makes no array; {expected}") from error
        if idx.dtype.kind in "OUS":
            wrong = [x for x in idx.flat if not isinstance(x, int)] or [max(idx.flat)]  # too large for any dtype
            raise UserError(f"{name} holds {brief(plain(wrong[0]))}, which is no token id; {expected}")
    try:
        array_module(idx)
    except TypeError:
        kind = f"{type(idx).__module__.split('.')[0]}.{type(idx).__name__}"
        if isinstance(idx, str | bytes):
            way_out = f"encode text with the model's tokenizer, tokenizer.encode({name})[None]"
            raise UserError(f"{name} is {brief(idx)}; {expected}: {way_out}") from None
        if kind.startswith("torch."):
            raise UserError(f"{name} is a {kind}; give np.asarray({name}.detach().cpu())") from None
        if hasattr(idx, "__array__") or hasattr(idx, "__array_interface__") or hasattr(idx, "__dlpack__"):
            raise UserError(f"{name} is a {kind}; give np.asarray({name})") from None
        raise UserError(f"{name} is {brief(idx)}; {expected}") from None
    if isinstance(idx, np.ma.MaskedArray):  # whose mask nothing here would see
        raise UserError(f"{name} is a masked array; give {name}.filled({IGNORED}), which leaves out such targets")
    return np.asarray(idx) if isinstance(idx, np.ndarray) else idx  # a matrix keeps two dimensions whatever is done


def check_ids(idx: np.ndarray, name: str, lowest: int, vocab_size: int) -> None:
    """Raise UserError for ids, on the host, that are below `lowest` or not below `vocab_size`."""
    if idx.min() >= lowest and idx.max() < vocab_size:
        return
    wrong = idx.min() if idx.min() < lowest else idx.max()
    if lowest == IGNORED and wrong == PYTORCHS_IGNORED:
        way_out = f"np.where({name} == {wrong}, {IGNORED}, {name})"
        problem = f"{name} has {wrong}, by which PyTorch marks what is left out of the loss"
        raise UserError(f"{problem}; here {IGNORED} does: give {way_out}")
    raise UserError(
        f"{name} has the token id {wrong}, but vocab_size is {vocab_size}; expected ids from "
        f"{lowest} to {vocab_size - 1}, so encode the text with this model's own tokenizer"
    )


def check_cache(cache: Any) -> None:
    """Raise UserError for what neither `loss` nor `forward` has returned as a cache."""
    if cache is None:
        raise UserError("backward got no cache: loss(..., need_grad=False) keeps none; call it with need_grad=True")
    if not isinstance(cache, tuple) or len(cache) != 3:
        what = (
            "both that loss returned" if isinstance(cache, tuple) and len(cache) == 2 else f"a {type(cache).__name__}"
        )
        raise UserError(f"backward got {what}; expected the cache, as in loss, cache = model.loss(idx, targets)")


def check_dout(dout: Any, shape: tuple[int, ...]) -> None:
    """Raise UserError for a gradient that is not one with respect to an output of `shape`."""
    kind = getattr(getattr(dout, "dtype", None), "kind", "f" if isinstance(dout, int | float) else "O")
    if np.shape(dout) != shape or kind not in "fiuV":  # V: bfloat16's
        what = "a loss, which is a number" if shape == () else f"logits of shape {shape}"
        found = f"has shape {dout.shape} and dtype {dout.dtype}" if hasattr(dout, "dtype") else f"is {brief(dout)}"
        raise UserError(f"dout {found}; expected the gradient with respect to {what}")


def check_grads(grads: Any, params: Parameters) -> None:
    """Raise UserError for what gradients of `params` cannot be added into. A mapping of a kind of its own is taken as
    it is.
    """
    if grads is params:
        raise UserError(
            "backward got model.params for grads, and would add to the weights; expected zeros_like() of it"
        )
    if isinstance(grads, Parameters) and grads.shapes == params.shapes:
        return
    expected = "expected arrays by the names of model.params, such as model.params.zeros_like()"
    if isinstance(grads, list | tuple | set | str | int | float | np.ndarray | np.generic):
        raise UserError(f"backward got a {type(grads).__name__} for grads; {expected}")
    if type(grads) is not dict and not isinstance(grads, Parameters):
        return
    if missing := sorted(params.keys() - grads.keys()):
        raise UserError(f"grads lacks {missing[0]}{f' and {len(missing) - 1} more' if missing[1:] else ''}; {expected}")
    for name, view in params.items():
        given = grads[name]
        dtype = getattr(given, "dtype", None)
        if dtype is None and hasattr(given, "__iadd__") and not isinstance(given, list):
            continue  # it adds as it likes
        if dtype is None or "float" not in dtype.name or given.shape != view.shape:
            found = brief(given) if dtype is None else f"an array of shape {given.shape} and dtype {dtype}"
            raise UserError(f"grads[{name!r}] is {found}, and {name} has shape {view.shape}; {expected}")


def check_mapping(parts: Any) -> dict[str, Any]:
    """A model's `parts` as a dictionary of its own. Raises UserError for what is no mapping."""
    if parts is not None and not isinstance(parts, Mapping):
        raise UserError(
            f"parts is {brief(parts)}; expected what takes a part's place by its name, such as {{'mlp': mine}}"
        )
    return dict(parts or {})
