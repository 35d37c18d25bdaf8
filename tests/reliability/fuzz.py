"""Mutated files of every format that tinygpt reads: no traceback, no hang, and no gigabyte for a small file.

--count files, in turn over the formats, each a good one that was changed: bits, bytes, length, and in JSON also types,
keys, nesting and sizes of numbers; or a folder, a pipe or nothing in its place. Where a digest lies beside the file it
is made to fit, so that what is read next is reached too. Each is read as a command would read it, within worker
processes that may not take more than a gigabyte, and must be taken, or refused in one sentence.
"""

import contextlib
import hashlib
import io
import json
import os
import pickle
import resource
import select
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests import children
from tests.reliability import harness
from tests.reliability.changes import changed
from tests.reliability.harness import Report, in_process

SECONDS, BYTES = 10, 1 << 30  # that a file may take: of computing, and of memory
SILENCE = 60  # seconds without a word from a worker: it hangs
CPU = "--device=cpu", "--threads=1"
LESS = ("--max_iters=6", "--eval_iters=1", "--batch_size=2", "--gradient_accumulation_steps=1", "--sample_length=2",
        "--eval_interval=3", "--data=text.txt", *CPU)  # fmt: skip


# The formats: the file that is changed, and what reads it.


class Format(NamedTuple):
    path: str  # in a folder that `prepare` has made; a * stands for whatever is there
    read: Callable[[], Any]


def resumes() -> Any:
    return in_process("train", "--init_from=resume", "--out_dir=out", *LESS)


def evaluates() -> Any:
    return in_process("eval", "--out_dir=out", *CPU)


def samples(*flags: str) -> Any:
    return in_process("sample", "--out_dir=out", "--max_new_tokens=3", *CPU, *flags)


def begins(*flags: str) -> Any:
    return in_process("train", *harness.SMALL, "--eval_only", "--out_dir=new", *flags)


def reads_configuration() -> Any:
    from tinygpt.run.config import TrainConfig
    from tinygpt.run.nanogpt import read_nanogpt_config

    return guarded(lambda: TrainConfig(**read_nanogpt_config("config.py")[0]))


def reads_progress() -> Any:
    from lessons import progress

    return guarded(lambda: progress.load(Path("work")))


FORMATS = {
    "config.json": Format("out/best/config.json", lambda: in_process("info", "--out_dir=out")),
    "config.json, to start from": Format("hf/config.json", lambda: begins("--init_from=hf", "--block_size=8")),
    "model.safetensors": Format("out/best/model.safetensors", evaluates),
    "tokenizer, char": Format("out/best/tokenizer.tinygpt.json", samples),
    "tokenizer, bpe": Format("bpe/best/tokenizer.tinygpt.json", lambda: samples("--out_dir=bpe")),
    "current": Format("out/last/current", resumes),
    "state.json": Format("out/last/step-*/state.json", resumes),
    "config.json of a state": Format("out/last/step-*/config.json", resumes),
    "weights of a state": Format("out/last/step-*/model.safetensors", resumes),
    "moments of a state": Format("out/last/step-*/moments.safetensors", resumes),
    "tokenizer of a state": Format("out/last/step-*/tokenizer.tinygpt.json", resumes),
    "metrics.jsonl": Format("out/metrics.jsonl", resumes),
    "nanoGPT's configuration": Format("config.py", reads_configuration),
    "text": Format("text.txt", begins),
    "text, bpe": Format("text.txt", lambda: begins("--tokenizer=bpe", "--vocab_size=260")),
    "prompt": Format("text.txt", lambda: samples("--start=FILE:text.txt")),
    "train.bin": Format("tokens/train.bin", lambda: begins("--data=tokens")),
    "val.bin": Format("tokens/val.bin", lambda: begins("--data=tokens")),
    "meta.pkl": Format("characters/meta.pkl", lambda: begins("--data=characters")),
    "train.bin of a shard": Format("shards/t_train_1.bin", lambda: begins("--data=shards")),
    "input.txt": Format("tokens/input.txt", lambda: begins("--data=tokens")),
    "cache": Format("cache/texts/*/*", begins),
    "checksums of the cache": Format("cache/texts/*/checksums", begins),
    "progress of the lessons": Format("work/progress.json", reads_progress),
}


def guarded(read: Callable[[], Any]) -> tuple[int, str, str]:
    """What a command does with the errors of `read`."""
    from tinygpt.cli import guarded

    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        return guarded(lambda: bool(read()) and 0), "", err.getvalue()


def prepare(folder: Path) -> None:
    """A folder with a good file of each format."""
    text = harness.write_text(folder, size=6_000)
    for out, flags in (("out", ()), ("bpe", ("--tokenizer=bpe", "--vocab_size=270"))):
        arguments = ("train", *harness.SMALL, f"--out_dir={out}", "--max_iters=4", *flags)
        harness.finished(folder, *arguments).check_returncode()
    shutil.copytree(folder / "out" / "best", folder / "hf")
    (folder / "config.py").write_text(
        '"""A configuration."""\nimport os\nn_layer = 1\nn_head, = 2,\nlearning_rate = 1e-3 * 2\n'
        'batch_size = 2 * 3\ndataset = "stdlib"\ncompile = False\nbias = True\ndropout = 0.1\nmax_iters = 10\n'
    )
    (folder / "tokens").mkdir()
    characters = sorted(set(text.read_text()))
    ids = np.array([characters.index(c) for c in text.read_text()], np.uint16)
    ids[:5000].tofile(folder / "tokens" / "train.bin")
    ids[5000:].tofile(folder / "tokens" / "val.bin")
    shutil.copy(text, folder / "tokens" / "input.txt")
    shutil.copytree(folder / "tokens", folder / "characters")
    (folder / "characters" / "input.txt").unlink()
    meta = {"vocab_size": len(characters), "itos": dict(enumerate(characters))}
    (folder / "characters" / "meta.pkl").write_bytes(pickle.dumps(meta))
    (folder / "shards").mkdir()
    header = np.zeros(256, np.int32)
    for name, piece in (("val_0", ids[5000:]), ("train_1", ids[:2000]), ("train_2", ids[2000:5000])):
        header[:3] = 20240520, 1, len(piece)
        (folder / "shards" / f"t_{name}.bin").write_bytes(header.tobytes() + piece.tobytes())
    (folder / "work").mkdir()
    derived = {"7": {"place": 3, "ended": True, "derived": ["backward(dout, cache)"]}}
    kept = {"waits": False, "lessons": derived, "exercises": {"gelu": {"attempts": 2, "hints": 1}}}
    (folder / "work" / "progress.json").write_text(json.dumps({"version": 1, **kept}))


# The trials.


def put(path: Path, content: bytes | None, rng: np.random.Generator) -> str:
    """Put the content in place of a file, or none: a folder, a pipe that nobody writes to, or nothing."""
    path.unlink()
    if content is not None:
        path.write_bytes(content)
        return ""
    odd = {"folder": Path.mkdir, "pipe": os.mkfifo, "nothing": str, "a link to itself": lambda p: p.symlink_to(p)}
    name = list(odd)[rng.integers(len(odd))]
    odd[name](path)
    return name


def fit_digests(out_dir: Path) -> None:
    """Make the digests of a state's files, and of its state.json in `current`, those of what is there now."""
    (state,) = (out_dir / "last").glob("step-*")
    path = state / "state.json"
    with contextlib.suppress(ValueError, TypeError, KeyError, OSError, RecursionError):
        meta = json.loads(path.read_bytes())
        for name in meta["sha256"]:
            with contextlib.suppress(OSError):
                meta["sha256"][name] = hashlib.sha256((state / name).read_bytes()).hexdigest()
        path.write_text(json.dumps(meta, indent=2))
    if path.is_file():
        (out_dir / "last" / "current").write_text(f"{state.name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n")


def trial(good: Path, number: int, seed: int) -> str:
    """Change a file, read it, and say what came of it in a word, or what is wrong in a sentence."""
    rng = np.random.default_rng([seed, number])
    name = list(FORMATS)[number % len(FORMATS)]
    place = good.with_name(f"{good.name}-{os.getpid()}")
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(good, place)
    paths = sorted(path for path in place.glob(FORMATS[name].path) if path.is_file())
    path = paths[rng.integers(len(paths))]
    sealed = path.name == "checksums"  # JSON, under a line with its digest
    how, content = changed(path.read_bytes().partition(b"\n")[2] if sealed else path.read_bytes(), rng)
    if sealed and content is not None:
        content = hashlib.blake2b(content, digest_size=16).hexdigest().encode() + b"\n" + content
    how = put(path, content, rng) or how
    if "step-" in FORMATS[name].path and path.is_file():
        fit_digests(place / "out")
    print(f"{number}\t{name}: {path.relative_to(place)}, {how}", flush=True)
    began = time.process_time()
    with harness.inside(place):
        try:
            status, _, err = FORMATS[name].read()
        except BaseException as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())[:150]
            frames = []
            trace = error.__traceback__
            while trace:
                frames.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
                trace = trace.tb_next
            return f"a traceback, {what} ({' '.join(frames[-3:])})"
    if "out of memory" in err:
        return f"over {BYTES >> 30} GiB: {err.strip()[-150:]}"
    if (seconds := time.process_time() - began) > SECONDS:
        return f"{seconds:.0f} s"
    if status == 0:
        return "taken"
    one_line = err.replace("note:", "error:").startswith("error: ") and err.strip()
    return "refused" if one_line else f"status {status} and {err[-150:]!r}"


def work(good: Path, seed: int, numbers: Iterator[int]) -> None:
    """In a process of its own: try each number, with no more than a gigabyte more than there is now."""
    import matplotlib.figure  # noqa: F401  (what all trials need is no trial's)

    in_process("eval", f"--out_dir={good}", f"--data={good}/text.txt", *CPU)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + BYTES, now + BYTES))
    for number in numbers:
        print(f"{number}\t{trial(good, number, seed)}", flush=True)


def measure(folder: Path, count: int, seed: int) -> Report:
    good = folder / "good"
    prepare(good)
    with ThreadPoolExecutor(2) as pool:
        halves = [pool.submit(watch, good, seed, list(range(start, count, 2))) for start in range(2)]
        outcomes = dict(sorted(outcome for half in halves for outcome in half.result().items()))
    counts = Counter(outcome if outcome in ("taken", "refused") else "wrong" for _, outcome in outcomes.values())
    alike: dict[tuple[str, str], list[str]] = {}
    for number, (what, outcome) in outcomes.items():
        if outcome not in ("taken", "refused"):
            alike.setdefault((what.partition(":")[0], outcome[:40]), []).append(f"{what}: {outcome}; file {number}")
    faults = [f"{len(found)} times, first {found[0]}" for found in alike.values()]
    return Report("no traceback, no hang over 10 s, none over 1 GB", {"files": len(outcomes), **counts}, faults)


def watch(good: Path, seed: int, numbers: list[int]) -> dict[int, tuple[str, str]]:
    """The outcomes of the trials of those numbers, by number; a worker that hangs or dies has named its file."""
    outcomes: dict[int, tuple[str, str]] = {}
    while numbers:
        arguments = "-m", "tests.reliability.fuzz", "--work", good, str(seed), *map(str, numbers[:400])
        with children.started(*arguments, cwd=good.parent, env=harness.environment(good), seconds=3600) as worker:
            what, died, unread = "", "", b""
            while True:
                if not select.select([worker.stdout], [], [], SILENCE)[0]:
                    died = f"nothing after {SILENCE} s"
                    break
                piece = os.read(worker.stdout.fileno(), 65536)
                if not piece:
                    died = f"the process ended with status {worker.wait()}, {worker.stderr.read()[-150:]!r}"
                    break
                *lines, unread = (unread + piece).split(b"\n")
                for line in lines:  # in turn what is tried, and what came of it
                    number, _, said = line.decode().partition("\t")
                    if what:
                        outcomes[int(number)] = (what, said)
                    what = "" if what else said
        done = [number for number in numbers[:400] if number in outcomes]
        if what:
            outcomes[numbers[len(done)]] = (what, died)
        elif len(done) == 0:
            raise RuntimeError(died)
        numbers = [number for number in numbers if number not in outcomes]
    return outcomes


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[2]), int(sys.argv[3]), map(int, sys.argv[4:]))
    else:
        harness.run_as_command(measure, count=3000)
