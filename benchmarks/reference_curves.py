"""What the `cpu` preset's losses are: five seeds on each corpus that has a name, for `tinygpt train` to compare with.

    python benchmarks/reference_curves.py [--runs=out-reference] [--python=python3.13] [--only=stdlib] [--check]

Trains what is not in the folder of runs yet (about three minutes a run; a run that was stopped goes on), writes the
losses into tinygpt/run/reference.json, and prints them: at each step the mean, the least and the greatest val and train
loss of the seeds, and the margin beyond which a run is said to be above or below. --python, once for each, names other
Pythons that tinygpt runs on: the standard library is another text in each, and goes in beside the others. --check runs
nothing: it goes through all runs in the folder as `tinygpt train` would, and prints what would have been said of each.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.data import load_corpus
from tinygpt.run.advice import replayed
from tinygpt.run.folder import load_meta
from tinygpt.run.marks import Marks, marks_of
from tinygpt.run.metrics import history
from tinygpt.run.reference import FIRST, REFERENCE, SETTLED, Curves, curves, saved, spread
from tinygpt.run.state import EvalRecord
from tinygpt.train import TrainConfig

ROOT = Path(__file__).parents[1]
SEEDS = 1337, 1, 2, 3, 4
DATASETS = "stdlib", "shakespeare_char", "addition"
FLAGS = "--eval_interval=50", "--sample_length=0", "--threads=1"  # none of which changes what is computed
VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="out-reference", type=Path, help="folder of runs (default: out-reference)")
    parser.add_argument("--python", action="append", default=[], help="another Python, for its standard library")
    parser.add_argument("--only", choices=DATASETS, help="one corpus; the others stay as they are")
    parser.add_argument("--check", action="store_true", help="what would be said of the runs that are there")
    parser.add_argument("--marks", nargs=2, help=argparse.SUPPRESS)  # of a corpus and a seed, as another Python has it
    arguments = parser.parse_args()
    if arguments.marks:
        print(json.dumps(_marks(arguments.marks[0], int(arguments.marks[1])).losses))
        return 0
    if arguments.check:
        return check(arguments.runs)
    content = dict(saved()) if REFERENCE.exists() else {}
    for dataset in [arguments.only] if arguments.only else DATASETS:
        for python in [sys.executable, *arguments.python] if dataset == "stdlib" else [sys.executable]:
            name = dataset if dataset != "stdlib" else f"stdlib-{output(python, '-c', VERSION)}"
            folders = [arguments.runs / f"{name}-{seed}" for seed in SEEDS]
            for seed, folder in zip(SEEDS, folders, strict=True):
                made(python, dataset, seed, folder)
            content[name] = collected(python, dataset, folders)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(text)}" for name, text in content.items())
    REFERENCE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    for dataset in dict.fromkeys(name.split("-")[0] for name in content):
        versions = [name for name in content if name.startswith(f"{dataset}-")]
        print("\n".join(table(dataset, content, version) for version in (*versions, "")))
    return 0


def output(python: str, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([python, *arguments], env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def made(python: str, dataset: str, seed: int, folder: Path) -> None:
    """See to it that a run is there to its end."""
    steps = TrainConfig().max_iters
    if any(record.step == steps and isinstance(record, EvalRecord) for record in history(folder)):
        return
    print(f"{folder.name}: training", flush=True)
    how = (
        ["--init_from=resume"] if (folder / "last" / "current").exists() else [f"--dataset={dataset}", f"--seed={seed}"]
    )
    output(python, "-m", "tinygpt", "train", *how, f"--out_dir={folder}", *FLAGS)


def collected(python: str, dataset: str, folders: list[Path]) -> dict[str, Any]:
    """What is kept of the runs on one text."""
    runs = [[record for record in history(folder) if isinstance(record, EvalRecord)] for folder in folders]
    steps = [record.step for record in runs[0]]
    assert all([record.step for record in run] == steps for run in runs), "runs of other intervals"
    marks = [json.loads(output(python, __file__, "--marks", dataset, str(seed))) for seed in SEEDS]
    return {
        "text": load_meta(folders[0])[0]["text"],
        "seeds": SEEDS,
        "steps": steps,
        "marks": [[round(loss, 4) for loss in mark] for mark in marks],  # uniform, unigrams, bigrams, of each run
        "val": [[round(record.val_loss, 4) for record in run] for run in runs],
        "train": [[round(record.train_loss, 4) for record in run] for run in runs],
    }


def _marks(dataset: str, seed: int) -> Marks:
    corpus, config = load_corpus(dataset), TrainConfig()
    return marks_of(corpus, corpus.vocab_size, config.batch_size, config.block_size, config.eval_iters, seed)


def table(dataset: str, content: dict[str, Any], version: str = "") -> str:
    """The reference losses of a dataset, or of one of its versions, and how the margin was found."""
    texts = {name: text for name, text in content.items() if name.split("-")[0] == dataset and version in ("", name)}
    first = next(iter(texts.values()))
    steps, found = first["steps"], curves(dataset, content=texts)
    assert found is not None
    val, train = (np.concatenate([text[split] for text in texts.values()]) for split in ("val", "train"))
    lines = [f"\n{dataset}: {len(val)} runs of {3000:,} steps ({', '.join(texts)}; seeds {', '.join(map(str, SEEDS))})"]
    lines.append(
        f"{'step':>6}  {'val':>6} {'least':>6} {'most':>6}  {'train':>6} {'least':>6} {'most':>6}  {'margin':>6}"
    )
    for place, step in enumerate(steps):
        if step % 250 == 0 or step in (50, 100):
            row = [f"{f(part[:, place]):6.3f}" for part in (val, train) for f in (np.mean, np.min, np.max)]
            margin = f"{found.margin(step):6.3f}" if step >= FIRST else "     -"
            lines.append(f"{step:>6,}  {' '.join(row[:3])}  {' '.join(row[3:])}  {margin}")
    late = [step >= SETTLED for step in steps]
    less = np.concatenate([np.array(text["val"]) - np.array(text["marks"])[:, 2:] for text in texts.values()])
    lines.append(
        f"between the runs, from step {SETTLED}: {spread(val[:, late]):.3f} nats; less the bigrams' loss on the same"
    )
    how = "so they are compared less it" if found.relative else "so they are compared as they are"
    lines.append(f"targets {spread(less[:, late]):.3f}, {how}")
    if len(texts) > 1:
        means = [run.mean(axis=0)[late] for run in np.split(less, len(texts))]
        lines.append(f"of that between the texts: {np.abs(means[0] - means[-1]).mean():.3f} nats")
    half = Curves(found.steps[::2], found.losses[:, ::2], found.relative)
    missed = [step for step in steps[3::2] if step >= 100]
    wrong = [abs(half.at(step, 0.0).mean - found.at(step, 0.0).mean) for step in missed]  # type: ignore[union-attr]
    lines.append(f"read off between evaluations 100 steps apart: wrong by at most {max(wrong):.3f} nats")
    others = [np.delete(found.losses, run, axis=0).mean(axis=0) for run in range(len(found.losses))]
    margins = np.array([found.margin(step) for step in steps])
    share = [np.abs(run - other)[1:] / margins[1:] for run, other in zip(found.losses, others, strict=True)]
    lines.append(f"each run beside the mean of the others: at most {np.max(share):.2f} of the margin")
    return "\n".join(lines)


def check(runs: Path) -> int:
    """Print what would be said of each run in a folder."""
    for folder in sorted(path for path in runs.iterdir() if (path / "metrics.jsonl").exists()):
        name, _, seed = folder.name.rpartition("-")
        if (text := saved().get(name)) and int(seed) in text["seeds"]:
            marks = Marks(*text["marks"][text["seeds"].index(int(seed))])
            found = curves(name.split("-")[0], text["text"])
            assert found is not None
            expected = functools.partial(found.at, bigrams=marks.bigrams)
            print(f"\n{folder.name}")
            for step, line in replayed(history(folder), TrainConfig(), marks, expected):
                print(f"  step {step:>5,}  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
