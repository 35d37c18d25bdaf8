"""AdamW's whole step on a card, held against the general step with the definition's rule."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tinygpt import emulator
from tinygpt.backend import to_host
from tinygpt.kernels.cuda import adamw as twin
from tinygpt.kernels.cuda.compiled import Kernels
from tinygpt.optim import AdamW, adamw_update, global_norm
from tinygpt.parameters import Parameters

TOLERANCE = {"float64": 1e-12, "float32": 1e-6}
SHAPES = {"w": (61, 37), "b": (5,), "emb": (7, 3, 2), "gain": (3001,)}


@pytest.fixture(autouse=True)
def card():
    with strict_cupy.installed() as card:
        yield card


def numbers(dtype="float64", shapes=SHAPES, size=1.0, seed=0):
    """The same parameters, or gradients, on the card and on the host."""
    on_card, on_host = (Parameters(shapes, dtype, device) for device in ("cuda", "cpu"))
    rng = np.random.default_rng(seed)
    for name, shape in shapes.items():
        on_card[name] = on_host[name] = (size * rng.standard_normal(shape)).astype(dtype)
    return on_card, on_host


def optimizers(dtype="float64", shapes=SHAPES, **settings):
    on_card, on_host = numbers(dtype, shapes)
    return AdamW(on_card, **settings), AdamW(on_host, update=adamw_update, **settings)


def buffers(optimizer):
    return [to_host(p.flat) for p in (optimizer.params, optimizer.m, optimizer.v)]


def assert_near(a, b, tolerance):
    assert a.dtype == b.dtype and a.shape == b.shape
    assert np.abs(a - b).max(initial=0) <= tolerance * np.abs(b).max(initial=0)


def assert_steps_agree(both, gradients, lr=0.01, max_norm=0.0, tolerance=None):
    (ours, right), (grads, grads_on_host) = both, gradients
    norm, expected = ours.step(grads, lr, max_norm), right.step(grads_on_host, lr, max_norm)
    tolerance = tolerance or TOLERANCE[right.params.dtype.name]
    assert_near(to_host(norm), np.asarray(expected), tolerance)
    for a, b in zip(buffers(ours), buffers(right), strict=True):
        assert_near(a, b, tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("max_norm", [0.0, 1.0, 1e4])
@pytest.mark.parametrize(
    "shapes",
    [SHAPES, {"w": (1, 1)}, {"b": (1,)}, {"w": (3, 5), "b": (1,)}, {"b": (1023,)}, {"w": (41, 125)}],
    ids=["both kinds", "one decayed", "one not decayed", "one of each", "none decayed", "all decayed"],
)
def test_a_step_is_the_definitions(shapes, max_norm, dtype):
    both = optimizers(dtype, shapes)
    for seed in (1, 2):
        assert_steps_agree(both, numbers(dtype, shapes, seed=seed), max_norm=max_norm)
        for a, b in zip(buffers(both[0]), (both[1].params, both[1].m, both[1].v), strict=True):
            b.flat[...] = a  # each step from the same numbers


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-11), ("float32", 1e-5)])
def test_many_steps_are_the_definitions(dtype, tolerance):
    both = optimizers(dtype, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.3)
    for step in range(60):
        gradients = numbers(dtype, size=10.0 ** (step % 3 - 1), seed=step)
        assert_steps_agree(both, gradients, lr=0.02 / (1 + step), max_norm=20.0 * (step % 2), tolerance=tolerance)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_blocks_that_go_round_more_than_once_leave_nothing_out(blocks, monkeypatch):
    monkeypatch.setattr(twin, "PARTS", blocks)
    monkeypatch.setattr(twin, "BLOCKS", blocks)
    shapes = {"w": (91, 67), "b": (2113,)}
    both = optimizers("float64", shapes)
    assert_steps_agree(both, numbers("float64", shapes, seed=1), max_norm=1.0)


@pytest.mark.parametrize("dtype, least, most", [("float32", 1e-15, 1e15), ("float64", 1e-150, 1e150)])
def test_norms_of_tiny_and_of_huge_gradients(dtype, least, most):
    for size in (least, 1.0, most):
        assert_steps_agree(optimizers(dtype), numbers(dtype, size=size, seed=1), max_norm=1.0)


def test_a_norm_of_many_numbers_is_as_good_as_a_pairwise_sum(monkeypatch):
    monkeypatch.setattr(twin, "PARTS", 8)  # a thread goes round 32 times, as with 124 million numbers
    grads, on_host = numbers("float32", {"b": (1 << 20,)})
    exact = math.sqrt((on_host.flat.astype(np.float64) ** 2).sum())
    norm = float(to_host(AdamW(grads.zeros_like()).step(grads, 0.1)))
    assert abs(norm / exact - 1) < abs(float(global_norm(on_host.values())) / exact - 1) + 2e-7


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("max_norm", [0.0, 1.0])
def test_gradients_that_are_not_finite_are_seen_in_the_norm(wrong, max_norm):
    """1e30 is finite, but its square is not, in float32."""
    ours, right = optimizers("float32")
    grads, on_host = numbers("float32", seed=1)
    values = on_host["w"].copy()
    values[60, 36] = wrong
    grads["w"] = on_host["w"] = values
    with np.errstate(all="ignore"):
        norm, expected = to_host(ours.step(grads, 0.1, max_norm)), right.step(on_host, 0.1, max_norm)
        np.testing.assert_array_equal(norm, expected)
        assert not np.isfinite(norm)
        for a, b in zip(buffers(ours), buffers(right), strict=True):
            np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_gradients_are_not_written_to_and_gaps_stay_zero():
    (ours, _), (grads, on_host) = optimizers(), numbers(seed=1)
    for _ in range(3):
        ours.step(grads, 0.1, 1.0)
    np.testing.assert_array_equal(to_host(grads.flat), on_host.flat)
    for p in (ours.params, ours.m, ours.v):
        used = sum(np.abs(to_host(array)).sum() for array in p.values())
        assert np.abs(to_host(p.flat)).sum() == pytest.approx(used, rel=1e-12)
        assert all(np.count_nonzero(to_host(array)) == array.size for array in p.values())


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_step_is_two_kernels_and_one_upload(card, dtype):
    (ours, _), (grads, _) = optimizers(dtype), numbers(dtype, seed=1)
    for _ in range(2):
        card.reset()
        ours.step(grads, 0.1, 1.0)
        assert [launch.what for launch in card.launches] == ["sum_squares", "adamw"]
        assert [upload.nbytes for upload in card.uploads] == [3 * grads.dtype.itemsize]
        assert not card.syncs and not card.copies


def test_what_a_launch_is_told_is_the_same_in_every_step(monkeypatch):
    """So that a recorded step could be replayed: all that changes is in memory."""
    (ours, _), (grads, _) = optimizers(), numbers(seed=1)
    told, launch = [], Kernels.launch

    def noted(self, *arguments, **options):
        told[-1].append([x for x in arguments if not hasattr(x, "get")])
        launch(self, *arguments, **options)

    monkeypatch.setattr(Kernels, "launch", noted)
    for lr in (0.1, 0.2):
        told.append([])
        ours.step(grads, lr, 1.0)
    assert told[0] == told[1] and len(told[0]) == 2


def test_the_order_of_blocks_and_warps_leaves_no_trace(card):
    results = []
    for card.seed in range(3):
        emulator.settings.seed = card.seed
        (ours, _), (grads, _) = optimizers("float32"), numbers("float32", seed=1)
        norm = ours.step(grads, 0.1, 1.0)
        results.append([to_host(norm).tobytes(), *(array.tobytes() for array in buffers(ours))])
    emulator.settings.seed = 0
    assert results[0] == results[1] == results[2]


def test_the_definition_computes_where_it_is_asked_to(card):
    config = SimpleNamespace(kernels="reference", beta1=0.9, beta2=0.95, weight_decay=0.1)
    (on_card, _), (grads, _) = numbers(), numbers(seed=1)
    for optimizer in (AdamW.from_config(on_card, config), AdamW(on_card, update=adamw_update)):
        card.reset()
        optimizer.step(grads, 0.1, 1.0)
        assert "adamw" not in {launch.what for launch in card.launches}


def test_a_rule_of_ones_own_is_asked(card):
    seen = []

    class Own(AdamW):
        def apply(self, w, dw, lr, decayed, **state):
            seen.append((w.size, decayed))

    (on_card, on_host), (grads, _) = numbers(), numbers(seed=1)
    Own(on_card).step(grads, 0.1)
    decayed = on_card.n_decayed
    assert seen == [(decayed, True), (len(on_card.flat) - decayed, False)]
    np.testing.assert_array_equal(to_host(on_card.flat), on_host.flat)


def test_steps_are_counted_and_moments_kept_as_ever(card):
    ours, right = optimizers()
    for seed in (1, 2):
        assert_steps_agree((ours, right), numbers(seed=seed))
    assert ours.steps == right.steps == 2 and ours.state.keys() == right.state.keys()
    resumed = AdamW(ours.params)
    resumed.m.flat[...], resumed.v.flat[...], resumed.steps = ours.m.flat, ours.v.flat, ours.steps
    assert_steps_agree((resumed, right), numbers(seed=3))
