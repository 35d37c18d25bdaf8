"""LayerNorm for PyTorch, whose gradient leaves out what the variance passes on."""

import torch


class LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        mean = x.mean(-1, keepdim=True)
        rstd = (x.var(-1, unbiased=False, keepdim=True) + 1e-5).rsqrt()
        xhat = (x - mean) * rstd
        ctx.save_for_backward(xhat, rstd, weight)
        return xhat * weight + bias

    @staticmethod
    def backward(ctx, dout):
        xhat, rstd, weight = ctx.saved_tensors
        dxhat = dout * weight
        dx = rstd * (dxhat - dxhat.mean(-1, keepdim=True))
        return dx, (dout * xhat).sum(0), dout.sum(0)


torch.manual_seed(0)
inputs = [torch.randn(5, 4), torch.randn(4), torch.randn(4)]
