"""The card's time for each layer of a step, by events around it, and the least that it could take."""

import contextlib
import math
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

LEAVES = "embedding", "linear", "layernorm", "gelu", "attention"


class Kept(tuple):
    """A layer's cache that knows of what call it is."""

    call: tuple


class Stopwatch:
    """Notes when the card begins and ends with a layer, and the least time that it could take."""

    def __init__(self, rates: dict[str, float], vocab_size: int):
        self.rates, self.vocab_size = rates, vocab_size
        self.floors: dict[tuple, tuple[float, str]] = {}
        self.events: list[tuple] = []

    @contextlib.contextmanager
    def timed(self, call: tuple) -> Iterator[None]:
        import cupy

        start, end, began = cupy.cuda.Event(), cupy.cuda.Event(), time.perf_counter()
        start.record()
        yield
        end.record()
        self.events.append((call, start, end, time.perf_counter() - began))

    def attach(self, model: Any) -> None:
        """From now on, time the model's leaves, and the head with its loss as one."""
        head = model.head_loss  # before there is a leaf that is not the engine's
        model.ops = model.ops.replace(**{name: self.layer(name, getattr(model.ops, name)) for name in LEAVES})
        model.lm_head_loss = self.layer("lm_head_loss", head)

    def layer(self, name: str, layer: Any) -> Any:
        def forward(x: Any, *others: Any, **options: Any) -> tuple:
            call = name, "forward", x.shape, others[0].shape if name == "linear" else ()
            with self.timed(call):
                out, cache = layer.forward(x, *others, **options)
            if call not in self.floors:
                self.floors[call] = self.floor(call, layer, (x, others), out, cache)
            kept = Kept(cache)
            kept.call = call
            return out, kept

        def backward(dout: Any, cache: Kept) -> Any:
            call = (name, "backward", *cache.call[2:])
            with self.timed(call):
                gradients = layer.backward(dout, tuple(cache))
            if call not in self.floors:
                self.floors[call] = self.floor(call, layer, dout, gradients, cache)
            return gradients

        return SimpleNamespace(forward=forward, backward=backward)

    def floor(self, call: tuple, layer: Any, inputs: Any, out: Any, cache: Any) -> tuple[float, str]:
        """Seconds, and what sets them: the FLOPs of products, or the bytes that are read or written once."""
        from tinygpt.layers import lm_head_loss

        name, direction, x, w = call
        products = {"forward": 1, "backward": 2}[direction]
        if name == "lm_head_loss" and layer is not lm_head_loss:
            products = {"forward": 3, "backward": 0}[direction]  # a twin takes gradients where the logits are
        flops = products * 2 * math.prod(x) * {
            "linear": w[-1] if w else 0,
            "attention": 2 * x[-2] // 3 if len(x) == 3 else 0,  # x has 3C; of T x T scores the masked ones included
            "lm_head_loss": self.vocab_size,
        }.get(name, 0)  # fmt: skip
        size = extent((inputs, out, cache))
        if name == "embedding":  # of the table as many rows are read as come out
            size = 2 * extent(out) if direction == "forward" else extent((inputs, out))
        seconds = {"FLOPs": flops / self.rates["TF32"], "bytes": size / self.rates["copies"]}
        bound = max(seconds, key=lambda what: seconds[what])
        return seconds[bound], bound


def extent(tree: Any) -> int:
    """The bytes that all arrays in nested tuples lie in, shared ones counted once."""
    spans, trees = [], [tree]
    while trees:
        x = trees.pop()
        if isinstance(x, tuple):
            trees += x
        elif hasattr(getattr(x, "data", None), "ptr") and x.size:
            last = sum((n - 1) * step for n, step in zip(x.shape, x.strides, strict=True))
            spans.append((x.data.ptr, x.data.ptr + last + x.itemsize))
    total = reached = 0
    for start, end in sorted(spans):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total
