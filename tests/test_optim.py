import math
from types import SimpleNamespace

import numpy as np
import pytest

from tinygpt import kernels
from tinygpt.backend import BLOCK
from tinygpt.errors import UserError
from tinygpt.optim import AdamW, Optimizer, adamw_update, cosine_schedule, find, global_norm
from tinygpt.parameters import Parameters

SHAPES = {"w": (3, 5), "b": (5,), "emb": (7, 3), "gain": (3,)}


def filled(rng, shapes=SHAPES, dtype="float64") -> Parameters:
    params = Parameters(shapes, dtype)
    for name, shape in shapes.items():
        params[name] = rng.standard_normal(shape)
    return params


def test_parameters_are_aligned_views_with_the_decayed_ones_first(rng):
    params = filled(rng)
    assert list(params) == list(SHAPES)  # in the order given, whatever their places
    places = {name: (a.ctypes.data - params.flat.ctypes.data) // 8 for name, a in params.items()}
    assert all(np.shares_memory(array, params.flat) and array.ctypes.data % 64 == 0 for array in params.values())
    assert max(places["w"], places["emb"]) < params.n_decayed <= min(places["b"], places["gain"])


def test_one_step_by_hand():
    w, m, v = np.array([2.0]), np.array([0.0]), np.array([0.0])
    adamw_update(w, np.array([0.5]), m, v, 1, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.5)
    # the first step's moments, corrected, are g and g^2, so the update is lr * sign(g); decay first: 2 * (1 - 0.05)
    np.testing.assert_allclose([w[0], m[0], v[0]], [1.9 - 0.1 / (1 + 2e-8), 0.05, 0.0025], rtol=1e-14)


def adamw_by_loops(w, gradients, lr, betas, eps, decay):
    """Kingma and Ba's algorithm for one number, with decoupled decay."""
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        w = w - lr * decay * w - lr * (m / (1 - betas[0] ** t)) / (math.sqrt(v / (1 - betas[1] ** t)) + eps)
    return w


def test_many_steps_equal_the_algorithm_number_by_number(rng):
    params = filled(rng)
    start = {name: array.copy() for name, array in params.items()}
    optimizer = AdamW(params, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.3)
    history = []
    for _ in range(7):
        grads = filled(rng)
        history.append({name: array.copy() for name, array in grads.items()})
        optimizer.step(grads, lr=0.02)
    for name, array in params.items():
        decay = 0.3 if array.ndim == 2 else 0.0
        for place in np.ndindex(array.shape):
            gradients = [grads[name][place] for grads in history]
            expected = adamw_by_loops(start[name][place], gradients, 0.02, (0.8, 0.95), 1e-6, decay)
            np.testing.assert_allclose(array[place], expected, rtol=1e-12)


def test_blocks_cover_everything_once_and_gaps_stay_zero(rng):
    shapes = {"w": (3, BLOCK // 2 + 1), "b": (2 * BLOCK + 3,)}
    params, grads = filled(rng, shapes), filled(rng, shapes)
    before = params.flat.copy()
    AdamW(params, weight_decay=0.0).step(grads, lr=1.0)
    moved = params.flat != before
    assert moved.sum() == sum(array.size for array in params.values())
    used = np.concatenate([array.reshape(-1) for array in params.values()])
    assert params.flat.sum() == pytest.approx(used.sum(), rel=1e-9)


def test_clipping_scales_only_what_is_too_long(rng):
    grads = filled(rng)
    norm = math.sqrt(sum((array**2).sum() for array in grads.values()))
    np.testing.assert_allclose(global_norm(grads.values()), norm, rtol=1e-14)
    results = []
    for max_norm, scale in ((norm / 3, 1 / 3), (norm * 3, 1.0), (0.0, 1.0)):
        clipped, by_hand = filled(np.random.default_rng(1)), filled(np.random.default_rng(1))
        optimizer, reference = AdamW(clipped, eps=0.1), AdamW(by_hand, eps=0.1)  # a large eps, so that scale matters
        assert optimizer.step(grads, 0.1, max_norm) == pytest.approx(norm, rel=1e-12)
        scaled = grads.zeros_like()
        scaled.flat[...] = grads.flat * scale
        reference.step(scaled, 0.1)
        np.testing.assert_allclose(clipped.flat, by_hand.flat, rtol=1e-6)
        results.append(clipped.flat.copy())
    assert not np.allclose(results[0], results[1]) and np.array_equal(results[1], results[2])


def test_gradients_are_not_written_to(rng):
    params, grads = filled(rng), filled(rng)
    before = grads.flat.copy()
    AdamW(params).step(grads, 0.1, max_norm=0.1)
    np.testing.assert_array_equal(grads.flat, before)


def test_float32_stays_float32(rng):
    params = filled(rng, dtype="float32")
    assert AdamW(params).step(filled(rng, dtype="float32"), 0.1, 1.0).dtype == np.float32
    assert params.flat.dtype == np.float32


def test_schedule_warms_up_then_falls_along_a_cosine():
    lr = [cosine_schedule(step, 1.0, 0.1, warmup_iters=10, lr_decay_iters=110) for step in range(130)]
    assert lr[0] == 1 / 11 and lr[9] == 10 / 11 and lr[10] == 1.0
    assert lr[60] == pytest.approx(0.55) and lr[35] == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi / 4)))
    assert lr[110:] == [0.1] * 20 and all(a > b for a, b in zip(lr[10:110], lr[11:111], strict=True))


def test_wrong_shape_is_refused(rng):
    with pytest.raises(UserError, match=r"b has shape \(5,\)"):
        filled(rng)["b"] = np.zeros(4)


def test_an_optimiser_that_is_not_elementwise_gets_each_parameter_whole(rng):
    seen = []

    class Whole(Optimizer):
        state_names = ("momentum",)
        elementwise = False

        def apply(self, w, dw, lr, decayed, **state):
            seen.append((w.shape, dw.shape, state["momentum"].shape, decayed))
            state["momentum"] += dw
            w -= lr * state["momentum"]

    params = filled(rng)
    before, grads = {name: array.copy() for name, array in params.items()}, filled(rng)
    optimizer = Whole(params)
    optimizer.step(grads, lr=0.1)
    assert seen == [(shape, shape, shape, len(shape) == 2) for shape in SHAPES.values()]
    for name in params:
        np.testing.assert_allclose(params[name], before[name] - 0.1 * grads[name])
        np.testing.assert_array_equal(optimizer.state["momentum"][name], grads[name])


def test_an_optimiser_is_found_by_the_name_of_its_file():
    assert find("adamw") is AdamW
    with pytest.raises(UserError, match="--optimizer is 'adam'; expected adamw"):
        find("adam")


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float64", 1e-14)])
def test_the_fast_twin_of_adamw_computes_the_same(rng, dtype, tolerance):
    both = []
    for rule in (adamw_update, kernels.modules("cpu")["adamw"].adamw_update):
        rng = np.random.default_rng(5)
        w, m, v = (np.zeros((7, 5), dtype) + start for start in (1.5, 0, 0))
        for step in range(1, 20):
            rule(w, rng.standard_normal((7, 5)).astype(dtype), m, v, step, 0.01, 0.9, 0.99, 1e-8, 0.1)
        both.append(np.stack((w, m, v)))
        assert w.dtype == dtype
    np.testing.assert_allclose(*both, rtol=tolerance, atol=tolerance)


def test_adamw_takes_the_fast_twin_where_there_is_one(rng):
    params = filled(rng)
    assert AdamW(params).update is kernels.modules("cpu")["adamw"].adamw_update
    assert AdamW(params, update=adamw_update).update is adamw_update
    for name, rule in (("auto", AdamW(params).update), ("reference", adamw_update)):
        config = SimpleNamespace(kernels=name, beta1=0.9, beta2=0.95, weight_decay=0.1)
        assert AdamW.from_config(params, config).update is rule
