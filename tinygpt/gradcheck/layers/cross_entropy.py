"""Cross-entropy: what it is checked on, and the mistakes it is usually made with."""

import numpy as np

from tinygpt.gradcheck.cases import Case, Draw, far_from_zero
from tinygpt.layers.cross_entropy import IGNORED

AXES = {"logits": "BTV"}
NAMES = {
    "forward": "logits targets denominator xp rows counted shifted log_total places losses loss",
    "backward": "dout cache shifted log_total places counted denominator shape xp dlogits scale",
}


def cases(draw: Draw) -> list[Case]:
    B, T, V = draw.sizes(3, least=3)
    logits, targets = draw.product(B, T, V, fan_in=V), draw.targets(B, T, vocab_size=V)
    return [
        Case("", {"logits": logits, "targets": draw.tokens(B, T, vocab_size=V)}),
        Case("ignored targets", {"logits": logits, "targets": targets}),
        Case("part of a batch", {"logits": logits, "targets": targets, "denominator": 29.0}),
        Case("far from zero", {"logits": logits + far_from_zero(T), "targets": draw.tokens(B, T, vocab_size=V)}),
        Case("all ignored", {"logits": logits, "targets": np.full((B, T), IGNORED)}),
    ]


# fmt: off
MISTAKES = [
    ("mean_forgotten", "scale", ("dout / denominator", "dout"),
     "forward takes a mean, but dlogits is not divided by the number of targets"),
    ("divided_by_all_targets", "scale", ("dout / denominator", "dout / len(counted)"),
     "dlogits is divided by the number of all targets, where those that count belong"),
    ("divided_by_vocabulary", "scale", ("dout / denominator", "dout / shape[-1]"),
     "dlogits is divided by V, where the number of targets belongs"),
    ("dout_forgotten", "scale", ("dout / denominator", "1 / denominator"),
     "dlogits does not multiply by dout, the gradient from above"),
    ("one_hot_forgotten", "term", ("dlogits[places] -= 1", ""),
     "dlogits is the softmax alone: the one at the target is not taken away", "the one at the target"),
    ("softmax_forgotten", "term", ("dlogits[places] -= 1", "dlogits[...] = 0\ndlogits[places] -= 1"),
     "dlogits is minus one at the target and nothing else: the softmax is missing", "the softmax in dlogits"),
    ("one_added_at_target", "sign", ("dlogits[places] -= 1", "dlogits[places] += 1"),
     "one is added at the target, where it belongs subtracted"),
    ("sign", "sign", ("dlogits *= scale[:, None]", "dlogits *= -scale[:, None]"), "dlogits has the wrong sign"),
    ("ignored_targets_teach", "mask",
     ("xp.where(counted, dout / denominator, 0)", "xp.where(counted, dout / denominator, dout / denominator)"),
     "targets that are ignored have a gradient all the same"),
    ("softmax_not_normalised", "formula", ("shifted - log_total[:, None]", "shifted"),
     "the exponentials are not divided by their sum"),
    ("softmax_over_targets", "axis",
     ("dlogits = xp.exp(...)", "dlogits = xp.exp(...)\ndlogits = dlogits / dlogits.sum(axis=0)"),
     "the softmax is normalised over the targets as well, where it sums to one over the vocabulary"),
    ("forward_sum", "forward", ("xp.maximum(counted.sum(), 1)", "xp.ones(())"),
     "forward is the sum over the targets, where their mean belongs"),
    ("forward_bits", "forward", ("log_total - shifted[places]", "(log_total - shifted[places]) / xp.log(2.0)"),
     ("dout / denominator", "dout / denominator / xp.log(2.0)"), "forward is in bits, where nats belong"),
    ("forward_counts_ignored", "forward", ("xp.maximum(counted.sum(), 1)", "xp.asarray(len(targets))"),
     "forward's mean counts the targets that are ignored"),
    ("forward_denominator_ignored", "forward", ("denominator is None", "True"),
     "forward does not use the denominator that it is given"),
    ("forward_sign", "forward", ("log_total - shifted[places]", "shifted[places] - log_total"),
     ("dout / denominator", "-dout / denominator"),
     "forward has the wrong sign: it is the log-likelihood, and the loss is minus that"),
    ("ignored_teach_the_last_token", "mask", ("dlogits[places] -= 1", "dlogits[places[0], places[1] - ~counted] -= 1"),
     ("xp.where(counted, dout / denominator, 0)", "xp.where(counted, dout / denominator, dout / denominator)"),
     "targets of -1 have a gradient, as if they were the last token: they are to be ignored"),
    ("rows_at_targets", "mask", ("dlogits[places] -= 1", "dlogits[places[1]] -= 1"),
     "one is subtracted from whole rows, those whose numbers are targets: index with (np.arange(N), targets)"),
    ("one_after_the_division", "scale", ("dlogits[places] -= 1", ""),
     ("dlogits *= scale[:, None]", "dlogits *= scale[:, None]\ndlogits[places] -= counted"),
     "one is subtracted at the target after the division by the denominator, where it belongs before it"),
    ("forward_minus_one_is_last", "forward", ("targets != IGNORED", "targets == targets"),
     "forward takes the target -1 for the last token, where it is to be ignored"),
    ("forward_adds_minus_one_as_last", "forward", ("xp.where(counted, targets, 0)", "targets"),
     ("xp.where(counted, losses, 0)", "losses"),
     ("xp.where(counted, dout / denominator, 0)", "xp.where(counted, dout / denominator, dout / denominator)"),
     "forward adds a loss for targets of -1, as if they were the last token, where they are to be ignored"),
    ("forward_adds_minus_one_as_first", "forward", ("xp.where(counted, losses, 0)", "losses"),
     ("xp.where(counted, dout / denominator, 0)", "xp.where(counted, dout / denominator, dout / denominator)"),
     "forward adds a loss for targets of -1, as if they were the first token, where they are to be ignored"),
    ("forward_without_maximum", "forward", ("shifted = rows - ...", "shifted = rows"),
     "forward does not subtract the maximum before exp, which overflows far from zero"),
    ("forward_maximum_of_everything", "forward", ("rows.max(...)", "rows.max()"),
     "forward subtracts the maximum of the whole array, where each row has its own: exp of the other rows vanishes"),
    ("columns_at_targets", "mask", ("dlogits[places] -= 1", "dlogits[:, places[1]] -= 1"),
     "one is subtracted from whole columns, at the targets of all rows: index with (np.arange(N), targets)"),
    ("mask_inverted", "mask", ("xp.where(counted, dout / denominator, 0)", "xp.where(counted, 0, dout / denominator)"),
     "the mask is inverted: only targets that are ignored have a gradient"),
    ("forward_nothing_counted", "forward", ("xp.maximum(counted.sum(), 1)", "counted.sum()"),
     "forward divides 0 by 0 where every target is ignored: the loss is 0 there"),
    ("one_subtracted_everywhere", "mask", ("dlogits[places] -= 1", "dlogits -= 1"),
     "one is subtracted everywhere, where it belongs subtracted at the target alone"),
    ("forward_softmax_over_rows", "forward", ("rows.max(...)", "rows.max(axis=0, keepdims=True)"),
     ("xp.exp(shifted).sum(...)", "xp.exp(shifted).sum(axis=0)"),
     ("log_total - shifted[places]", "log_total[places[1]] - shifted[places]"),
     ("xp.exp(shifted - log_total[:, None])", "xp.exp(shifted - log_total)"),
     ("dlogits[places] -= 1", "at_targets = xp.zeros_like(dlogits)"),
     ("dlogits *= scale[:, None]",
      "at_targets[places] = scale\ndlogits = dlogits * at_targets.sum(axis=0) - at_targets"),
     "forward's softmax runs over the rows, where it belongs over the vocabulary, the last axis"),
]
