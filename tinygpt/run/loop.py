"""The training loop: a generator of records over a state that the caller owns. It knows no screen."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import numpy as np

from tinygpt.backend import Array, array_module, device_module, tf32_products, to_host
from tinygpt.data import Batch
from tinygpt.device import keep_freed_pages, product_rate
from tinygpt.errors import TextError, UserError
from tinygpt.models.gpt2 import GPT, training_flops
from tinygpt.parallel import Workers, count_targets
from tinygpt.parameters import Parameters
from tinygpt.random import generator
from tinygpt.run.alike import check_replicas
from tinygpt.run.folder import current, set_aside
from tinygpt.run.group import ALONE, Everyones, Group
from tinygpt.run.lock import owned
from tinygpt.run.ring import sum_in_a_ring
from tinygpt.run.rows import own_rows
from tinygpt.run.state import EvalRecord, Record, StepRecord, TrainState
from tinygpt.run.store import save, save_weights

RATE_SECONDS = 1.0  # to find a card's largest rate of matrix products in
# A step's micro-batches, with the place of each one's first row in the step, and the number of targets on all ranks
Batches: TypeAlias = tuple[list[tuple[int, Array, Array]], int]


def train(state: TrainState) -> Iterator[Record]:
    """Train from where `state` stands to `max_iters`, or until `patience` evaluations in a row have found no lower
    validation loss, yielding a record for each step and each evaluation. Each evaluation, the first before any step,
    saves the run and, if it is the best so far, the weights; between them a clock saves the run. Setting `state.stop`
    ends the loop soon, with everything saved: a step that is under way is dropped, since the weights are still those of
    the step before. Raises UserError when the loss, the gradient or a weight is no longer finite; what was last saved
    is then from before. Raises UserError if another process trains in `out_dir`, or has trained the run on since
    `state` was read. Where several ranks share the run each of them calls this, and rank 0 alone writes.
    """
    keep_freed_pages()
    config, model, group = state.config, state.model, state.group
    state.ending, state.problem = False, None  # which an earlier call may have left
    grads = model.params.zeros_like()
    measured: Array | None = None  # loss and gradient norm of the last step, still on the device
    first = state.step + 1  # is read too, so that a slow run soon says how slow
    more = not config.eval_only
    with ExitStack() as stack:
        if more:
            group.first(lambda: _own_folder(state, stack))
        workers = stack.enter_context(Workers(state.threads))
        stack.enter_context(tf32_products(config.tf32, model.device))
        if model.device == "cuda" and not config.eval_only:
            state.product_rate = product_rate(model.device, model.dtype, RATE_SECONDS)
        saved = clock = time.perf_counter()
        clock_step = state.step
        batches = _batches(state) if more and state.step < config.max_iters else None
        while True:
            due = state.step % config.eval_interval == 0 or state.step >= config.max_iters
            began = time.perf_counter()
            overdue = state.hear(bool(config.save_minutes) and began - saved >= 60 * config.save_minutes)
            if (due and state.evaluated_step != state.step) or config.eval_only:
                _check_finite(state, measured)
                record = evaluate(state, workers)
                saved = time.perf_counter()
                if record is not None:
                    yield record
                    state.hear()
            elif overdue:
                if state.saved_step != state.step:
                    _save(state, measured)
                saved = time.perf_counter()
            clock += time.perf_counter() - began  # neither these nor who watches them counts as training
            if batches is None or state.ending or state.out_of_patience:
                break
            lr = config.lr(state.step, state.parts.cosine_schedule)
            stepped = _step(state, workers, grads, lr, batches)
            if stepped is None:
                break
            measured = stepped
            state.step += 1
            batches = _batches(state) if state.step < config.max_iters else None  # while a card is still at the step
            if state.step % config.log_interval == 0 or state.step in (first, config.max_iters):
                loss, norm = _check_finite(state, measured)
                now = time.perf_counter()
                speed = share = None
                if now > clock:  # a browser's is coarse, and may stand still for a step
                    speed = (state.step - clock_step) * state.tokens_per_step / (now - clock)
                    clock, clock_step = now, state.step
                if speed and state.product_rate:
                    share = speed * training_flops(model.config) / (group.size * state.product_rate)
                yield StepRecord(state.step, lr, loss, norm, speed, share)
            else:
                yield StepRecord(state.step, lr)
        if state.saved_step != state.step and more:
            _save(state, measured)
        group.each(lambda: _raise(state.problem))  # what has been learned so far is from before it


def _raise(problem: UserError | None) -> None:
    if problem is not None:
        raise problem


def _own_folder(state: TrainState, stack: ExitStack) -> None:
    """Own the run's folder until the end of `stack`, and see to it that this run's files are all that is in it."""
    config = state.config
    state.folder = stack.enter_context(owned(config.out_dir))
    if state.saved_as and current(config.out_dir) not in ("", state.saved_as):
        raise UserError(
            f"the run in {config.out_dir} has gone on since this state of it, step {state.saved_step:,}, was read "
            "or saved; resume it again"
        )
    if state.folder.owners == 1 and state.saved_step < 0:  # else the command has done so
        set_aside(config.out_dir)


def _save(state: TrainState, measured: Array | None) -> None:
    """Save the run between evaluations, if nothing in it has gone wrong."""
    _check_finite(state, measured)
    _check_save(state)
    save(state)


def _batches(state: TrainState) -> Batches:
    """This rank's micro-batches of the step that `state` stands at, on the model's device, and how many targets count
    on all ranks. A text that turns out to be damaged is a request to stop.
    """
    rng = generator(state.config.seed, "batches", state.step)  # from the step alone, so that there is nothing to save
    batches, counted = [], 0
    try:
        for row, (idx, targets) in own_rows(state, "train", rng, state.config.gradient_accumulation_steps):
            counted += count_targets(targets)
            batches.append((row, *state.model.upload(idx, targets)))
    except TextError as error:
        state.stop, state.problem = True, error
    return batches, int(state.group.exchange(counted).sum())


def _step(state: TrainState, workers: Workers, grads: Parameters, lr: float, batches: Batches) -> Array | None:
    """One optimiser step over all its micro-batches; returns loss and gradient norm, (2,), on the device. None, with
    nothing changed, if a stop was agreed on meanwhile.
    """
    config, model, group = state.config, state.model, state.group
    micro_batches, counted = batches
    grads.flat[...] = 0
    loss = device_module(model.device).zeros(1, dtype=model.precision.accumulation)
    for row, idx, targets in micro_batches:
        if len(idx):
            loss += workers.gradients(model, idx, targets, grads, max(1, counted), state.step, row)
        state.hear()
        if state.ending:
            return None
    with np.errstate(all="ignore"):  # _check_finite sees what is no longer finite, and says more
        if state.shard is None:
            if state.parts.ring_step is None:
                group.sum(grads.flat, loss)
            else:
                sum_in_a_ring(group, grads.flat, state.parts.ring_step)
                group.sum(loss)
            norm = state.optimizer.step(grads, lr, config.grad_clip, workers.map)
        else:
            group.sum(loss)
            group.sum_shard(grads.flat)
            norm = state.optimizer.step(grads.part(state.shard), lr, config.grad_clip, workers.map)
            group.gather_shards(model.params.flat)
    return array_module(norm).stack((loss[0], norm))


def evaluate(state: TrainState, workers: Workers) -> EvalRecord | None:
    """Measure the loss on both splits, and save the run and the weights as the configuration says. None, with nothing
    saved, if a stop was agreed on meanwhile.
    """
    config, model, corpus, group = state.config, state.model, state.corpus, state.group
    losses = {}
    for split in ("train", "val"):
        rng = generator(config.seed, "evaluation", split)  # the same batches every time, so that losses compare
        rows = own_rows(state, split, rng, config.eval_iters)
        losses[split] = mean_loss(model, workers, _until_the_end(state, rows), group)
    if state.ending:
        return None
    if not all(map(math.isfinite, losses.values())):
        raise _diverged(state, "losses of the evaluation are {train:.4g} and {val:.4g}".format(**losses))
    accuracy = corpus.accuracy(model, lambda: state.stop) if group.rank == 0 else None
    state.hear()
    if state.ending:
        return None
    best, bits = losses["val"] < state.best_val_loss, corpus.bits_per_character(losses["val"])
    record = EvalRecord(state.step, losses["train"], losses["val"], best, bits, accuracy)
    if not config.eval_only:
        if best:
            state.best_val_loss, state.best_step, state.without_better = losses["val"], state.step, 0
        else:
            state.without_better += 1
        state.evaluated_step, state.evaluation = state.step, record
        _check_save(state)
        folders = [Path(config.out_dir) / "best"] if best else []
        if config.always_save_checkpoint:
            folders.append(Path(config.out_dir) / f"step-{state.step:08d}")

        def write() -> None:
            for folder in folders:
                save_weights(state, folder)

        group.first(write)
        save(state)
    return record


def _until_the_end(state: TrainState, rows: Iterator[tuple[int, Batch]]) -> Iterator[Batch]:
    """The batches, up to where a stop is agreed on, such as for a text that turns out to be damaged."""
    while True:
        batch = None
        try:
            if (found := next(rows, None)) is None:
                return
            _, batch = found
        except TextError as error:
            state.stop, state.problem = True, error
        state.hear()
        if state.ending:
            return
        if batch is not None:
            yield batch


def mean_loss(
    model: GPT, workers: Workers, batches: Iterable[tuple[np.ndarray, np.ndarray]], group: Group = ALONE
) -> float:
    """The mean loss over all counted targets of the batches, of all ranks together, in nats per token."""
    sums, counts = [], []
    for idx, targets in batches:
        if len(idx):
            counts.append(count_targets(targets))
            sums.append(workers.loss(model, idx, targets) * counts[-1])
    total = to_host(array_module(sums[0]).stack(sums)).astype(np.float64).sum() if sums else 0.0
    sums_of_all = np.array([total, sum(counts), len(counts)], np.float64)
    group.sum(sums_of_all)
    loss, counted, number = map(float, sums_of_all)
    return loss / max(1, counted) if number else math.nan


def _check_finite(state: TrainState, measured: Array | None) -> tuple[float, float]:
    """Loss and gradient norm of the last step as numbers. Raises UserError if one of them is not finite."""
    if measured is None:
        return math.nan, math.nan
    loss, norm = (float(number) for number in to_host(measured))
    if math.isfinite(loss) and math.isfinite(norm):
        return loss, norm
    raise _diverged(state, f"loss is {loss:.4g} and the gradient norm {norm:.4g}")


def _check_save(state: TrainState) -> None:
    """Raise UserError if the last update left a weight that is not finite: its loss, seen next, would come too late; or
    if the run's folder is no longer there, where a save would make another; or if ranks have other weights.
    """
    state.group.first(lambda: state.folder.check() if state.folder else None)
    xp = array_module(state.model.params.flat)
    check_replicas(state)
    if not bool(xp.isfinite(state.model.params.flat).all()):
        raise _diverged(state, "weights are no longer finite")


def _diverged(state: TrainState, what: str) -> Everyones:
    lr, last = state.config.lr(max(state.step - 1, 0), state.parts.cosine_schedule), Path(state.config.out_dir) / "last"
    good = "none is saved"
    if state.saved_step >= 0:
        good = f"the last good checkpoint is step {state.saved_step:,} in {last}"
    return Everyones(
        f"at step {state.step:,} the {what} (learning rate {lr:.3g}); {good}: "
        f"go on from it, or start again, with a lower --learning_rate"
    )
