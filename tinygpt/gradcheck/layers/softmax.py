"""Softmax: what it is checked on, and the mistakes it is usually made with."""

import numpy as np

from tinygpt.gradcheck.cases import Case, Draw, far_from_zero

AXES = {"x": "BTV"}
SPECIAL = ("a row all masked",)  # which a candidate may not know
NAMES = {"forward": "x xp largest exps total out", "backward": "dout cache out"}


def cases(draw: Draw) -> list[Case]:
    B, T, V = draw.sizes(3, least=3)
    masked = draw.product(T, V, fan_in=V)
    masked[0, 1:] = masked[1, 0] = -np.inf
    row = masked.copy()
    row[-1] = -np.inf
    return [
        Case("", {"x": draw.product(B, T, V, fan_in=V) * 2}),
        Case("masked", {"x": masked}),
        Case("a row all masked", {"x": row}),
        Case("far from zero", {"x": draw.product(T, V, fan_in=V) + far_from_zero(T)}),
    ]


# fmt: off
MISTAKES = [
    ("diagonal_only", "term", ("return out * ...", "return out * (1 - out) * dout"),
     "only the diagonal of the Jacobian is there: out * (1 - out) * dout, a sigmoid's"),
    ("without_the_sum", "term", ("dout - ...", "dout"), "dx lacks the term through the normalising sum",
     "in dx the term through the normalising sum"),
    ("factor_out_forgotten", "formula", ("return out * ...", "return ..."), "dx lacks the factor out in front"),
    ("sum_of_dout", "formula", ("dout * out", "dout"),
     "the term through the normalising sum takes dout, where dout * out belongs"),
    ("mean_for_sum", "scale", ("(dout * out).sum", "(dout * out).mean"),
     "the term through the normalising sum is 1/V times what it should be: a mean, where a sum belongs"),
    ("sum_over_rows", "axis", ("(dout * out).sum(...)", "(dout * out).sum(axis=-2, keepdims=True)"),
     "dout * out is summed over the rows, where the sum over the last axis belongs"),
    ("sum_over_everything", "axis", ("(dout * out).sum(...)", "(dout * out).sum()"),
     "dout * out is summed over the whole array, where each row has its own sum"),
    ("sign", "sign", ("return out * ...", "return -out * ..."), "dx has the wrong sign"),
    ("sum_added", "sign", ("dout - ...", "dout + ..."), "the term through the normalising sum has the wrong sign"),
    ("not_computed", "zero", ("return out * ...", "return 0 * out * ..."),
     "dx is zero, as softmax's is for a dout that is the same along each row"),
    ("forward_over_rows", "forward", ("x.max(...)", "x.max(axis=-2, keepdims=True)"),
     ("exps.sum(...)", "exps.sum(axis=-2, keepdims=True)"),
     ("(dout * out).sum(...)", "(dout * out).sum(axis=-2, keepdims=True)"),
     "forward normalises over the rows, where the last axis belongs"),
    ("forward_over_first_axis", "forward", ("x.max(...)", "x.max(axis=0, keepdims=True)"),
     ("exps.sum(...)", "exps.sum(axis=0, keepdims=True)"), ("(dout * out).sum(...)", "(dout * out).sum(axis=0)"),
     "forward normalises over the first axis, where the last belongs"),
    ("forward_over_everything", "forward", ("x.max(...)", "x.max()"), ("exps.sum(...)", "exps.sum()"),
     ("(dout * out).sum(...)", "(dout * out).sum()"),
     "forward divides by the sum over the whole array, where each row has its own"),
    ("forward_without_maximum", "forward", ("x - xp.where(...)", "x"),
     "forward does not subtract the maximum before exp, which overflows far from zero"),
    ("forward_maximum_of_everything", "forward", ("x.max(...)", "x.max()"),
     "forward subtracts the maximum of the whole array, where each row has its own: exp of the other rows vanishes"),
    ("forward_nothing_but_minus_inf", "forward", ("xp.where(total == 0, 1, total)", "total"),
     "a row of nothing but -inf gives NaN in forward, where zeros belong"),
    ("sum_over_first_axis", "axis", ("(dout * out).sum(...)", "(dout * out).sum(axis=0)"),
     "dout * out is summed over the first axis, where the sum over the last belongs"),
    ("of_log_softmax", "formula", ("return out * ...", "return dout - out * dout.sum(axis=-1, keepdims=True)"),
     "dx is that of the logarithm of softmax"),
    ("forward_not_normalised", "forward", ("exps / ...", "exps"),
     ("return out * ...", "return out * dout - (out == 1) * (dout * out).sum(axis=-1, keepdims=True)"),
     "forward does not divide by the sum"),
    ("sum_without_the_factor", "formula",
     ("return out * ...", "return out * dout - (dout * out).sum(axis=-1, keepdims=True)"),
     "the term through the normalising sum lacks the factor out: it is out * (dout - sum), not out * dout - sum"),
    ("forward_sum_over_everything", "forward", ("exps.sum(...)", "exps.sum()"),
     ("(dout * out).sum(...)", "(dout * out).sum()"),
     ("return out * ...", "dx = out * ...\nreturn dx - (out == out.max(axis=-1, keepdims=True)) "
      "* dx.sum(axis=-1, keepdims=True)"),
     "forward divides by the sum over the whole array, where each row has its own"),
]
