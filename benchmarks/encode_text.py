"""How much memory and time does a text take to become tokens? Each measurement in a process of its own, cache empty.

    python benchmarks/encode_text.py [--size=100] [--tokenizers=char,bpe,gpt2] [--texts=source,words] [--against=FOLDER]

source: the Python files of this installation, again from the beginning where they are fewer; words: random letters, of
which hardly a word comes twice, the worst case for learning byte pairs. --against: another checkout, measured in turn.
Prints, by text and tokenizer, the peak of resident memory of the whole process, MB for each second of one processor
(whatever else the machine does), and that of a second start, which finds the tokens. Linux. The text is written to the
folder of --folder (the system's for temporary files).
"""

import argparse
import itertools
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

MEASURE = """
import resource, sys, time
from tinygpt.data import load_corpus
path, tokenizer, vocab_size = sys.argv[1:]
size = int(vocab_size) if tokenizer == "bpe" else None
for _ in range(2):
    began = time.process_time()
    load_corpus(data=path, tokenizer=tokenizer, vocab_size=size)
    print(time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def source() -> Iterator[bytes]:
    """The standard library's files and whatever else is installed there, for ever."""
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"))
    for path in itertools.cycle(paths):
        try:
            yield path.read_text(encoding="utf-8").encode()
        except (OSError, UnicodeError):
            continue


def words() -> Iterator[bytes]:
    """Random letters, a space after about one in eight, for ever."""
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", np.uint8)
    while True:
        text = letters[rng.integers(26, size=1 << 20)]
        text[rng.random(1 << 20) < 0.12] = ord(" ")
        text[rng.random(1 << 20) < 0.01] = ord("\n")
        yield text.tobytes()


def write(path: Path, pieces: Iterator[bytes], size: int) -> None:
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(next(pieces))


def measure(root: Path, path: Path, tokenizer: str, vocab_size: int, folder: Path) -> str:
    """A row's numbers of one side, from a process that starts with an empty cache."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        environment = os.environ | {"PYTHONPATH": str(root), "TINYGPT_CACHE": cache}
        command = [sys.executable, "-c", MEASURE, str(path), tokenizer, str(vocab_size)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root)
    if done.returncode:
        return "failed: " + done.stderr.strip().rpartition("\n")[2][:80]
    (first, peak), (again, _) = (map(float, line.split()) for line in done.stdout.splitlines())
    size = path.stat().st_size / 1e6
    return f"peak {peak / 1e6:7,.0f} MB   {size / first:7.1f} MB/s   again {size / again:7.0f} MB/s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=100, help="of a text, in MB (default: 100)")
    parser.add_argument("--tokenizers", default="char,bpe,gpt2")
    parser.add_argument("--texts", default="source,words")
    parser.add_argument("--vocab_size", type=int, default=1024, help="of bpe (default: 1024)")
    parser.add_argument("--against", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    sides = {"this": Path(__file__).resolve().parents[1]}
    if arguments.against:
        sides["other"] = arguments.against.resolve()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name in arguments.texts.split(","):
            path = Path(folder) / f"{name}.txt"
            write(path, {"source": source, "words": words}[name](), int(arguments.size * 1e6))
            for tokenizer, (side, root) in itertools.product(arguments.tokenizers.split(","), sides.items()):
                row = measure(root, path, tokenizer, arguments.vocab_size, Path(folder))
                what = f"{name}, {path.stat().st_size / 1e6:,.0f} MB"
                print(f"{what:<20} {tokenizer:<5} {side:<6} {row}", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
