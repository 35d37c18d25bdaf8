"""One head of attention that sees what has been so far, the second step to `attention`."""

from tinygpt.backend import Array, array_module, bmm
from tinygpt.gradcheck.cases import Case, Draw
from tinygpt.gradcheck.steps import head
from tinygpt.layers import softmax

AXES = {"q": "BTD"}
CAUSAL = True


class CausalHead:
    """Attention, one head, causal: position t sees positions 0..t only.

    Vaswani et al., "Attention Is All You Need", 2017 (arXiv:1706.03762), equation 1 and section 3.2.3.
    """

    @staticmethod
    def forward(q: Array, k: Array, v: Array) -> tuple[Array, tuple]:
        """out = softmax(q k^T / sqrt(D)) v, the scores of later positions being -inf.

        q, k, v: (..., T, D). Returns out: (..., T, D), cache.
        """
        xp = array_module(q)
        scores = bmm(q, k, transpose_b=True) * q.shape[-1] ** -0.5  # (..., T, D) @ (..., D, T) -> (..., T, T)
        T = scores.shape[-1]
        past = xp.arange(T) <= xp.arange(T)[:, None]  # (T, T): key s is not later than query t
        weights, softmax_cache = softmax.forward(xp.where(past, scores, -xp.inf))
        out = bmm(weights, v)  # (..., T, T) @ (..., T, D) -> (..., T, D)
        return out, (q, k, v, weights, softmax_cache)

    @staticmethod
    def backward(dout: Array, cache: tuple) -> tuple[Array, Array, Array]:
        """dq, dk, dv, each (..., T, D).

        dout: (..., T, D). A masked score has weight 0, so softmax's backward gives it 0 without asking the mask.
        """
        q, k, v, weights, softmax_cache = cache
        dweights = bmm(dout, v, transpose_b=True)  # (..., T, D) @ (..., D, T) -> (..., T, T)
        dv = bmm(weights, dout, transpose_a=True)  # (..., T, T)^T @ (..., T, D) -> (..., T, D)
        dscores = softmax.backward(dweights, softmax_cache) * q.shape[-1] ** -0.5  # (..., T, T)
        dq = bmm(dscores, k)  # (..., T, T) @ (..., T, D) -> (..., T, D)
        dk = bmm(dscores, q, transpose_a=True)  # (..., T, T)^T @ (..., T, D) -> (..., T, D)
        return dq, dk, dv


DEFINITION = CausalHead


def cases(draw: Draw) -> list[Case]:
    B, T, D = draw.sizes(3, least=3)

    def given(*batch: int, T: int = T) -> dict:
        return {name: draw.array(*batch, T, D) for name in ("q", "k", "v")}

    return [Case("", given(B)), Case("heads", given(B, 2)), Case("one token", given(B, T=1))]


# fmt: off
_SCORES = "xp.where(past, scores, -xp.inf)"
_MASKED = f"softmax.forward({_SCORES})"
_PAST = (
    "import numpy as np\n"
    "T = dweights.shape[-1]\n"
    "past = np.arange(T) <= np.arange(T)[:, None]\n"
)
_DSCORES = "dscores = softmax.backward(dweights, softmax_cache) * ..."
MISTAKES = [
    *head.BACKWARD,
    ("own_score_masked", "mask",
     (_DSCORES, _PAST + f"{_DSCORES}\ndscores = np.where(past & ~np.eye(T, dtype=bool), dscores, 0)"),
     "the mask in backward is strict: a position's score with itself has no gradient"),
    ("gradient_masked_the_wrong_way_round", "mask",
     (_DSCORES, _PAST + f"{_DSCORES}\ndscores = np.where(past.T, dscores, 0)"),
     "the mask in backward is the wrong way round: of the scores only a position's with itself has a gradient"),
    ("mask_forgotten", "mask",
     (_DSCORES, "full, _ = softmax.forward(bmm(q, k, transpose_b=True) * q.shape[-1] ** -0.5)\n"
      "dscores = softmax.backward(dweights, (full,)) * q.shape[-1] ** -0.5"),
     "dscores is taken as if there were no causal mask"),
    *head.wrong_forwards(_SCORES),
    ("forward_without_mask", "forward", (_MASKED, "softmax.forward(scores)"), "forward has no causal mask"),
    ("forward_mask_reversed", "forward", ("xp.arange(T) <= ...", "xp.arange(T) >= ..."),
     "forward's mask is the wrong way round: each position sees itself and what comes after it"),
    ("forward_sees_the_next_token", "forward", ("xp.arange(T)[:, None]", "xp.arange(T)[:, None] + 1"),
     "forward's mask is off by one: each position sees the next token"),
    ("forward_mask_strict", "forward", ("xp.arange(T) <= ...", "xp.arange(T) < ..."),
     "forward's mask is strict: a position does not see itself, and the first one sees nothing"),
    ("forward_mask_strict_finite", "forward", ("xp.arange(T) <= ...", "xp.arange(T) < ..."),
     (_SCORES, "xp.where(past, scores, -1e9)"),
     (_DSCORES, _PAST + f"{_DSCORES}\ndscores = np.where(past & ~np.eye(T, dtype=bool), dscores, 0)"),
     "forward's mask is strict: a position does not see itself, and the first one sees all alike"),
    ("forward_mask_multiplied", "forward", ("-xp.inf", "0"),
     (_DSCORES, _PAST + f"{_DSCORES}\ndscores = np.where(past, dscores, 0)"),
     "forward gives masked scores 0, where -inf belongs: exp(0) is 1"),
    ("forward_mask_after_softmax", "forward",
     (f"weights, softmax_cache = {_MASKED}",
      "weights, softmax_cache = softmax.forward(scores)\nweights = xp.where(past, weights, 0)"),
     (_DSCORES, _PAST + f"dweights = np.where(past, dweights, 0)\n{_DSCORES}"),
     "forward masks after softmax, so that the weights left do not sum to 1: the mask belongs before it, as -inf"),
    ("forward_weights_transposed", "forward", ("out = bmm(weights, v)", "out = bmm(weights, v, transpose_a=True)"),
     ("bmm(dout, v, ...)", "bmm(v, dout, transpose_b=True)"), ("bmm(weights, dout, ...)", "bmm(weights, dout)"),
     "forward multiplies v by the weights transposed, where the weights themselves belong"),
]
