import dataclasses
import time
import tracemalloc
import warnings
from itertools import zip_longest

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from tests.test_model import SMALL, model_with_weights_of_order_one
from tinygpt import device, ops, optim, parallel
from tinygpt.device import cpu_count
from tinygpt.errors import Note
from tinygpt.kernels.cpu.pieces import Pieces
from tinygpt.models.gpt2 import GPT, GPTConfig
from tinygpt.parallel import GradientSum, Workers, count_targets, thread_count, training_threads
from tinygpt.parameters import Parameters

rng = np.random.default_rng(0)
IDX, TARGETS = rng.integers(7, size=(5, 4)), rng.integers(-1, 7, size=(5, 4))  # an odd batch, some targets ignored


@pytest.fixture(params=["at the end", "at every addition"])
def either(request, monkeypatch):
    """When the workers' gradients are added up: those of small models, and those of models larger than a portion."""
    if request.param == "at every addition":
        monkeypatch.setattr(parallel, "PORTION", 1)


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


class Listed(dict):
    """What `grads[name] += d` adds, in order, by name."""

    def __missing__(self, name):
        return Contributions()


class Contributions(list):
    def __iadd__(self, d):
        self.append(np.asarray(d))
        return self


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_sum_is_the_plain_one_bit_for_bit(threads, either):
    """Each parameter's first contributions in the order of the workers, then their second ones."""
    model = model_with_weights_of_order_one(dtype="float32")
    listed, denominator = [], count_targets(TARGETS)
    with Workers(threads) as workers:
        grads = model.params.zeros_like()
        workers.gradients(model, IDX, TARGETS, grads, denominator)
        shards = workers._shards(len(IDX))
    for shard in shards:
        _, cache = model.loss(IDX[shard], TARGETS[shard], denominator, row=shard.start)
        listed.append(model.backward(cache, Listed()))
    for name, sum_ in model.params.zeros_like().items():
        for contributions in zip_longest(*(each[name] for each in listed)):
            for d in contributions:
                sum_ += d
        np.testing.assert_array_equal(grads[name], sum_)


def test_blocks_and_portions_of_any_size_give_the_same(monkeypatch):
    expected = loss_and_gradients(3, 0.2)[1].flat
    for block, portion in ((1, 1), (7, 1), (1, 100), (64, 1000)):
        monkeypatch.setattr(parallel, "BLOCK", block)
        monkeypatch.setattr(parallel, "PORTION", portion)
        np.testing.assert_allclose(loss_and_gradients(3, 0.2)[1].flat, expected, rtol=1e-12, atol=1e-15)


def added_up(grads, contributions):
    """`grads` after each worker has added its contributions, [(name, d), ...]."""
    total = GradientSum(grads, len(contributions))

    def work(worker, _):
        with total.part(worker) as part:
            for name, d in contributions[worker]:
                part[name] += d

    with Workers(len(contributions)) as workers:
        workers._run(work, [slice(i, i + 1) for i in range(len(contributions))], total.abandon)
    return grads


def test_a_worker_that_leaves_an_addition_out_keeps_nobody_waiting(either):
    ones = np.ones((4, 3), np.float32)
    first, second, third = [("w", ones)] * 2, [("w", 10 * ones)], [("w", 100 * ones)] * 3
    grads = added_up(Parameters({"w": (4, 3)}), [first, second, third])
    assert (grads["w"] == 2 * 1 + 1 * 10 + 3 * 100).all()


def test_additions_may_come_in_pieces_and_in_smaller_shapes(either):
    w = np.random.default_rng(1).standard_normal((3, 4, 3), dtype=np.float32)
    grads = Parameters({"w": (4, 3)})
    grads["w"] = w[2]
    contributions = [[("w", w[0])], [("w", Pieces((4, 3), "float32", lambda rows: w[1][rows]))], [("w", w[2][0])]]
    np.testing.assert_array_equal(added_up(grads, contributions)["w"], ((w[2] + w[0]) + w[1]) + w[2][0])
    with pytest.raises(ValueError, match="shape"):
        added_up(grads, [[("w", w[0])], [("w", w[0][:, :2])]])
    with pytest.raises(KeyError, match="typo"):
        added_up(grads, [[("w", w[0])], [("typo", w[0])]])


def test_a_large_models_gradients_never_exist_twice(monkeypatch):
    """Many layers, few tokens: gradients are nearly all that a step needs memory for."""
    monkeypatch.setattr(parallel, "PORTION", 50_000)
    monkeypatch.setattr(parallel, "BLOCK", 5_000)
    model = GPT(GPTConfig(vocab_size=5000, n_embd=32, n_head=1, n_layer=20, block_size=2))
    idx, grads = np.ones((3, 1), int), model.params.zeros_like()
    with Workers(3) as workers:
        tracemalloc.start()
        try:
            workers.gradients(model, idx, idx, grads, 3)
            assert tracemalloc.get_traced_memory()[1] < 0.8 * grads.flat.nbytes  # not two more buffers
        finally:
            tracemalloc.stop()


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


def test_blas_is_left_as_it_was():
    before = threadpool_info()
    with Workers(2) as workers:
        workers.gradients(model_with_weights_of_order_one(), IDX, TARGETS, loss_and_gradients(1)[1], 1.0)
    assert threadpool_info() == before


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
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_a_failing_worker_is_reported_and_the_others_do_not_wait_for_ever(failing_row, way, either):
    class Fails:
        def forward(self, x, *rest):
            fails = np.array_equal(x[0, 0], embedded)
            if fails and way == "forward":
                raise ZeroDivisionError("this worker's own error")
            return x, fails

        def backward(self, dout, fails):
            if fails:
                raise ZeroDivisionError("this worker's own error")
            return dout

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

        assert threads_inside(1) == ({8}, 1) and threads_inside(2) == ({4}, 2)  # the cores left over go to BLAS
        assert threads_inside(3) == ({1}, 3)  # but not where products would wait for each other
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


def test_a_small_model_is_trained_by_as_many_threads_as_help(monkeypatch):
    cpu = GPT(GPTConfig(vocab_size=97, n_embd=128, n_head=4, n_layer=4, block_size=64), seed=None)
    threads = {}
    for cores in (1, 2, 4, 64):
        monkeypatch.setattr(parallel, "cpu_count", lambda cores=cores: cores)
        threads[cores] = [training_threads(None, cpu, batch_size) for batch_size in (1, 12, 1000)]
        assert training_threads(7, cpu, 1) == 7
    assert threads == {1: [1, 1, 1], 2: [2, 2, 2], 4: [4, 4, 4], 64: [64, 6, 55]}


def test_many_more_workers_than_cores_come_to_the_same():
    idx, targets = rng.integers(7, size=(64, 4)), rng.integers(7, size=(64, 4))
    results = []
    for threads in (1, 64):
        model = model_with_weights_of_order_one()
        grads = model.params.zeros_like()
        with Workers(threads) as workers:
            assert workers.count in (1, threads)
            workers.gradients(model, idx, targets, grads, 256)
        results.append(grads.flat)
    np.testing.assert_allclose(*results, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(("given", "threads"), [("3", 3), (" 3 ", 3), ("3,2", 3), ("1024", 1024), ("", None)])
def test_omp_num_threads_goes_before_the_default_and_after_a_flag(given, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    model = GPT(GPTConfig(8, 10, 1, 1, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert thread_count() == (threads or cpu_count())
        assert training_threads(None, model, 4) == (threads or training_threads(cpu_count(), model, 4))
    assert thread_count(5) == training_threads(5, model, 4) == 5 and thread_count(None, "cuda") == 1


@pytest.mark.parametrize("given", ["0", "-2", "two", "2.5", "1025", "9" * 5000, "\N{SUPERSCRIPT TWO}", ",2"])
def test_an_omp_num_threads_that_is_no_number_of_threads_is_a_note(given, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    with pytest.warns(Note, match="OMP_NUM_THREADS is '.*', not a whole number from 1 to 1,024, and is left alone"):
        assert thread_count() == cpu_count()


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000"}, 2),
        ("0::/\n", {"cpu.max": "5000 100000"}, 1),
        ("0::/a/b\n", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "300000 100000"}, 1),
        ("0::/of/the/host\n", {"cpu.max": "300000 100000"}, 3),  # in a container, which sees its own group as the root
        ("3:cpuset:/\n2:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"}, 3),
        ("2:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("nonsense\n", {"cpu.max": "100000 100000"}, None),
    ],
)  # fmt: skip
def test_the_cores_are_no_more_than_a_control_group_gives_the_time_of(own, files, cores, tmp_path):
    (tmp_path / "own").write_text(own)
    for name, content in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    quota = device._cpu_quota(tmp_path / "groups", tmp_path / "own")
    assert quota == cores if cores else quota > 10_000
