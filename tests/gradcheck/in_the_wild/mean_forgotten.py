"""Cross-entropy: forward takes the mean over the batch, backward does not."""

import numpy as np


class CrossEntropy:
    def forward(self, logits, targets):
        shifted = logits - logits.max(axis=1, keepdims=True)
        self.probs = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
        self.targets = targets
        return -np.log(self.probs[np.arange(len(targets)), targets]).mean()

    def backward(self):
        d = self.probs.copy()
        d[np.arange(len(self.targets)), self.targets] -= 1
        return d


inputs = {"logits": np.random.default_rng(14).standard_normal((7, 4)), "targets": np.array([0, 1, 3, 3, 2, 0, 1])}
