"""An embedding whose backward returns a dict, by name."""

import numpy as np


class Embedding:
    def __init__(self, vocab_size, dim):
        self.weight = np.random.normal(0, 0.02, (vocab_size, dim))

    def forward(self, ids):
        self.ids = ids
        return self.weight[ids]

    def backward(self, dout):
        grad = np.zeros_like(self.weight)
        np.add.at(grad, self.ids, dout)
        return {"weight": grad}


make = {"Embedding": lambda: Embedding(7, 3)}
inputs = {"ids": np.array([[1, 4, 1, 6], [0, 4, 4, 2]])}
