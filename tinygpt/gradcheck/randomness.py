"""The same random numbers in every call, wherever they come from."""

import copy
import random
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygpt.gradcheck.trees import mapped


def call_with_fixed_random_numbers(forward: Callable, inputs: Mapping[str, Any], seed: int) -> tuple[Any, bool]:
    """forward(**inputs), drawing the same numbers each time, and whether it drew any; the states of `random`,
    `numpy.random` and PyTorch stay as they are.
    """
    torch = sys.modules.get("torch")
    kept = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002  what an imported forward may draw from
    torch_kept = torch.random.get_rng_state() if torch else None
    np.random.seed([seed, 1])  # noqa: NPY002
    random.seed(seed)
    if torch:
        torch.random.default_generator.manual_seed(seed)
    # arrays themselves, but containers and Generators to do with as it likes
    fixed = mapped(lambda x: copy.deepcopy(x) if isinstance(x, np.random.Generator) else x, inputs)
    generators = [x.bit_generator for x in fixed.values() if isinstance(x, np.random.Generator)]
    start = _states(generators)
    try:
        result = forward(**fixed)
        return result, _states(generators) != start
    finally:
        np.random.set_state(kept[0])  # noqa: NPY002
        random.setstate(kept[1])
        if torch:
            torch.random.set_rng_state(torch_kept)


def _states(generators: list) -> list[Any]:
    state = np.random.get_state(legacy=False)  # noqa: NPY002
    global_state = f"{state['state']['pos']} {state['state']['key'][0]} {state['has_gauss']}"
    torch = sys.modules.get("torch")
    of_torch = torch.random.get_rng_state().numpy().tobytes() if torch else b""
    return [global_state, random.getstate(), of_torch, *(str(g.state) for g in generators)]
