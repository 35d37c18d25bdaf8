"""Fast twins for NumPy: work in blocks that fit a core's cache, in place, with sums left to BLAS."""

from tinygpt.kernels.cpu import attention, embedding, gelu, layernorm, linear, lm_head_loss, pieces

__all__ = ["attention", "embedding", "gelu", "layernorm", "linear", "lm_head_loss", "pieces"]
