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
        Case("far from zero", {"logits": logits + far_from_zero(T), "targets": targets}),
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
]
