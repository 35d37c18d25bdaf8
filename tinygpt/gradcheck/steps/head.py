"""One head of attention that sees everything, the first step to `attention`."""

from tinygpt.backend import Array, bmm
from tinygpt.gradcheck.cases import Case, Draw
from tinygpt.layers import softmax

AXES = {"q": "BTD", "k": "BSD", "v": "BSE"}


class Head:
    """Attention, one head, no mask: every query sees every key.

    Vaswani et al., "Attention Is All You Need", 2017 (arXiv:1706.03762), equation 1.
    """

    @staticmethod
    def forward(q: Array, k: Array, v: Array) -> tuple[Array, tuple]:
        """out = softmax(q k^T / sqrt(D)) v.

        q: (..., T, D); k: (..., S, D); v: (..., S, E). Returns out: (..., T, E), cache.
        """
        scores = bmm(q, k, transpose_b=True) * q.shape[-1] ** -0.5  # (..., T, D) @ (..., D, S) -> (..., T, S)
        weights, softmax_cache = softmax.forward(scores)
        out = bmm(weights, v)  # (..., T, S) @ (..., S, E) -> (..., T, E)
        return out, (q, k, v, weights, softmax_cache)

    @staticmethod
    def backward(dout: Array, cache: tuple) -> tuple[Array, Array, Array]:
        """dq, dk, dv, of the shapes of q, k, v.

        dout: (..., T, E).
        """
        q, k, v, weights, softmax_cache = cache
        dweights = bmm(dout, v, transpose_b=True)  # (..., T, E) @ (..., E, S) -> (..., T, S)
        dv = bmm(weights, dout, transpose_a=True)  # (..., T, S)^T @ (..., T, E) -> (..., S, E)
        dscores = softmax.backward(dweights, softmax_cache) * q.shape[-1] ** -0.5  # (..., T, S)
        dq = bmm(dscores, k)  # (..., T, S) @ (..., S, D) -> (..., T, D)
        dk = bmm(dscores, q, transpose_a=True)  # (..., T, S)^T @ (..., T, D) -> (..., S, D)
        return dq, dk, dv


DEFINITION = Head


def cases(draw: Draw) -> list[Case]:
    B, T, S, D, E = draw.sizes(5)

    def given(*batch: int, T: int = T) -> dict:
        return {"q": draw.array(*batch, T, D), "k": draw.array(*batch, S, D), "v": draw.array(*batch, S, E)}

    return [
        Case("", given(B)),
        Case("one sequence, no batch", given()),
        Case("one query", given(2, B, T=1)),
        Case("as many keys as queries", given(B, T=S)),  # where a product forgotten to be transposed has a shape
    ]


# fmt: off
_SOFTMAX = "softmax.backward(dweights, softmax_cache)"
BACKWARD = [  # which the causal head's has too
    ("dk_transposed", "layout", ("bmm(dscores, q, transpose_a=True)", "bmm(dscores, q)"),
     "dk multiplies q by dscores, not by dscores transposed: keys are its columns"),
    ("dq_transposed", "layout", ("bmm(dscores, k)", "bmm(dscores, k, transpose_a=True)"),
     "dq multiplies k by dscores transposed, where dscores itself belongs: queries are its rows"),
    ("dv_transposed", "layout", ("bmm(weights, dout, transpose_a=True)", "bmm(weights, dout)"),
     "dv multiplies dout by the weights, where the weights transposed belong"),
    ("dweights_transposed", "layout", ("bmm(dout, v, transpose_b=True)", "bmm(v, dout, transpose_b=True)"),
     "dweights is v times dout transposed, where dout times v transposed belongs"),
    ("scale_forgotten", "scale", (f"{_SOFTMAX} * ...", _SOFTMAX), "dq and dk lack the factor 1/sqrt(D)"),
    ("scale_twice", "scale", (f"{_SOFTMAX} * ...", f"{_SOFTMAX} / q.shape[-1]"),
     "dq and dk have the factor 1/sqrt(D) twice"),
    ("scale_multiplied", "scale", (f"{_SOFTMAX} * ...", f"{_SOFTMAX} * q.shape[-1] ** 0.5"),
     "dq and dk are multiplied by sqrt(D), where dividing by it belongs"),
    ("softmax_diagonal_only", "term", (_SOFTMAX, "(weights * (1 - weights) * dweights)"),
     "in dscores only the diagonal of softmax's Jacobian is there"),
    ("softmax_without_the_sum", "term", (_SOFTMAX, "(weights * dweights)"),
     "dscores lacks the term through softmax's normalising sum", "in dscores the term through softmax's sum"),
    ("softmax_forgotten", "formula", (_SOFTMAX, "dweights"),
     "dscores is dweights: softmax's backward between them is missing"),
    ("softmax_factor_forgotten", "formula",
     (_SOFTMAX, "(dweights - (dweights * weights).sum(axis=-1, keepdims=True))"),
     "dscores lacks the factor weights in front"),
    ("softmax_sum_over_queries", "axis",
     (_SOFTMAX, "(weights * (dweights - (dweights * weights).sum(axis=-2, keepdims=True)))"),
     "in dscores the sum runs over the queries, where the keys belong"),
    ("softmax_mean_for_sum", "scale",
     (_SOFTMAX, "(weights * (dweights - (dweights * weights).mean(axis=-1, keepdims=True)))"),
     "in dscores dweights * weights is averaged over the keys, where a sum belongs"),
    ("dq_from_queries", "formula", ("bmm(dscores, k)", "bmm(dscores, q)"),
     "dq multiplies dscores by q, where k belongs"),
    ("dk_from_keys", "formula", ("bmm(dscores, q, ...)", "bmm(dscores, k, ...)"),
     "dk multiplies dscores by k, where q belongs"),
    ("dv_from_scores", "formula", ("dv = ...", ""), ("dk = ...", "dk = ...\ndv = bmm(dscores, dout, transpose_a=True)"),
     "dv multiplies dout by dscores, where the weights belong"),
    ("dq_and_dk_exchanged", "layout", ("return dq, dk, dv", "return dk, dq, dv"),
     "dq and dk stand in each other's place"),
    ("dk_and_dv_exchanged", "layout", ("return dq, dk, dv", "return dq, dv, dk"),
     "dk and dv stand in each other's place"),
    ("dq_not_computed", "zero", ("bmm(dscores, k)", "0 * bmm(dscores, k)"), "dq is zero"),
    ("dk_not_computed", "zero", ("bmm(dscores, q, ...)", "0 * bmm(dscores, q, ...)"), "dk is zero"),
    ("dv_not_computed", "zero", ("bmm(weights, dout, ...)", "0 * bmm(weights, dout, ...)"), "dv is zero"),
]


def wrong_forwards(scores: str) -> list[tuple]:
    """Those of a forward whose softmax is given `scores`, which are the causal head's too."""
    return [
        ("forward_unscaled", "forward", ("bmm(q, k, ...) * ...", "bmm(q, k, ...)"), (f"{_SOFTMAX} * ...", _SOFTMAX),
         "forward does not divide the scores by sqrt(D)"),
        ("forward_scaled_by_size", "forward", ("bmm(q, k, ...) * ...", "bmm(q, k, ...) / q.shape[-1]"),
         (f"{_SOFTMAX} * ...", f"{_SOFTMAX} / q.shape[-1]"),
         "forward divides the scores by D, where sqrt(D) belongs"),
        ("forward_scaled_by_time", "forward", ("bmm(q, k, ...) * ...", "bmm(q, k, ...) * q.shape[-2] ** -0.5"),
         (f"{_SOFTMAX} * ...", f"{_SOFTMAX} * q.shape[-2] ** -0.5"),
         "forward divides the scores by sqrt(T), where sqrt(D) belongs"),
        ("forward_scale_multiplied", "forward", ("bmm(q, k, ...) * ...", "bmm(q, k, ...) * q.shape[-1] ** 0.5"),
         (f"{_SOFTMAX} * ...", f"{_SOFTMAX} * q.shape[-1] ** 0.5"),
         "forward multiplies the scores by sqrt(D), where dividing by it belongs"),
        ("forward_softmax_over_queries", "forward",
         (f"weights, softmax_cache = softmax.forward({scores})",
          f"columns, softmax_cache = softmax.forward({scores}.swapaxes(-1, -2))\n"
          "weights = columns.swapaxes(-1, -2)"),
         (_SOFTMAX, "softmax.backward(dweights.swapaxes(-1, -2), softmax_cache).swapaxes(-1, -2)"),
         "forward's softmax runs over the queries, where the keys belong: the last axis of the scores"),
        ("forward_not_normalised", "forward",
         (f"weights, softmax_cache = softmax.forward({scores})",
          f"import numpy as np\nweights, softmax_cache = np.exp({scores}), ()"),
         (_SOFTMAX, "(dweights * weights)"),
         "forward takes exp of the scores for weights: softmax divides them by their sum"),
    ]


MISTAKES = [
    *BACKWARD,
    *wrong_forwards("scores"),
    ("forward_scaled_by_values", "forward", ("bmm(q, k, ...) * ...", "bmm(q, k, ...) * v.shape[-1] ** -0.5"),
     (f"{_SOFTMAX} * ...", f"{_SOFTMAX} * v.shape[-1] ** -0.5"),
     "forward divides the scores by the root of v's size, where that of q and k belongs"),
    ("forward_masked", "forward",
     ("weights, softmax_cache = softmax.forward(scores)",
      "import numpy as np\nT, S = scores.shape[-2:]\n"
      "scores = np.where(np.arange(S) <= np.arange(T)[:, None], scores, -np.inf)\n"
      "weights, softmax_cache = softmax.forward(scores)"),
     "forward has a causal mask, where every query sees every key"),
]
