import dataclasses
import sys
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from tests.test_model import SMALL, model_with_weights_of_order_one
from tinygpt import ops, optim, parallel
from tinygpt.device import cpu_count
from tinygpt.kernels.cpu import pieces
from tinygpt.kernels.cpu.pieces import Pieces
from tinygpt.parallel import MOST, BufferEach, Workers, count_targets, thread_count
from tinygpt.parameters import Parameters
from tinygpt.turns import Turns

rng = np.random.default_rng(0)
IDX, TARGETS = rng.integers(7, size=(5, 4)), rng.integers(-1, 7, size=(5, 4))  # an odd batch, some targets ignored


@pytest.fixture(params=["a buffer each", "turns"])
def either(request, monkeypatch):
    """Both ways of adding up: that of small models, and that of models whose second buffer would be large."""
    monkeypatch.setattr(parallel, "LARGE", 0 if request.param == "turns" else parallel.LARGE)
    return request.param


def loss_and_gradients(threads, dropout=0.0, dtype="float64"):
    model = model_with_weights_of_order_one(dataclasses.replace(SMALL, dropout=dropout), dtype=dtype)
    grads = model.params.zeros_like()
    with Workers(threads) as workers:
        loss = workers.gradients(model, IDX, TARGETS, grads, count_targets(TARGETS), step=4, row=10)
    return float(loss), grads


@pytest.mark.parametrize("threads", [2, 3, 5, 8])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_any_number_of_workers_gives_one_workers_result(threads, dropout, either):
    loss, grads = loss_and_gradients(threads, dropout)
    expected_loss, expected = loss_and_gradients(1, dropout)
    assert loss == pytest.approx(expected_loss, rel=1e-13)
    for name in expected:
        np.testing.assert_allclose(grads[name], expected[name], rtol=1e-9, atol=1e-13)


def test_the_same_number_of_workers_gives_the_same_bits(either):
    runs = [loss_and_gradients(3, 0.2, "float32") for _ in range(20)]
    assert len({loss for loss, _ in runs}) == 1
    assert all(np.array_equal(grads.flat, runs[0][1].flat) for _, grads in runs)


@pytest.mark.parametrize("piece", [1, 7])
def test_gradients_in_pieces_are_the_same_and_the_same_bits_every_time(piece, either, monkeypatch):
    expected = loss_and_gradients(3, 0.2, "float32")[1]
    monkeypatch.setattr(pieces, "PIECE", piece)
    runs = [loss_and_gradients(3, 0.2, "float32")[1].flat for _ in range(10)]
    np.testing.assert_allclose(runs[0], expected.flat, rtol=1e-4, atol=1e-6)
    assert all(np.array_equal(run, runs[0]) for run in runs)


def test_a_worker_that_leaves_an_addition_out_keeps_nobody_waiting():
    turns = Turns(Parameters({"w": (4, 3)}), 3)

    def work(worker, _):
        with turns.of(worker) as mine:
            for repeat in range(3):
                if (worker, repeat) not in ((0, 1), (1, 1), (1, 2)):
                    mine["w"] += np.full((4, 3), 10.0**worker)

    with Workers(3) as workers:
        workers._run(work, [slice(i, i + 1) for i in range(3)])
    assert (turns.grads["w"] == 2 * 1 + 1 * 10 + 3 * 100).all()


@pytest.mark.parametrize("moment", ["submitting", "waiting"])
def test_an_interrupt_ends_all_workers_first(moment, either, monkeypatch):
    model = model_with_weights_of_order_one()
    grads = model.params.zeros_like()
    with Workers(3) as workers:
        if moment == "submitting":
            submit, calls = workers._pool.submit, []

            def interrupted(*arguments):
                calls.append(arguments)
                if len(calls) == 2:  # the first worker has started, and will wait for the others' turns
                    raise KeyboardInterrupt
                return submit(*arguments)

            monkeypatch.setattr(workers._pool, "submit", interrupted)
        else:
            wait, calls = parallel.wait, []

            def interrupted_once(futures):
                calls.append(futures)
                if len(calls) == 1:
                    raise KeyboardInterrupt
                return wait(futures)

            monkeypatch.setattr(parallel, "wait", interrupted_once)
        with pytest.raises(KeyboardInterrupt):
            workers.gradients(model, IDX, TARGETS, grads, 1.0)
        after = grads.flat.copy()
        time.sleep(0.05)
        np.testing.assert_array_equal(grads.flat, after)


def test_workers_whose_gradients_come_in_different_pieces_wait_for_each_other():
    """The first adds the whole at once, the second row by row, the third in halves; twice over."""
    grads = Parameters({"w": (4, 3)})
    turns = Turns(grads, 3)
    rng = np.random.default_rng(1)
    w = rng.standard_normal((2, 3, 4, 3), dtype=np.float32)
    parts = [[...], [slice(i, i + 1) for i in range(4)], [slice(0, 2), slice(2, 4)]]
    added = []

    def work(worker, _):
        with turns.of(worker) as mine:
            for repeat in range(2):
                d = w[repeat, worker]

                def part(index, d=d):
                    time.sleep(0.001 * (3 - worker))  # the last would be first
                    added.append(worker)
                    return d[index]

                mine["w"] += Pieces(d.shape, d.dtype, parts[worker], part)

    with Workers(3) as workers:
        workers._run(work, [slice(i, i + 1) for i in range(3)])
    expected = np.zeros((4, 3), np.float32)
    for d in w.reshape(6, 4, 3):
        expected += d
    np.testing.assert_array_equal(grads["w"], expected)
    assert len(added) == 2 * 7


def test_a_step_of_the_optimiser_spread_over_threads_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr("tinygpt.optim.optimizer.BLOCK", 50)
    results = []
    for threads in (None, 1, 2, 5):
        model, grads = model_with_weights_of_order_one(dtype="float32"), loss_and_gradients(1, dtype="float32")[1]
        optimizer = optim.AdamW(model.params)
        with Workers(threads) as workers:
            norms = [optimizer.step(grads, 0.1, 0.5, workers.map if threads else map) for _ in range(3)]
        results.append((norms, model.params.flat.copy()))
    assert all(norms == results[0][0] and np.array_equal(flat, results[0][1]) for norms, flat in results)


def test_map_keeps_the_order_and_shows_the_error():
    with Workers(3) as workers:
        assert workers.map(lambda x: x * x, range(10)) == [x * x for x in range(10)]
        with pytest.raises(ZeroDivisionError):
            workers.map(lambda x: 1 / x, [2, 1, 0])


def test_the_interpreter_and_blas_are_left_as_they_were():
    before = sys.getswitchinterval(), threadpool_info()
    with Workers(2):
        assert sys.getswitchinterval() < before[0]
    assert (sys.getswitchinterval(), threadpool_info()) == before


def test_gradients_are_added_to_what_is_there():
    model = model_with_weights_of_order_one()
    grads = model.params.zeros_like()
    with Workers(2) as workers:
        for _ in range(2):
            workers.gradients(model, IDX, TARGETS, grads, count_targets(TARGETS), step=4)
    np.testing.assert_allclose(grads.flat, 2 * loss_and_gradients(2)[1].flat, rtol=1e-12, atol=1e-15)


def test_evaluation_equals_the_models_own():
    model = model_with_weights_of_order_one()
    for threads in (1, 2, 9):
        with Workers(threads) as workers:
            loss = workers.loss(model, IDX, TARGETS)
        assert float(loss) == pytest.approx(float(model.loss(IDX, TARGETS, need_grad=False)[0]), rel=1e-13)


def test_evaluation_drops_nothing_out():
    model = model_with_weights_of_order_one(dataclasses.replace(SMALL, dropout=0.5))
    with Workers(2) as workers:
        loss = workers.loss(model, IDX, TARGETS)
    expected = model_with_weights_of_order_one().loss(IDX, TARGETS, need_grad=False)[0]
    assert float(loss) == pytest.approx(float(expected), rel=1e-13)


@pytest.mark.parametrize("failing_row", [0, 4])
def test_a_failing_worker_is_reported_and_the_others_do_not_wait_for_ever(failing_row):
    class Fails:
        def forward(self, x, *rest):
            if np.array_equal(x[0, 0], embedded):
                raise ZeroDivisionError("this worker's own error")
            return ops.DEFINITIONS.dropout.forward(x, *rest)

        backward = staticmethod(ops.DEFINITIONS.dropout.backward)

    model = model_with_weights_of_order_one(ops=ops.DEFINITIONS.replace(dropout=Fails()))
    idx = np.arange(20).reshape(5, 4) % 6
    with Workers(5) as workers:
        embedded = model.params["wte.weight"][idx[failing_row, 0]] + model.params["wpe.weight"][0]
        with pytest.raises(ZeroDivisionError, match="own error"):
            workers.gradients(model, idx, idx, model.params.zeros_like(), 20.0)


def test_each_worker_computes_on_its_share_of_blas_threads():
    with Workers(8) as workers:
        if workers.count == 1:  # a BLAS that cannot be told, such as Accelerate, does as it sees fit
            return

        def threads_inside(rows):
            shards = workers._shards(rows)
            seen = workers._run(lambda *_: {lib["num_threads"] for lib in workers._blas.info()}, shards)
            return set.union(*seen), len(shards)

        assert threads_inside(2) == ({4}, 2)  # the cores left over go to BLAS
        assert threads_inside(8) == ({1}, 8)
        assert threads_inside(100) == ({1}, 8)


def test_a_card_is_kept_busy_by_one_thread_and_a_cpu_by_as_many_as_asked():
    assert thread_count(4, "cuda") == thread_count(None, "cuda") == 1
    assert thread_count(4, "cpu") == 4 and thread_count() == cpu_count()


def test_shares_are_consecutive_and_as_even_as_can_be():
    workers = Workers(3)
    workers.count = 3
    assert workers._shards(2) == [slice(0, 1), slice(1, 2)]
    assert workers._shards(5) == [slice(0, 1), slice(1, 3), slice(3, 5)]


def test_a_second_buffer_is_taken_where_it_is_small_and_kept_for_the_next_step(monkeypatch):
    model = model_with_weights_of_order_one()
    grads = model.params.zeros_like()
    with Workers(2) as workers:
        first = workers._sum(grads, 2)
        assert isinstance(first, BufferEach) and workers._sum(grads, 2) is first
        assert workers._sum(grads, 1) is not first and not workers._sum(grads, 1).others
        monkeypatch.setattr(parallel, "LARGE", grads.flat.nbytes - 1)
        assert isinstance(workers._sum(grads, 2), Turns)


def test_the_plain_sum_adds_to_what_is_there_in_the_order_of_the_workers():
    rng = np.random.default_rng(2)
    grads = Parameters({"w": (300, 300)})
    start = grads["w"][...] = rng.standard_normal((300, 300), dtype=np.float32)
    start = start.copy()
    total = BufferEach(grads, 3)
    d = rng.standard_normal((3, 300, 300), dtype=np.float32)
    for worker in (2, 0, 1):
        with total.of(worker) as own:
            own["w"] += d[worker]
    for block in total.blocks:
        total.add(block)
    np.testing.assert_array_equal(grads["w"], ((start + d[0]) + d[1]) + d[2])


def test_many_threads_are_few_workers_and_more_threads_for_blas():
    workers = Workers(64)
    assert workers.threads == 64 and workers.count <= MOST
