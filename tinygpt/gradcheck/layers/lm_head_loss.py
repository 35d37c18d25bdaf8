"""The head with its loss: what it is checked on, and the mistakes it is usually made with."""

from tinygpt.gradcheck.cases import Case, Draw
from tinygpt.kernels.cpu import lm_head_loss as twin
from tinygpt.models.gpt2 import LMHeadLoss
from tinygpt.ops import DEFINITIONS

DEFINITION = LMHeadLoss
AXES = {"x": "NC", "w": "VC"}
MADE_OF = "linear", "cross_entropy"
NAMES = {
    "forward": "x w targets denominator need_grad ops logits linear_cache loss loss_cache",
    "backward": "dout cache linear_cache loss_cache ops dlogits dx dw_transposed _",
}


def cases(draw: Draw) -> list[Case]:
    N, C, V = draw.sizes(3, least=3)
    x, w = draw.array(N, C), draw.matrix(V, C, fan_in=C)
    given = {"x": x, "w": w, "targets": draw.tokens(N, vocab_size=V), "ops": DEFINITIONS}
    part = {"targets": draw.targets(N, vocab_size=V), "denominator": 13.0, "need_grad": True}
    return [Case("", given), Case("part of a batch", given | part)]


# fmt: off
_RETURN = "return dx, dw_transposed.T"
MISTAKES = [
    ("dw_reshaped", "layout", (_RETURN, "return dx, dw_transposed.reshape(dw_transposed.shape[::-1])"),
     "dw is the transpose of the right one, reshaped to fit"),
    ("dw_not_computed", "zero", (_RETURN, "return dx, dw_transposed.T * 0"),
     "dw is zero: the head's half of the tied table's gradient is forgotten"),
    ("dout_forgotten", "scale",
     ("ops.cross_entropy.backward(dout, ...)", "ops.cross_entropy.backward(dout * 0 + 1, ...)"),
     "dx and dw do not multiply by dout, the gradient from above"),
    ("dx_times_rows", "scale", (_RETURN, "return dx * len(dx), dw_transposed.T"),
     "dx is multiplied by the number of rows"),
    ("forward_denominator_ignored", "forward",
     ("ops.cross_entropy.forward(logits, targets, denominator)", "ops.cross_entropy.forward(logits, targets)"),
     "forward does not use the denominator that it is given"),
    ("forward_reshape_for_transpose", "forward", ("w.T", "w.reshape(w.shape[::-1])"),
     (_RETURN, "return dx, dw_transposed.reshape(dw_transposed.shape[::-1])"),
     "forward reshapes w to (C, V), which is not its transpose"),
]
MISTAKES_OF_TWIN = twin, [
    ("last_chunk_only", "accumulation", ("rows or max(...)", "rows or 2"),
     ("whole += logits.T @ x[chunk]", "whole = logits.T @ x[chunk]"),
     "dw is overwritten chunk after chunk (=, where += belongs), so only the last one counts"),
    ("dout_not_in_dw", "scale", ("lambda rows: dw[rows] * dout", "lambda rows: dw[rows]"),
     "dw, computed in forward, is not multiplied by dout in backward"),
]
