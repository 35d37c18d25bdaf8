"""The way of a reader's parts to their places in a run.

Leaves stand in the ops table; what is made of them, and the rules of sampling, in the model; AdamW's update in the
optimiser, the BPE merge in the tokenizer's training, the cutting of windows in the corpus, norm and schedule in the
run, the ring's step in what its ranks exchange. A part that is a step on the way to another stands in that one's place
while it is not there.
"""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from tinygpt.backend import Array, array_module
from tinygpt.gradcheck.library import CASES
from tinygpt.layers import attention, linear
from tinygpt.models.gpt2 import GPT
from tinygpt.run.state import Parts

IN_THE_MODEL = *(name for name in CASES if hasattr(GPT, name)), "probabilities", "draw"
WITHOUT_A_MODEL = "merge", "windows_at", "global_norm", "cosine_schedule", "ring_step"  # what a run calls by itself


def places(parts: Mapping[str, Any]) -> Parts:
    """Where a run takes the parts in. parts: by name, layers and functions; of a kernel, what makes a layer of the one
    that computes where the kernel cannot, or of None.
    """
    model = {name: parts[name] for name in IN_THE_MODEL if name in parts}
    if "block" in model:
        model["block"] = RememberingBlock(model["block"])
    leaves = {name: part for name, part in parts.items() if name in CASES and name not in model}
    for name, (place, made) in STEPS.items():
        if name in parts:
            leaves.setdefault(place, made(parts[name]))
    if "layernorm_kernel" in parts:
        leaves["layernorm"] = parts["layernorm_kernel"](leaves.get("layernorm"))
    if "attention_decode" in parts:
        own = leaves.get("attention", attention)
        leaves["attention"] = SimpleNamespace(**vars(own) | {"decode": parts["attention_decode"]})
    optimizers = {"adamw": {"update": parts["adamw_update"]}} if "adamw_update" in parts else {}
    return Parts(leaves, model, optimizers, **{name: parts[name] for name in WITHOUT_A_MODEL if name in parts})


def before(name: str) -> tuple[str, ...]:
    """The parts in whose presence a step is not used, since they do more of the same."""
    if name not in STEPS:
        return ()
    place, steps = STEPS[name][0], list(STEPS)
    return place, *(other for other in steps[: steps.index(name)] if STEPS[other][0] == place)


class RememberingBlock:
    """A reader's block that can decode too: to it nothing changes, but the attention that it is handed stores the new
    keys and values among those before, and looks at all of them.
    """

    def __init__(self, block: Any):
        self.forward, self.backward = block.forward, block.backward

    def decode(
        self, x: Array, params: Mapping[str, Array], keys: Array, values: Array, start: int, *settings: Any, ops: Any
    ) -> Array:
        """As `Block.decode` in `models/gpt2.py`."""
        end = start + x.shape[1]

        def forward(qkv: Array, n_head: int, *_: Any) -> tuple[Array, tuple]:
            q, keys[:, :, start:end], values[:, :, start:end] = attention.split_heads(qkv, n_head)
            decode = getattr(ops.attention, "decode", attention.decode)
            return decode(q, keys[:, :, :end], values[:, :, :end]), ()

        return self.forward(x, params, *settings, ops=ops.replace(attention=SimpleNamespace(forward=forward)))[0]


# Of a step, the layer that it is a step to


def _of_multi_head(own: Any) -> Any:
    """Attention; what drops weights is the engine's."""

    def forward(qkv: Array, n_head: int, dropout: float = 0.0, key: int = 0, row: int = 0) -> tuple[Array, tuple]:
        if dropout > 0:
            out, cache = attention.forward(qkv, n_head, dropout, key, row)
            return out, (attention, cache)
        out, cache = own.forward(qkv, n_head)
        return out, (own, cache)

    def backward(dout: Array, cache: tuple) -> Array:
        layer, kept = cache
        return layer.backward(dout, kept)

    return SimpleNamespace(forward=forward, backward=backward)


def _of_all_heads(forward: Callable, backward: Callable) -> Any:
    """Attention of a forward and backward over q, k, v: (B, H, T, D) each."""

    def packed(qkv: Array, n_head: int) -> tuple[Array, tuple]:
        out, cache = forward(*attention.split_heads(qkv, n_head))
        return attention.merge_heads(out), (n_head, cache)

    def back(dout: Array, cache: tuple) -> Array:
        n_head, cache = cache
        (dout_heads,) = attention.split_heads(dout, n_head, parts=1)
        dqkv = array_module(dout).stack(backward(dout_heads, cache))  # (3, B, H, T, D)
        return dqkv.transpose(1, 3, 0, 2, 4).reshape(*dout.shape[:2], -1)

    return _of_multi_head(SimpleNamespace(forward=packed, backward=back))


def _of_causal_head(own: Any) -> Any:
    """Attention, head by head."""

    def forward(q: Array, k: Array, v: Array) -> tuple[Array, list]:
        outs, caches = zip(*(own.forward(q[:, h], k[:, h], v[:, h]) for h in range(q.shape[1])), strict=True)
        return array_module(q).stack(outs, axis=1), list(caches)

    def backward(dout: Array, caches: list) -> list[Array]:
        gradients = [own.backward(dout[:, h], cache) for h, cache in enumerate(caches)]
        return [array_module(dout).stack(each, axis=1) for each in zip(*gradients, strict=True)]

    return _of_all_heads(forward, backward)


def _of_head(own: Any) -> Any:
    """Attention, one position at a time, over what stands before it: so a head that sees all sees nothing later."""

    def forward(q: Array, k: Array, v: Array) -> tuple[Array, tuple]:
        seen = [slice(t + 1) for t in range(q.shape[-2])]
        made = [own.forward(q[..., s.stop - 1 : s.stop, :], k[..., s, :], v[..., s, :]) for s in seen]
        out = array_module(q).concatenate([out for out, _ in made], axis=-2)
        return out, (q, k, v, seen, [cache for _, cache in made])

    def backward(dout: Array, cache: tuple) -> list[Array]:
        q, k, v, seen, caches = cache
        dq, dk, dv = (array_module(x).zeros_like(x) for x in (q, k, v))
        for s, kept in zip(seen, caches, strict=True):
            here = slice(s.stop - 1, s.stop)
            dq[..., here, :], dk_seen, dv_seen = own.backward(dout[..., here, :], kept)
            dk[..., s, :] += dk_seen
            dv[..., s, :] += dv_seen
        return [dq, dk, dv]

    return _of_all_heads(forward, backward)


def _of_sum_to(sum_to: Callable) -> Any:
    """Linear, whose db is the sum over what b was spread over."""

    def backward(dout: Array, cache: tuple) -> tuple[Array, Array, Array | None]:
        dx, dw, db = linear.backward(dout, cache)
        return dx, dw, None if db is None else sum_to(dout, db.shape)

    return SimpleNamespace(forward=linear.forward, backward=backward)


STEPS: dict[str, tuple[str, Callable]] = {  # the place that each takes, the one that does more before the others
    "multi_head": ("attention", _of_multi_head), "causal_head": ("attention", _of_causal_head),
    "head": ("attention", _of_head), "sum_to": ("linear", _of_sum_to),
}  # fmt: skip
