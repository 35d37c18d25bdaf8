"""The head's loss on a card, held against its definition on the stand-in for one."""

import ml_dtypes  # noqa: F401, which makes bfloat16 known to NumPy
import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.parity.comparison import relative_error
from tinygpt import backend, emulator
from tinygpt.backend import to_host
from tinygpt.errors import Note
from tinygpt.kernels.cuda import lm_head_loss as twin
from tinygpt.kernels.cuda.compiled import Kernels, _told
from tinygpt.kernels.cuda.unfinished import Product
from tinygpt.layers import lm_head_loss
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.ops import DEFINITIONS

TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
EVERY = {**TOLERANCE, "bfloat16": 2e-2}  # logits and their gradient are rounded, to 2e-3 of each
V = 50257  # GPT-2's vocabulary


@pytest.fixture
def card():
    with strict_cupy.installed() as card:
        yield card


@pytest.fixture
def cupy(card):
    import cupy

    return cupy


def drawn(N, C, V, dtype="float64", size=1.0, seed=0):
    """x, w and targets, of which every third is ignored, the first and the last token among them."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(V, size=N)
    targets[1::3] = IGNORED
    targets[0], targets[-1] = 0, V - 1
    return (size * rng.standard_normal((N, C))).astype(dtype), rng.standard_normal((V, C)).astype(dtype), targets


def ours(cupy, x, w, targets, denominator=None, dout=1.7, **options):
    """Loss, dx and dw on the host."""
    loss, cache = twin.forward(*map(cupy.asarray, (x, w, targets)), denominator, ops=DEFINITIONS, **options)
    gradients = () if cache is None else twin.backward(cupy.asarray(np.array(dout, loss.dtype)), cache)
    return [to_host(array) for array in (loss, *gradients)]


def definitions(x, w, targets, denominator=None, dout=1.7):
    x, w = x.astype(np.float64), w.astype(np.float64)
    loss, cache = lm_head_loss.forward(x, w, targets, denominator, ops=DEFINITIONS)
    return [loss, *lm_head_loss.backward(np.float64(dout), cache)]


def assert_same(results, expected, names=("loss", "dx", "dw"), dtype=None):
    for name, a, b in zip(names, results, expected, strict=True):
        assert a.shape == b.shape
        error = relative_error(a.astype(np.float64), b)
        assert error < EVERY[dtype or a.dtype.name], (name, error)


@pytest.mark.parametrize("dtype", EVERY)
@pytest.mark.parametrize("vocabulary, N", [(65, 1), (65, 5), (65, 33), (V, 1), (V, 5), (1, 4), (64, 3), (513, 3)])
@pytest.mark.parametrize("C", [8, 48])
def test_it_computes_what_the_definition_does(cupy, vocabulary, N, C, dtype):
    inputs = drawn(N, C, vocabulary, dtype)
    assert_same(ours(cupy, *inputs), definitions(*inputs), dtype=dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    "kind", [int, float, np.float32, np.int64, np.array, "card", "whole numbers on the card", None]
)
def test_denominators_of_every_kind(card, cupy, kind, dtype):
    inputs = drawn(7, 5, 11, dtype)
    on_card = {"card": np.array(9, dtype), "whole numbers on the card": np.array(9)}
    given = cupy.asarray(on_card[kind]) if kind in on_card else kind and kind(9)
    expected = definitions(*inputs, kind and 9)
    assert_same(ours(cupy, *inputs, given), expected)
    assert_same(ours(cupy, *inputs, given, rows=2), expected)


@pytest.mark.parametrize("dtype", EVERY)
def test_chunks_of_any_size_give_the_same(cupy, dtype):
    inputs = drawn(7, 5, 65, dtype)
    for rows in (1, 2, 3, 6, 7, 100):
        assert_same(ours(cupy, *inputs, rows=rows), definitions(*inputs), dtype=dtype)


def test_no_rows_at_all(cupy):
    x, w, targets = np.zeros((0, 4)), np.ones((7, 4)), np.zeros(0, int)
    loss, dx, dw = ours(cupy, x, w, targets)
    assert loss == 0 and dx.shape == (0, 4) and not dw.any()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_nothing_but_ignored_targets(cupy, dtype):
    x, w, _ = drawn(5, 4, 65, dtype)
    for array in ours(cupy, x, w, np.full(5, IGNORED)):
        assert not array.any()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [1e-3, 1e2, 1e4])
@pytest.mark.parametrize("shift", [0, -1e4, 1e4])
def test_logits_of_any_size(cupy, size, shift, dtype):
    """Each row's logits around `shift`, `size` apart."""
    x, w, targets = drawn(5, 4, 600, dtype)
    x[:, 0], w[:, 0] = shift / 4, 4
    x[:, 1:], w[:, 1:] = np.eye(5, 3) * size, np.round(w[:, 1:], 2)  # products that float32 holds exactly, or nearly
    logits = (x @ w.T).astype(np.float64)  # as they were rounded
    expected, cache = DEFINITIONS.cross_entropy.forward(logits, targets)
    dlogits = DEFINITIONS.cross_entropy.backward(np.float64(1), cache)
    loss, dx, dw = ours(cupy, x, w, targets, dout=1.0)
    assert_same([loss, dx, dw], [expected, dlogits @ w, dlogits.T @ x])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_logit_of_minus_infinity_is_a_token_that_cannot_be(cupy, dtype):
    x, w, targets = np.ones((4, 3), dtype), drawn(4, 3, 65, dtype)[1], np.array([3, 11, IGNORED, 64])
    w[:8], w[8:40:2] = -np.inf, -np.inf  # whole packs of a thread among them
    w[3] = 0.5
    with np.errstate(invalid="ignore"):  # in dx: 0 times infinity
        (loss, _, dw), (our_loss, _, our_dw) = definitions(x, w, targets), ours(cupy, x, w, targets)
        assert_same([our_loss, our_dw], [loss, dw], names=("loss", "dw"))
        targets[1] = 2
        assert definitions(x, w, targets)[0] == ours(cupy, x, w, targets)[0] == np.inf


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 599])
def test_what_is_not_finite_is_seen(cupy, wrong, place):
    x, w, targets = drawn(5, 4, 600, "float32")
    w[place] = wrong
    with np.errstate(all="ignore"):
        loss, dx, _ = ours(cupy, x, w, targets)
    assert np.isnan(loss) and np.isnan(dx[0]).all()


def test_evaluation_keeps_nothing_and_writes_no_gradient(card, cupy):
    x, w, targets = inputs = drawn(5, 4, 65)
    on_card = [*map(cupy.asarray, inputs)]
    card.reset()
    loss, cache = twin.forward(*on_card, 9.0, need_grad=False, ops=DEFINITIONS)
    assert cache is None and [launch.what for launch in card.launches] == ["gemm", "cross_entropy", "sum_losses"]
    np.testing.assert_allclose(to_host(loss), definitions(x, w, targets, 9.0)[0])


def test_a_step_queues_seven_things_and_never_waits(card, cupy):
    on_card = [*map(cupy.asarray, drawn(5, 4, 65))]
    dout = cupy.asarray(np.float64(1))
    total = cupy.zeros((65, 4))
    card.reset()
    _, cache = twin.forward(*on_card, 9.0, ops=DEFINITIONS)
    _, dw = twin.backward(dout, cache)
    dw.add_all([(dw, total)])
    assert not card.syncs and not card.uploads and not card.copies
    forward, backward = ["gemm", "cross_entropy", "gemm", "sum_losses"], ["multiply", "multiply", "gemm"]
    assert [launch.what for launch in card.launches] == forward + backward


@pytest.mark.parametrize("rows", [None, 2])
def test_nothing_of_the_size_of_the_logits_exists_twice(card, cupy, rows):
    """Beside inputs and gradients there are the logits, whole or of a chunk, and little more."""
    N, C, vocabulary = 64, 2, 4096
    on_card = [*map(cupy.asarray, drawn(N, C, vocabulary))]
    before, card.total = card.used, card.used
    _, cache = twin.forward(*on_card, 9.0, ops=DEFINITIONS, rows=rows)
    twin.backward(cupy.asarray(np.float64(1)), cache)
    logits, gradients = (rows or N) * vocabulary * 8, (N + vocabulary) * C * 8
    assert logits < card.total - before < logits + 2 * gradients + (1 << 15)


def test_the_weights_gradient_is_left_to_cublas_where_the_logits_are_whole(cupy):
    on_card = [*map(cupy.asarray, drawn(5, 4, 65))]
    for rows, kind in ((None, Product), (5, Product), (3, cupy.ndarray)):
        _, cache = twin.forward(*on_card, ops=DEFINITIONS, rows=rows)
        assert type(twin.backward(cupy.asarray(np.float64(1)), cache)[1]) is kind


def test_inputs_and_the_cache_are_not_written_to(cupy):
    x, w, targets = inputs = drawn(5, 4, 65)
    on_card = [*map(cupy.asarray, inputs)]
    _, cache = twin.forward(*on_card, ops=DEFINITIONS)
    dout = cupy.asarray(np.float64(1))
    first, second = ([to_host(d) for d in twin.backward(dout, cache)] for _ in range(2))
    for a, b in zip(map(to_host, on_card), (x, w, targets), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_order_of_blocks_and_warps_leaves_no_trace(card, cupy):
    inputs, results = drawn(5, 4, 2500, "float32"), []
    for card.seed in range(3):
        emulator.settings.seed = card.seed
        results.append(ours(cupy, *inputs))
    emulator.settings.seed = 0
    for other in results[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("vocabulary, stride", [(1, 64), (64, 64), (65, 128), (V, 50304)])
def test_cublas_finds_rows_of_logits_multiples_of_64_apart(cupy, vocabulary, stride, monkeypatch):
    asked, cublas = [], backend._cublas

    def spy(a, b, out, sizes, transposed, beta):
        asked.extend(row for x, row, _ in (a, b, out) if x.shape[-1] == vocabulary)
        cublas(a, b, out, sizes, transposed, beta)

    monkeypatch.setattr(backend, "_cublas", spy)
    for rows in (None, 2):
        ours(cupy, *drawn(4, 8, vocabulary, "float32"), rows=rows)
    assert asked == [stride] * len(asked) and len(asked) == 3 + 2 * 3


def test_a_chunk_takes_a_small_part_of_the_card(card, cupy, monkeypatch):
    card.total_memory = 16 << 30
    memory = twin._card_memory.__wrapped__(cupy)
    assert memory == 16 << 30
    assert 1000 < memory / twin.SHARE / (50304 * 4) < 6000  # of GPT-2's rows: enough to keep a card busy
    sizes, launch = [], Kernels.launch

    def noted(self, kernel, grid, *rest, **options):
        sizes.append((kernel, grid))
        launch(self, kernel, grid, *rest, **options)

    monkeypatch.setattr(Kernels, "launch", noted)
    monkeypatch.setattr(twin, "_card_memory", lambda _: 16 * (3 * 128 * 8 + 1))  # three rows of a vocabulary of 65
    inputs = drawn(7, 4, 65)
    assert_same(ours(cupy, *inputs, 9.0), definitions(*inputs, 9.0))
    assert sizes == [("cross_entropy", 3), ("cross_entropy", 3), ("cross_entropy", 1), ("sum_losses", 1)]


def test_what_the_kernel_does_not_take_the_definition_does(cupy):
    x, w, targets = drawn(5, 4, 7)
    for given in ((x.astype(np.float16), w.astype(np.float16)), (x.astype(np.float32), w)):
        _told.clear()
        with pytest.warns(Note, match="the kernel of lm_head_loss does not take float"):
            results = ours(cupy, *given, targets)
        for a, b in zip(results, definitions(*given, targets), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-2)
        assert len(ours(cupy, *given, targets, need_grad=False)) == 1


def test_other_layouts_and_smaller_whole_numbers(cupy):
    x, w, targets = drawn(6, 4, 9)
    turned = cupy.asarray(np.ascontiguousarray(x.T)).T, cupy.asarray(np.ascontiguousarray(w.T)).T
    every_second = cupy.asarray(np.repeat(targets, 2).astype(np.int32))[::2]
    loss, cache = twin.forward(*turned, every_second, ops=DEFINITIONS)
    results = [to_host(array) for array in (loss, *twin.backward(cupy.asarray(np.float64(1.7)), cache))]
    assert_same(results, definitions(x, w, targets))
