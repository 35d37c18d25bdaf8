"""The layers of a GPT, each a module with `forward` and `backward`: the definitions that everything else is held to.

    out, cache = forward(x, w, b)
    dx, dw, db = backward(dout, cache)

`dout` is the gradient of the loss with respect to `out`, `dx` with respect to `x`, and so on: one gradient for each
differentiable input in the order of forward's arguments, None for an input that was None. A layer keeps nothing,
writes to none of its inputs, and runs on NumPy and CuPy arrays of any float dtype. `cache` is a plain tuple for
backward alone.

Letters in the shapes: B batch, T time, C channels, H heads, D head size (C = H * D), V vocabulary; `...` is any
number of leading axes.
"""
