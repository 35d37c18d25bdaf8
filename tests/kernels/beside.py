"""A card's twin, on the stand-in, beside its layer's definition."""

from typing import Any

import ml_dtypes
import numpy as np

from tests.layers.implementations import each_array, leaves, random_like
from tests.parity.comparison import relative_error
from tinygpt.backend import to_device, to_host
from tinygpt.gradcheck.library import definition
from tinygpt.kernels import twins

TOLERANCE = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 1e-2}  # whose half step is 2e-3, and mlp rounds 4 times


def placed(tree: Any) -> Any:
    """A tree's arrays on the card."""
    return each_array(lambda x: to_device(x, "cuda"), tree)


def both_ways(layer: str, inputs: dict[str, Any]) -> tuple[list, list]:
    """Output and gradients by the twin, in the inputs' dtype, and by the definition, computed in float64."""
    exact = each_array(lambda x: x.astype("float64") if x.dtype.kind != "i" else x, inputs)
    out, cache = definition(layer).forward(**exact)
    twin = twins("cuda")[layer]
    ours, ours_cache = twin.forward(**placed(inputs))
    dout = random_like(ours)
    right = [out, *leaves(definition(layer).backward(dout.astype("float64"), cache))]
    got = [ours, *leaves(twin.backward(placed(dout), ours_cache))]
    parameters = {"float32"} if ours.dtype.name == "bfloat16" else {ours.dtype.name}  # theirs are never rounded
    assert {array.dtype.name for array in got[2:]} <= parameters and got[1].dtype == ours.dtype
    return [to_host(array) for array in got], right


def assert_right(layer: str, inputs: dict[str, Any]) -> None:
    """In every dtype, inputs being rounded to float32 first; beside bfloat16 vectors stay in float32."""
    for dtype, tolerance in TOLERANCE.items():
        if dtype == "bfloat16":
            given = {name: in_bfloat16(x) if name == "x" or np.ndim(x) > 1 else x for name, x in inputs.items()}
        else:
            given = each_array(lambda x, d=dtype: x.astype("float32").astype(d), inputs)
        for ours, right in zip(*both_ways(layer, given), strict=True):
            assert relative_error(ours, right) <= tolerance


def in_bfloat16(x: Any) -> Any:
    return x.astype(ml_dtypes.bfloat16) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def launches(card: Any) -> list[str]:
    """The kernels that were launched since the last reset, by name; CuPy's own beside ours."""
    return [launch.what for launch in card.launches]


def same_bits(card: Any, monkeypatch: Any, compute: Any) -> bool:
    """Whether `compute`, which returns arrays, gives the same bits whatever the order of blocks and warps."""
    from tinygpt import emulator

    results = []
    for seed in (1, 2, 3):
        card.seed = seed
        monkeypatch.setattr(emulator.settings, "seed", seed)
        results.append([to_host(array).tobytes() for array in leaves(compute())])
    return results[0] == results[1] == results[2]


def normal(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(dtype)
