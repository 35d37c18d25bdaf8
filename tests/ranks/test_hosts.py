"""Two hosts, each with a network of its own, train one run: one rank's losses, and the bytes that the model says."""

import importlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import children
from tests.ranks.together import needs_ranks

ROOT = Path(__file__).parents[2]
TEXT = ROOT / "tests" / "memorised.txt"
STEPS = 12
FLAGS = (
    f"--data={TEXT} --n_layer=2 --n_head=2 --n_embd=64 --block_size=16 --batch_size=4 --gradient_accumulation_steps=2 "
    f"--max_iters={STEPS} --eval_interval={STEPS} --eval_iters=2 --log_interval=1 --sample_length=0 --device=cpu "
    "--threads=1 --dtype=float64"
).split()

pytestmark = needs_ranks


@pytest.fixture
def race(monkeypatch):
    """Imports a file of the benchmarks' room."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return lambda name: importlib.import_module(f"race.{name}")


@pytest.fixture
def pair(race):
    hosts = race("hosts")
    try:
        with hosts.two_hosts() as pair:
            yield pair
    except hosts.NoHosts as why:
        pytest.skip(str(why))


def losses(folder: Path) -> np.ndarray:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return np.array([row[key] for row in rows for key in ("loss", "val_loss") if key in row])


def test_two_hosts_train_the_same_run_and_send_what_the_model_says(pair, race, tmp_path):
    program, *launcher = pair.mpiexec()
    before = pair.sent()
    environment = os.environ | race("hosts").TCP
    train = [sys.executable, ROOT / "train.py", *FLAGS]
    done = children.run(*launcher, *train, f"--out_dir={tmp_path / 'two'}", python=program, env=environment)
    sent = np.subtract(pair.sent(), before)
    assert done.returncode == 0, done.stderr
    alone = children.run(ROOT / "train.py", *FLAGS, f"--out_dir={tmp_path / 'one'}")
    assert alone.returncode == 0, alone.stderr
    assert len(losses(tmp_path / "one")) == STEPS + 2  # the steps' and two evaluations'
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-12)

    size = 8 * int(done.stdout.partition(" parameters")[0].split()[-1].replace(",", ""))
    sums = STEPS * race("network").sent(2, size)
    for bytes_sent, expected in zip(sent, (sums + size, sums), strict=True):  # the first gives its weights to the other
        assert expected < bytes_sent < 1.06 * expected + 50_000, (sent, expected)  # TCP, the launcher, agreements
