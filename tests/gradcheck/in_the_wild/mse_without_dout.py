"""A loss of a class, whose backward takes nothing."""

import numpy as np


class MSELoss:
    def forward(self, y_pred, y_true):
        self.y_pred, self.y_true = y_pred, y_true
        return np.mean((y_pred - y_true) ** 2)

    def backward(self):
        return 2 * (self.y_pred - self.y_true) / self.y_pred.size


inputs = {"y_pred": np.linspace(-1, 1, 12).reshape(4, 3), "y_true": np.ones((4, 3))}
