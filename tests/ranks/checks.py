"""What two ranks say when they differ or one of them fails, for test_agreement.py: `python -m tests.ranks.checks
FOLDER` does all that is marked below; rank 0 writes what each rank said of each into FOLDER/said.json.
"""

import json
import os
import sys
import warnings
from pathlib import Path
from unittest import mock

import numpy as np

from tests.ranks.runs import TEXT, config
from tinygpt.commands import train as command
from tinygpt.errors import Note, TextError, UserError
from tinygpt.ops import Ops
from tinygpt.optim import AdamW
from tinygpt.run import alike, loop
from tinygpt.run.folder import load_state
from tinygpt.run.group import Group
from tinygpt.run.state import OURS
from tinygpt.train import StepRecord, joined, resume, start, train

CHECKS = {}


def check(function):
    CHECKS[function.__name__] = function


def is_other(group: Group) -> bool:
    """Whether this is the rank that differs."""
    return group.rank == 1


def begin(group: Group, **changes):
    return start(config(Path("out"), max_iters=3, eval_interval=10, **changes), group=group)


def only_on_one(group: Group, target, name, value):
    """A change on the other rank alone."""
    return mock.patch.object(target, name, value if is_other(group) else getattr(target, name))


@check
def version(group):
    with only_on_one(group, alike, "__version__", "0.0.9"):
        begin(group)


@check
def source(group):
    with only_on_one(group, alike, "_digest", lambda folder: "0123"):
        begin(group)


@check
def flag(group):
    begin(group, learning_rate=0.02 if is_other(group) else 0.01)


@check
def threads(group):
    return begin(group, threads=1 + group.rank).threads


@check
def text(group):
    Path("here.txt").write_text(TEXT.read_text() + "!" * is_other(group))
    begin(group, data="here.txt")


@check
def no_text(group):
    """For a model to go on from, which would be fetched first."""
    if not is_other(group):
        Path("here.txt").write_text("a text")
    command._start({}, {"init_from": "nowhere", "data": "here.txt"}, OURS, group)


@check
def kernels(group):
    others = dict(begin(group).model.ops.modules, gelu="another")
    with only_on_one(group, Ops, "modules", others):
        begin(group)


@check
def own_parts(group):
    Path("mine").mkdir()
    Path("mine/layernorm.py").write_text("# other\n" * is_other(group))
    alike.check_settings(group, {"mine": "mine"})


@check
def saved_step(group):
    """Each rank finds a folder of its own, as on machines that share none."""
    state = start(config(Path(f"apart-{group.rank}"), max_iters=2 + group.rank, eval_interval=10))
    list(train(state))
    os.symlink(f"apart-{group.rank}", "of-this-machine")
    resume("of-this-machine", {"max_iters": 9}, group=group)


@check
def nothing_saved(group):
    if group.rank == 0:
        list(train(start(config(Path("only-here"), max_iters=1))))
    resume("only-here", {"max_iters": 2}, group=group)


@check
def one_bit(group):
    """Of a weight of one rank, in the middle of a run that saves after every step."""
    state = begin(group, save_minutes=1e-9)
    try:
        for record in train(state):
            if isinstance(record, StepRecord) and record.step == 2 and is_other(group):
                state.model.params.flat.view(np.uint64)[0] ^= 1
    finally:
        assert group.first(lambda: load_state("out")[0]["step"]) == state.saved_step == 1


@check
def not_finite(group):
    state = begin(group)
    step = loop._step

    def spoilt(state, workers, *more):
        if is_other(group) and state.step == 1:
            with mock.patch.object(workers, "gradients", lambda *_: np.float64("nan")):
                return step(state, workers, *more)
        return step(state, workers, *more)

    with mock.patch.object(loop, "_step", spoilt):
        list(train(state))


def train_on_damage(group, where, step):
    """A run whose other rank finds the text damaged as it reads that split at that step."""
    state = begin(group)
    batch = state.corpus.batch

    def damaged(split, *more):
        if is_other(group) and (split, state.step) == (where, step):
            raise TextError("the text is damaged")
        return batch(split, *more)

    state.corpus.batch = damaged
    try:
        list(train(state))
    finally:
        assert state.saved_step == state.step == step


@check
def damaged_text(group):
    train_on_damage(group, "train", 2)


@check
def damaged_text_evaluated(group):
    train_on_damage(group, "val", 3)


@check
def one_alone(group):
    def fails():
        if is_other(group):
            raise UserError("no room")

    group.each(fails)


@check
def the_first(group):
    def fails():
        raise UserError("no room")

    group.first(fails)


@check
def too_few_rows(group):
    begin(group, batch_size=1, gradient_accumulation_steps=1)


@check
def whole_parameters(group):
    with mock.patch.object(AdamW, "elementwise", False):
        begin(group, shard_optimizer=True)


@check
def memory(group):
    """As much as one rank's model, gradients and moments take, and half as much again."""
    needed = 4 * begin(group).model.params.flat.nbytes
    with mock.patch("tinygpt.device.memory_size", lambda: needed * 1.5):
        begin(group)


@check
def activations(group):
    """Whose room is short, and not that of what is held between steps."""
    held = 8 * begin(group, batch_size=5).model.params.flat.nbytes
    with (
        mock.patch("tinygpt.device.memory_size", lambda: held),
        mock.patch("tinygpt.run.store.activations", lambda *_: 1e9),
    ):
        begin(group)


@check
def cores(group):
    with mock.patch("tinygpt.run.group.cpu_count", lambda: 7), mock.patch("tinygpt.parallel.LOCKED", 1.0):
        shared = begin(group, threads=None).threads
        with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "5"}):
            told = begin(group, threads=None).threads
        return [shared, told, begin(group, threads=4).threads]


@check
def a_stop_at_one(group):
    state = begin(group)
    for record in train(state):
        if isinstance(record, StepRecord) and is_other(group):
            state.stop = True
    return [state.stop, state.step, state.saved_step]


@check
def sums(group):
    """Of more numbers than are sent at a time; shards of a length that cannot be divided evenly."""
    with mock.patch("tinygpt.run.group.PIECE", 100):
        array = np.arange(1000.0).reshape(10, 100) * (group.rank + 1)
        group.sum(array)
    whole = np.arange(1040, dtype=np.float32) * (group.rank + 1)
    group.sum_shard(whole)
    group.gather_shards(whole)
    return [bool((array.ravel() == 3 * np.arange(1000)).all()), bool((whole == 3 * np.arange(1040)).all())]


def main(folder: Path) -> None:
    warnings.simplefilter("ignore", Note)
    os.fsync = lambda handle: None  # no power is lost here
    found = {}
    with joined() as group:
        for name, function in CHECKS.items():
            own = folder / f"{group.rank}-{name}"
            own.mkdir()
            os.chdir(own)
            try:
                said = function(group)
            except UserError as error:
                said = str(error)
            found[name] = group.everyones(said)
        if group.rank == 0:
            (folder / "said.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
