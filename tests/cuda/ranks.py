"""What `test_ranks.py` has each rank do on the stand-in, in as few starts as can be:

    mpiexec -n 2 python -m tests.cuda.ranks WHAT FOLDER [FLAG ...]

Each rank writes what it found to FOLDER/WHAT-RANK.json.
"""

import contextlib
import json
import os
import sys
from pathlib import Path

import numpy as np

from tests.cuda import strict_cupy
from tests.cuda.strict_cupy import raw  # noqa: F401  (its cache of kernels is the caller's, see below)
from tinygpt.cli import main as tinygpt
from tinygpt.device import resolve_device
from tinygpt.errors import UserError
from tinygpt.run import group as groups
from tinygpt.run import loop
from tinygpt.run.config import TrainConfig
from tinygpt.run.joining import joined
from tinygpt.run.launched import launched
from tinygpt.train import EvalRecord, resume, start, train

TWO = ["0000:17:00.0", "0000:65:00.0"]


def trained(card, state):
    """A run's records, each with what its rank asked of NCCL for it and how often it waited for the card."""
    found = []
    card.reset()
    for record in train(state):
        collectives = [[call._asdict() for call in begun] for begun in card.collectives]
        found.append({"step": record.step, "collectives": collectives, "waits": len(card.syncs)})
        if isinstance(record, EvalRecord):
            found[-1]["evaluation"] = [record.train_loss, record.val_loss]
        elif record.loss is not None:
            found[-1]["loss"] = [record.loss, record.grad_norm]
        card.reset()
    return {"records": found, "elements": len(state.model.params.flat), "device": state.model.device}


def runs(card, group, folder):
    """Every run that `runs.json` names: its settings, or the changes with which one goes on."""
    found = {}
    for name, (out_dir, settings, goes_on) in json.loads((folder / "runs.json").read_text()).items():
        if goes_on:
            state = resume(out_dir, settings, group=group)
        else:
            state = start(TrainConfig(out_dir=out_dir, **settings), group=group)
        found[name] = trained(card, state)
    return found


def cards(card, group, folder):
    """Which card a rank takes on other machines, or why none."""
    settings = json.loads((folder / "settings.json").read_text())

    def taken(device, bus_ids, visible=None, capability="90"):
        card.bus_ids, card.visible_devices, card.compute_capability = bus_ids, visible, capability
        if card.visible:
            card.current = 0
        try:
            group.use_card(device)
            return [resolve_device(device)[0], card.visible[card.current] if card.visible else ""]
        except UserError as error:
            return str(error)

    def started(**changes):
        before, group._nccl = group._nccl, None
        try:
            return start(TrainConfig(out_dir=str(folder / "none"), **settings | changes), group=group).model.device
        except UserError as error:
            return str(error)
        finally:
            group._nccl = before

    found = {"two": taken("auto", TWO), "more": taken("cuda", [*TWO, "0000:9b:00.0"])}
    found["one each"] = taken("cuda", TWO, str(group.rank))
    found["too few"], found["too few, cuda"] = taken("auto", TWO[:1]), taken("cuda", TWO[:1])
    found["too old"] = taken("auto", TWO[:1], capability="70")
    found["too old, cuda"] = taken("cuda", TWO[:1], capability="70")
    found["none"], found["none, cuda"] = taken("auto", []), taken("cuda", [])
    found["started without"] = started(device="auto")
    found["one of them"] = taken("auto", TWO, "" if group.rank else None)
    found["they disagree"] = started(device="auto")
    found["the same card"] = taken("auto", TWO, "0" if group.rank else "0,1"), started(device="auto")
    taken("auto", TWO)
    card.nccl = False
    found["no NCCL"] = started(device="auto")
    card.nccl = True
    return found


def refusals(card, group, folder):
    """What the stand-in for NCCL says to a rank when ranks differ in what they ask for; "taken" if nothing."""
    import cupy
    from cupy.cuda import nccl

    rank = group.rank
    card.bus_ids = TWO
    group.use_card("cuda")
    x, y, doubles = cupy.ones(8, np.float32), cupy.ones(8, np.float32), cupy.ones(8)

    def identity():
        return bytes(group.first(lambda: list(nccl.get_unique_id())))

    comm = nccl.NcclCommunicator(2, identity(), rank)

    def all_reduce(array=x, count=8, kind=nccl.NCCL_FLOAT32, op=nccl.NCCL_SUM):
        comm.allReduce(array.data.ptr, array.data.ptr, count, kind, op, 0)

    def broadcast(root=0):
        comm.broadcast(y.data.ptr, y.data.ptr, 8, nccl.NCCL_FLOAT32, root, 0)

    def both(*calls):
        nccl.groupStart()
        for call in calls:
            call()
        nccl.groupEnd()

    def in_turn(*calls):
        for call in calls:
            call()

    faults = {
        "count": lambda: all_reduce(count=8 - rank),
        "dtype": lambda: all_reduce(doubles, kind=nccl.NCCL_FLOAT64) if rank else all_reduce(),
        "op": lambda: all_reduce(op=rank),
        "root": lambda: broadcast(rank),
        "other calls": broadcast if rank else all_reduce,
        "order": lambda: both(*[all_reduce, broadcast][:: 1 - 2 * rank]),
        "group": lambda: (in_turn if rank else both)(all_reduce, broadcast),
        "fewer": lambda: both(*[all_reduce, broadcast][: 1 + rank]),
        "size": lambda: nccl.NcclCommunicator(3, identity(), rank),
        "rank": lambda: nccl.NcclCommunicator(2, identity(), 0),
        "id": lambda: nccl.NcclCommunicator(2, nccl.get_unique_id(), rank),
        "right": lambda: both(all_reduce, broadcast),
    }
    found = {}
    for name, fault in faults.items():
        try:
            fault()
            found[name] = "taken"
        except strict_cupy.NcclMisuse as error:
            found[name] = str(error)
        while card.groups:
            with contextlib.suppress(strict_cupy.NcclMisuse):
                nccl.groupEnd()
        group.everyones(None)
    found["sum"] = float(x[0])
    return found


def main(what, folder, *flags):
    os.environ["TINYGPT_CACHE"] = str(folder / "cache")  # of texts; that of kernels is the caller's, read before
    loop.RATE_SECONDS = 0.0
    with strict_cupy.installed() as card:
        if what == "command":  # with the flags given, on cards of which rank 1's has little memory
            card.bus_ids, card.memory_limit = TWO, 1 << 20 if launched().rank else None
            groups.LEAVING = 0.5  # seconds that the one which fails waits for the others, who wait for it
            return tinygpt(list(flags))
        with joined() as group:
            card.bus_ids = [f"0000:{number:02x}:00.0" for number in range(group.size)]
            found = {"runs": runs, "cards": cards, "refusals": refusals}[what](card, group, folder)
            (folder / f"{what}-{group.rank}.json").write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
