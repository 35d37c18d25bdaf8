"""The training loop: a generator of records over a state that the caller owns. It knows no screen."""

import itertools
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
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
from tinygpt.run.folder import current, set_aside
from tinygpt.run.lock import owned
from tinygpt.run.state import EvalRecord, Record, StepRecord, TrainState
from tinygpt.run.store import save, save_weights

RATE_SECONDS = 1.0  # to find a card's largest rate of matrix products in
Batches: TypeAlias = tuple[list[Batch], int]  # a step's, and the number of their targets


def train(state: TrainState) -> Iterator[Record]:
    """Train from where `state` stands to `max_iters`, or until `patience` evaluations in a row have found no lower
    validation loss, yielding a record for each step and each evaluation. Each evaluation, the first before any step,
    saves the run and, if it is the best so far, the weights; between them a clock saves the run. Setting `state.stop`
    ends the loop soon, with everything saved: a step that is under way is dropped, since the weights are still those of
    the step before. Raises UserError when the loss, the gradient or a weight is no longer finite; what was last saved
    is then from before. Raises UserError if another process trains in `out_dir`, or has trained the run on since
    `state` was read.
    """
    keep_freed_pages()
    config, model = state.config, state.model
    grads = model.params.zeros_like()
    measured: Array | None = None  # loss and gradient norm of the last step, still on the device
    first = state.step + 1  # is read too, so that a slow run soon says how slow
    folder = nullcontext() if config.eval_only else owned(config.out_dir)
    with folder as state.folder, Workers(state.threads) as workers, tf32_products(config.tf32, model.device):
        if not config.eval_only and state.saved_as and current(config.out_dir) not in ("", state.saved_as):
            raise UserError(
                f"the run in {config.out_dir} has gone on since this state of it, step {state.saved_step:,}, was read "
                "or saved; resume it again"
            )
        if state.folder and state.folder.owners == 1 and state.saved_step < 0:  # else the command has done so
            set_aside(config.out_dir)
        if model.device == "cuda" and not config.eval_only:
            state.product_rate = product_rate(model.device, model.dtype, RATE_SECONDS)
        saved = clock = time.perf_counter()
        clock_step = state.step
        batches: Batches | None = None
        try:
            while True:
                due = state.step % config.eval_interval == 0 or state.step >= config.max_iters
                began = time.perf_counter()
                if (due and state.evaluated_step != state.step) or config.eval_only:
                    _check_finite(state, measured)
                    record = evaluate(state, workers)
                    saved = time.perf_counter()
                    if record is not None:
                        yield record
                elif config.save_minutes and began - saved >= 60 * config.save_minutes:
                    if state.saved_step != state.step:
                        _save(state, measured)
                    saved = time.perf_counter()
                clock += time.perf_counter() - began  # neither these nor who watches them counts as training
                if state.step >= config.max_iters or state.stop or config.eval_only or state.out_of_patience:
                    break
                lr = config.lr(state.step, state.parts.cosine_schedule)
                stepped = _step(state, workers, grads, lr, batches or _batches(state))
                if stepped is None:
                    break
                measured = stepped
                state.step += 1
                batches = (
                    _batches(state) if state.step < config.max_iters else None
                )  # while a card is still at the step
                if state.step % config.log_interval == 0 or state.step in (first, config.max_iters):
                    loss, norm = _check_finite(state, measured)
                    now = time.perf_counter()
                    speed = (state.step - clock_step) * state.tokens_per_step / (now - clock)
                    clock, clock_step = now, state.step
                    share = speed * training_flops(model.config) / state.product_rate if state.product_rate else None
                    yield StepRecord(state.step, lr, loss, norm, speed, share)
                else:
                    yield StepRecord(state.step, lr)
        except TextError:  # what has been learned so far is from before
            if state.saved_step != state.step and not config.eval_only:
                _save(state, measured)
            raise
        if state.saved_step != state.step and not config.eval_only:
            _save(state, measured)


def _save(state: TrainState, measured: Array | None) -> None:
    """Save the run between evaluations, if nothing in it has gone wrong."""
    _check_finite(state, measured)
    _check_save(state)
    save(state)


def _batches(state: TrainState) -> Batches:
    """The micro-batches of the step that `state` stands at, on the model's device, and how many targets count."""
    config, model = state.config, state.model
    rng = generator(config.seed, "batches", state.step)  # from the step alone, so that there is nothing to save
    shape = config.batch_size, model.config.block_size
    batches = [state.corpus.batch("train", *shape, rng) for _ in range(config.gradient_accumulation_steps)]
    counted = sum(count_targets(targets) for _, targets in batches)
    return [model.upload(*batch) for batch in batches], counted


def _step(state: TrainState, workers: Workers, grads: Parameters, lr: float, batches: Batches) -> Array | None:
    """One optimiser step over all its micro-batches; returns loss and gradient norm, (2,), on the device. None, with
    nothing changed, if `state.stop` was set meanwhile.
    """
    config, model = state.config, state.model
    micro_batches, counted = batches
    grads.flat[...] = 0
    loss = device_module(model.device).zeros((), dtype=model.precision.accumulation)
    for number, (idx, targets) in enumerate(micro_batches):
        row = number * config.batch_size
        loss = loss + workers.gradients(model, idx, targets, grads, max(1, counted), state.step, row)
        if state.stop:
            return None
    with np.errstate(all="ignore"):  # _check_finite sees what is no longer finite, and says more
        norm = state.optimizer.step(grads, lr, config.grad_clip, workers.map)
    return array_module(norm).stack((loss, norm))


def evaluate(state: TrainState, workers: Workers) -> EvalRecord | None:
    """Measure the loss on both splits, and save the run and the weights as the configuration says. None, with nothing
    saved, if `state.stop` was set meanwhile.
    """
    config, model, corpus = state.config, state.model, state.corpus
    shape = config.batch_size, model.config.block_size
    losses = {}
    for split in ("train", "val"):
        rng = generator(config.seed, "evaluation", split)  # the same batches every time, so that losses compare
        batches = (corpus.batch(split, *shape, rng) for _ in range(config.eval_iters))
        losses[split] = mean_loss(model, workers, itertools.takewhile(lambda _: not state.stop, batches))
    if state.stop:
        return None
    if not all(map(math.isfinite, losses.values())):
        raise _diverged(state, "losses of the evaluation are {train:.4g} and {val:.4g}".format(**losses))
    accuracy = corpus.accuracy(model, lambda: state.stop)
    if state.stop:
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
        if best:
            save_weights(state, Path(config.out_dir) / "best")
        if config.always_save_checkpoint:
            save_weights(state, Path(config.out_dir) / f"step-{state.step:08d}")
        save(state)
    return record


def mean_loss(model: GPT, workers: Workers, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> float:
    """The mean loss over all counted targets of the batches, in nats per token."""
    sums, counts = [], []
    for idx, targets in batches:
        counts.append(count_targets(targets))
        sums.append(workers.loss(model, idx, targets) * counts[-1])
    if not sums:
        return math.nan
    return float(to_host(array_module(sums[0]).stack(sums)).astype(np.float64).sum()) / max(1, sum(counts))


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
    if the run's folder is no longer there, where a save would make another.
    """
    if state.folder:
        state.folder.check()
    xp = array_module(state.model.params.flat)
    if not bool(xp.isfinite(state.model.params.flat).all()):
        raise _diverged(state, "weights are no longer finite")


def _diverged(state: TrainState, what: str) -> UserError:
    lr, last = state.config.lr(max(state.step - 1, 0), state.parts.cosine_schedule), Path(state.config.out_dir) / "last"
    good = "none is saved"
    if state.saved_step >= 0:
        good = f"the last good checkpoint is step {state.saved_step:,} in {last}"
    return UserError(
        f"at step {state.step:,} the {what} (learning rate {lr:.3g}); {good}: "
        f"go on from it, or start again, with a lower --learning_rate"
    )
