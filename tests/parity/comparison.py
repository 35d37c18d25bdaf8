"""What the parity tests share: weights worth comparing on, and the comparison."""

import numpy as np

NEEDS_TORCH = "PyTorch is not installed; these tests compare with it, `pip install -e '.[parity]'` brings it"
NEEDS_TRANSFORMERS = (
    "transformers is not installed; these tests exchange checkpoints with it, `pip install -e '.[parity]'` brings it"
)


def randomize(model, rng):
    """Fills every parameter with random values at which the derivative of every other one is of order 1.

    A fresh model's 0.02 would hide mistakes: attention is uniform, GELU linear, every residual branch tiny. So matrices
    get variance 1/fan_in, LayerNorms a gain of either sign, and nothing stays at 0 or 1.
    """
    for name, current in model.params.items():
        values = rng.standard_normal(current.shape)
        if name.split(".")[-2].startswith("ln_") and name.endswith("weight"):
            values = rng.uniform(0.5, 1.5, current.shape) * np.sign(values)
        elif values.ndim == 1:
            values *= 0.5
        elif name in ("wte.weight", "wpe.weight"):
            values /= np.sqrt(current.shape[1])  # the head multiplies by wte's transpose: its fan-in is C
        else:
            values /= np.sqrt(current.shape[0])
        model.params[name] = values.astype(current.dtype)


def random_batch(config, B, T, rng):
    """idx and targets, (B, T) each: tokens repeat, about a quarter of the targets are ignored, the last one is not."""
    idx = rng.integers(config.vocab_size, size=(B, T))
    idx[:, 1::4] = idx[:, : T - 1 : 4]
    targets = rng.integers(config.vocab_size, size=(B, T))
    targets[rng.random((B, T)) < 0.25] = -1
    targets[-1, -1] = config.vocab_size - 1
    return idx, targets


def relative_error(a, b):
    """||a - b|| / max(||a||, ||b||), computed in float64; 0 where both are zero, NaN where either holds a NaN."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    assert a.shape == b.shape, f"shapes differ: {a.shape} and {b.shape}"
    scale = np.maximum(np.linalg.norm(a), np.linalg.norm(b))
    return float(np.linalg.norm(a - b) / scale) if scale != 0 else 0.0


def assert_agree(ours, theirs, tolerance):
    """Every tensor of `ours` is within `tolerance` of its namesake in `theirs`; a failure lists those that are not."""
    assert ours.keys() == theirs.keys()
    errors = {name: relative_error(ours[name], theirs[name]) for name in ours}
    wrong = {name: error for name, error in errors.items() if not error <= tolerance}
    table = "\n".join(f"{name:28} {error:.1e}" for name, error in wrong.items())
    assert not wrong, f"relative errors above {tolerance:.0e} in {len(wrong)} of {len(errors)} tensors:\n{table}"
