"""One head of attention that sees everything, the first step to `attention`."""

from tinygpt.backend import Array, bmm
from tinygpt.gradcheck.cases import Case, Draw
from tinygpt.layers import softmax

AXES = {"q": "BTD", "k": "BSD", "v": "BSD"}


class Head:
    """Attention, one head, no mask: every query sees every key.

    Vaswani et al., "Attention Is All You Need", 2017 (arXiv:1706.03762), equation 1.
    """

    @staticmethod
    def forward(q: Array, k: Array, v: Array) -> tuple[Array, tuple]:
        """out = softmax(q k^T / sqrt(D)) v.

        q: (..., T, D); k: (..., S, D); v: (..., S, E). Returns out: (..., T, E), cache.
        """
        scale = q.shape[-1] ** -0.5
        scores = bmm(q, k, transpose_b=True) * scale  # (..., T, D) @ (..., D, S) -> (..., T, S)
        weights, softmax_cache = softmax.forward(scores)
        out = bmm(weights, v)  # (..., T, S) @ (..., S, E) -> (..., T, E)
        return out, (q, k, v, weights, softmax_cache, scale)

    @staticmethod
    def backward(dout: Array, cache: tuple) -> tuple[Array, Array, Array]:
        """dq, dk, dv, of the shapes of q, k, v.

        dout: (..., T, E).
        """
        q, k, v, weights, softmax_cache, scale = cache
        dweights = bmm(dout, v, transpose_b=True)  # (..., T, E) @ (..., E, S) -> (..., T, S)
        dv = bmm(weights, dout, transpose_a=True)  # (..., T, S)^T @ (..., T, E) -> (..., S, E)
        dscores = softmax.backward(dweights, softmax_cache)  # (..., T, S)
        dq = bmm(dscores, k) * scale  # (..., T, S) @ (..., S, D) -> (..., T, D)
        dk = bmm(dscores, q, transpose_a=True) * scale  # (..., T, S)^T @ (..., T, D) -> (..., S, D)
        return dq, dk, dv


DEFINITION = Head


def cases(draw: Draw) -> list[Case]:
    B, T, S, D, E = draw.sizes(5)

    def given(*batch: int, T: int = T) -> dict:
        return {"q": draw.array(*batch, T, D), "k": draw.array(*batch, S, D), "v": draw.array(*batch, S, E)}

    return [Case("", given(B)), Case("one sequence, no batch", given()), Case("one query", given(2, B, T=1))]


# fmt: off
MISTAKES = [
    ("dk_transposed", "layout", ("dk = bmm(...) * scale", "dk = bmm(dscores, q) * scale"),
     "dk takes dscores where its transpose belongs"),
]
