"""All that a CUDA card is to be asked, in one command and a limited time.

    python benchmarks/cuda_report.py [--only=parity,speed] [--minutes=8] [--corpus=FILE] [--out=FOLDER] [--stand-in]

Each question is a section, in a process of its own, with a share of the time that is left; those that measure no time
run side by side. What a section has found when its time is over stays in the report: cuda.json (everything measured)
and cuda.md (its tables) in --out, written anew after every section. PyTorch, where it is installed, is the opponent in
`speed`. With --stand-in everything runs in small on tests/cuda/strict_cupy/, without a card: a rehearsal, whose times
mean nothing.
"""

import argparse
import json
import signal
import sys
from pathlib import Path

from report import ROOT
from report.opponent import worker
from report.processes import work
from report.schedule import run
from report.sections import SECTIONS

sys.path.insert(0, str(ROOT))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="sections:\n" + "\n".join(f"  {name:<11}{section.question}" for name, section in SECTIONS.items()),
    )  # fmt: skip
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas (default: all)")
    parser.add_argument("--minutes", type=float, default=8.0, help="in all (default: 8)")
    parser.add_argument("--corpus", help="tiny Shakespeare (default: shared/data/tinyshakespeare.txt here or above)")
    parser.add_argument("--out", default=str(ROOT / "benchmarks" / "results"), help="(default: benchmarks/results)")
    limit = "to wait for PyTorch's compiler where a model is not compiled yet, 0 to do without (default: 60)"
    parser.add_argument("--compile_seconds", type=float, default=60.0, help=limit)
    parser.add_argument("--stand-in", action="store_true", help="rehearse in small, without a card")
    for hidden in ("--section", "--into", "--worker"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--settings", default="{}", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker, json.loads(options.settings))
    if options.section:
        return work(options)
    chosen = options.only.split(",")
    if unknown := [name for name in chosen if name not in SECTIONS]:
        sys.exit(f"--only={options.only}: there is no section {unknown[0]!r}; expected some of {', '.join(SECTIONS)}")
    texts = [folder / "shared" / "data" / "tinyshakespeare.txt" for folder in (ROOT, ROOT.parent)]
    corpus = Path(options.corpus) if options.corpus else next((text for text in texts if text.exists()), None)
    if corpus and not corpus.is_file():
        sys.exit(f"--corpus={corpus}: there is no such file")
    options.corpus = str(corpus.resolve()) if corpus else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the sections end with this
    sys.exit(not run([name for name in SECTIONS if name in chosen], options))


if __name__ == "__main__":
    main()
