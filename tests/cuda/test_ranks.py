"""Training over several ranks, each on a card of its own: the stand-in for CuPy, and NCCL's between the processes."""

import itertools
import json
import os
import shutil

import pytest

from tests.cuda import strict_cupy
from tests.cuda.ranks import trained
from tests.cuda.strict_cupy import raw
from tests.ranks.together import ROOT, needs_ranks, together
from tests.test_train import TEXT
from tinygpt import emulator
from tinygpt.run import memory
from tinygpt.run.config import TrainConfig
from tinygpt.run.group import ALONE, Group
from tinygpt.train import resume, start

SETTINGS = dict(
    data=str(TEXT), n_layer=1, n_head=2, n_embd=24, block_size=9, batch_size=4, gradient_accumulation_steps=3,
    max_iters=3, lr_decay_iters=6, warmup_iters=2, eval_interval=3, eval_iters=2, log_interval=100, dropout=0.2,
    bias=True, grad_clip=0.1, dtype="float64", device="cuda",
)  # fmt: skip
SHARDED = SETTINGS | {"shard_optimizer": True}
BF16 = SETTINGS | {"dtype": "bfloat16", "max_iters": 2, "eval_iters": 1}
REST = "reduce", "broadcast"  # of what does not divide by the number of ranks


@pytest.fixture(scope="module")
def on_ranks(tmp_path_factory):
    """Has so many ranks do something, and returns what each found, or how the program ended."""
    if emulator.missing():
        pytest.skip(emulator.missing())
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TINYGPT_CACHE": raw.CACHE or ""}
    if raw.CACHE is None:  # the kernels are the caller's, wherever that is
        del environment["TINYGPT_CACHE"]

    def started(ranks, what, *flags, **files):
        folder = tmp_path_factory.mktemp(what)
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content))
        done = together(ranks, "-m", "tests.cuda.ranks", what, folder, *flags, env=environment)
        if what == "command":
            return done
        assert done.returncode == 0, done.stderr
        return [json.loads((folder / f"{what}-{rank}.json").read_text()) for rank in range(ranks)]

    return started


@pytest.fixture(scope="module")
def runs(on_ranks, tmp_path_factory):
    """The same run of one rank on the CPU and on the stand-in, of two and, gone on with, of three; what two saved goes
    on in one, too.
    """
    folder = tmp_path_factory.mktemp("runs")
    more, every = {"max_iters": 6}, {"log_interval": 1}

    def out_dir(name):
        return str(folder / name)

    def alone(name, settings, goes_on=False):
        with strict_cupy.installed() as card:
            if goes_on:
                return trained(card, resume(out_dir(name), settings))
            return trained(card, start(TrainConfig(out_dir=out_dir(name), **settings)))

    found = {
        "cpu": alone("cpu", SETTINGS | more | every | {"device": "cpu", "kernels": "reference", "threads": 1}),
        "one": alone("one", SETTINGS | more | every),
        "one, bf16": alone("one, bf16", BF16 | every),
    }
    two = {"plain": [SETTINGS, False], "sharded": [SHARDED, False], "bf16": [BF16, False]}
    found["two"] = on_ranks(2, "runs", runs={name: [out_dir(name), *rest] for name, rest in two.items()})
    shutil.copytree(out_dir("sharded"), out_dir("then one"))
    found["then one"] = alone("then one", more | {"shard_optimizer": False}, goes_on=True)
    three = {name: [out_dir(name), more, True] for name in ("plain", "sharded")}
    found["three"] = on_ranks(3, "runs", runs=three)
    return found


def losses(run):
    """By step: the evaluations, and loss and gradient norm."""
    return {(r["step"], kind): r[kind] for r in run["records"] for kind in ("evaluation", "loss") if kind in r}


def assert_part_of(part, whole, rel):
    assert len(part) >= 3
    for key, values in part.items():
        assert values == pytest.approx(whole[key], rel=rel), key


@needs_ranks
def test_losses_are_those_of_one_rank_and_of_the_cpu(runs):
    """The three go on where the two have saved."""
    for whole, how in itertools.product((losses(runs["cpu"]), losses(runs["one"])), ("plain", "sharded")):
        for ranks in ("two", "three"):
            for rank in runs[ranks]:
                assert rank[how]["device"] == "cuda"
                assert_part_of(losses(rank[how]), whole, 1e-12)
        assert_part_of(losses(runs["then one"]), whole, 1e-12)
    steps = [step for step, _ in losses(runs["three"][0]["plain"])]
    assert min(steps) == 4 and max(steps) == 6


@needs_ranks
def test_bfloat16_is_summed_in_float32(runs):
    for rank in runs["two"]:
        assert_part_of(losses(rank["bf16"]), losses(runs["one, bf16"]), 1e-2)
        kinds = {
            call["dtype"] for record in rank["bf16"]["records"] for begun in record["collectives"] for call in begun
        }
        assert kinds == {"float32"}


def of_steps(run):
    return [record for record in run["records"] if "evaluation" not in record]


@needs_ranks
def test_a_step_is_one_sum_of_all_gradients(runs):
    """After the last micro-batch, of which there are as many as rows ask for; nothing between them."""
    for rank in runs["two"] + runs["three"]:
        elements = rank["plain"]["elements"]
        for record in of_steps(rank["plain"]):
            (begun,) = record["collectives"]
            called = [(call["what"], call["count"], call["nbytes"], call["op"]) for call in begun]
            assert called == [("allReduce", elements, 8 * elements, 0), ("allReduce", 1, 8, 0)]


@needs_ranks
def test_a_sharded_step_moves_as_many_bytes(runs):
    """As the whole sum: the parts that are alike, and what is over for the last of them."""
    for rank, size in [(rank, 2) for rank in runs["two"]] + [(rank, 3) for rank in runs["three"]]:
        elements = rank["sharded"]["elements"]
        each = elements // size // 16 * 16
        rest = elements - each * size
        assert rest
        for record in of_steps(rank["sharded"]):
            called = [[(call["what"], call["count"], call["nbytes"]) for call in b] for b in record["collectives"]]
            scattered, gathered = (
                [(what, each, 8 * each * size)] + [(of_rest, rest, 8 * rest)]
                for what, of_rest in zip(("reduceScatter", "allGather"), REST, strict=True)
            )
            one = [("allReduce", 1, 8)]  # the loss; the square of the shards' norms
            assert called == [one, scattered, one, gathered]
            assert all(call["root"] == size - 1 for b in record["collectives"] for call in b if call["what"] in REST)


@needs_ranks
def test_agreement_waits_for_no_card(runs):
    """Between micro-batches they tell each other whether to stop; a step waits where its loss is read, and once."""
    for rank in runs["two"] + runs["three"]:
        for how in ("plain", "sharded"):
            steps = of_steps(rank[how])
            assert [record["waits"] for record in steps[1:]] == [0, 1] and "loss" in steps[-1]  # the last one is read


@needs_ranks
def test_evaluations_ask_nothing_of_nccl(runs):
    """But for the save, where the moments are put together, and both cards have all of each."""
    for rank in runs["two"] + runs["three"]:
        for how, calls in (("plain", []), ("sharded", ["allGather"] * 2)):
            for record in rank[how]["records"]:
                if "evaluation" in record:
                    assert [begun[0]["what"] for begun in record["collectives"]] == calls


@needs_ranks
def test_each_rank_of_a_machine_has_a_card_of_its_own(on_ranks):
    few = dict(SETTINGS, max_iters=1, device="auto")
    for rank, found in enumerate(on_ranks(2, "cards", settings=few)):
        own = f"0000:{(0x17, 0x65)[rank]:02x}:00.0"
        assert found["two"] == found["more"] == found["one each"] == ["cuda", own]
        assert found["too few"] == found["too few, cuda"]
        assert "share 1 card, and each needs one of its own; start at most 1 there, or use" in found["too few"]
        assert found["too few"].startswith("2 ranks on ")
        assert found["too old"][0] == "cpu" and "is too old" in found["too old, cuda"]
        assert found["none"] == ["cpu", ""] and found["started without"] == "cpu"
        assert found["none, cuda"].startswith("--device=cuda: the NVIDIA driver finds no CUDA card")
        assert found["one of them"][0] == ("cpu" if rank else "cuda")
        assert "but for the device rank 0 has 'cuda', and rank 1 of 2 on " in found["they disagree"]
        assert found["the same card"][0] == ["cuda", "0000:17:00.0"]
        assert found["the same card"][1].startswith(
            "NCCL, over which cards exchange their gradients, has failed (NCCL_"
        )
        assert found["no NCCL"].startswith("NCCL, over which cards exchange their gradients, cannot be loaded; install")


@needs_ranks
def test_the_stand_in_refuses_ranks_that_differ(on_ranks):
    found = on_ranks(2, "refusals")
    for name in "count dtype op root order group fewer".split() + ["other calls"]:
        for rank, said in enumerate(found):
            assert said[name].startswith(f"rank {rank} has begun "), (name, said[name])
            assert f", and rank {1 - rank} " in said[name]
    for name, words in {"size": "3 ranks, and 2 processes", "rank": "are [0, 0]", "id": "other sizes or ids"}.items():
        assert all(words in said[name] for said in found), name
    assert all(said["right"] == "taken" and said["sum"] == 2 for said in found)


@needs_ranks
def test_memory_that_runs_out_on_one_rank_ends_all(on_ranks, tmp_path):
    flags = {k: v for k, v in SETTINGS.items() if k not in ("batch_size", "gradient_accumulation_steps")}
    flags |= {"batch_size": 200, "out_dir": tmp_path / "run", "sample_length": 0}
    done = on_ranks(2, "command", "train", *(f"--{name}={value}" for name, value in flags.items()))
    assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert sentence.startswith("error: rank 1 of 2 on ") and ": out of memory on the CUDA card, allocating " in sentence
    assert "would fit into the " in sentence


class Four(Group):
    """A group of four as one of them sees it, who exchanges nothing."""

    rank, size = 1, 4


def test_the_memory_of_a_step_counts_a_ranks_own_part(card, tmp_path, monkeypatch):
    def state_of(group, **changes):
        settings = SETTINGS | {"gradient_accumulation_steps": 1} | changes
        return start(TrainConfig(out_dir=str(tmp_path), **settings), group=group)

    whole, shard = state_of(ALONE, batch_size=12), state_of(Four(), batch_size=12, shard_optimizer=True)
    flat, part = whole.model.params.flat.nbytes, shard.optimizer.m.flat.nbytes
    assert part < flat / 3
    assert memory.step_memory(whole, 12) - memory.step_memory(shard, 12) == 2 * (flat - part)
    moments_together = memory.step_memory(shard, 0) - memory.SPARE
    assert moments_together == 2 * flat + 2 * part + flat
    # Of twelve rows each of four ranks computes three at a time, and what does not fit is less than those.
    shard.config.recompute = shard.model.recompute = "blocks"
    rows = {batch_size: memory.step_memory(shard, batch_size) for batch_size in (1, 2, 3)}
    for available, expected in ((rows[3], 2), (rows[2], 2), (rows[2] - 1, 1)):
        monkeypatch.setattr(memory, "available_memory", lambda device, available=available: available)
        assert memory.that_fits(shard).startswith(f"--batch_size={expected} "), available
