"""What many ranks cost and gain: on this machine, on two "hosts" with a slow wire, and by a model on cards.

    python benchmarks/scale_out.py [--rounds=10] [--only=machine,sums,hosts,cards] [--write]     (needs the mpich extra)

Sides are processes that live through the run and work only in their turns; a ratio is the median over the rounds, a
rate the best of them, and all sides must have the same losses. The hosts are network namespaces, for which it must be
root on Linux, with iproute2; bytes are counted on their wire. The cards are those of benchmarks/results/cuda.md, and
what they would reach together is computed, not measured. --write keeps the tables in benchmarks/results/scale_out.md
and docs/scale.md, and what pictures/scale_out.svg is drawn from.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from race.hosts import TCP, NoHosts, mpiexec, two_hosts
from race.network import CARD_LINKS, GOAL, Link, newest_step, seconds, sent, share
from race.ranks import PARAMETERS, worker
from race.side import Side

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RESULTS = ROOT / "benchmarks" / "results" / "scale_out.md"
PAGE = ROOT / "docs" / "scale.md"
MARKS = "<!-- what benchmarks/scale_out.py printed -->", "<!-- the end of it -->"
BATCH = 12 * 64  # tokens of a micro-batch of the default model
SMALL = 808_192  # its parameters
STEPS = 20  # of a turn
SIDES = {"1x1": (1, 1), "1x2": (1, 2), "2x1": (2, 1)}  # ranks x threads
PIECES = [1 << 18, 1 << 20, 1 << 22, 1 << 24, PARAMETERS]
RATES = {"1 Gbit/s": ("1gbit", 125e6), "100 Mbit/s": ("100mbit", 12.5e6)}
ACCUMULATIONS = {1: 8, 2: 4, 4: 2, 8: 2}  # micro-batches of a step, and steps of a turn
APART = 2e-5  # relative, of losses that rounding alone may part


def main() -> None:
    from tinygpt.device import cpu_count

    sections = {"machine": machine, "sums": sums, "hosts": hosts, "cards": cards}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="turns of each side (default: 10)")
    parser.add_argument("--only", default=",".join(sections), help="which of its parts (default: all)")
    parser.add_argument("--write", action="store_true", help="keep what it prints, and draw the picture anew")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--settings", default="{}", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(json.loads(arguments.settings))
    chosen = arguments.only.split(",")
    if unknown := [name for name in chosen if name not in sections]:
        sys.exit(f"--only={arguments.only}: there is no {unknown[0]!r}; expected some of {', '.join(sections)}")
    if arguments.rounds < 1:
        sys.exit(f"--rounds={arguments.rounds}: expected at least 1")
    if arguments.write and set(chosen) != set(sections):
        sys.exit("--write keeps all parts together; leave out --only")
    if set(chosen) - {"cards"} and importlib.util.find_spec("mpi4py") is None:
        sys.exit("mpi4py is not installed, by which ranks find each other; pip install -e '.[mpich]' brings it")
    report = Report()
    try:
        report.line(
            f"{cpu_count()} cores, on which {os.getloadavg()[0]:.1f} processes were busy in the minute before; Python "
            f"{platform.python_version()}, NumPy {np.__version__}, {mpi()}."
        )
        for name in chosen:
            sections[name](report, arguments.rounds)
    except NoHosts as why:
        sys.exit(f"{why}; so nothing is measured")
    if arguments.write:
        keep(report)
        subprocess.run([sys.executable, "-m", "pictures", "scale_out"], cwd=ROOT, check=True)


class Report:
    """What is printed, as Markdown, and what is drawn."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.drawn: dict[str, Any] = {"hosts": []}

    def line(self, text: str = "") -> None:
        self.lines.append(text)
        print(text, flush=True)

    def table(self, title: str, heads: list[str], rows: list[list[str]], after: str) -> None:
        for text in ("", f"## {title}", "", _row(heads), _row(["---", *["---:"] * (len(heads) - 1)])):
            self.line(text)
        for row in rows:
            self.line(_row(row))
        self.line(f"\n{after}")


def keep(report: Report) -> None:
    """Write the tables where they are read, and what the picture is drawn from."""
    text = "".join(f"{line}\n" for line in report.lines)
    RESULTS.write_text(f"# Many ranks\n\n{text}", encoding="utf-8")
    RESULTS.with_suffix(".json").write_text(json.dumps(report.drawn, indent=1) + "\n", encoding="utf-8")
    page, (begin, end) = PAGE.read_text(encoding="utf-8"), MARKS
    before, after = page.partition(begin)[0], page.partition(end)[2]
    PAGE.write_text(before + begin + "\n\n" + text.replace("## ", "### ") + "\n" + end + after, encoding="utf-8")


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def side(name: str, ranks: int, threads: int, stack: contextlib.ExitStack) -> Side:
    launcher = [mpiexec(), "-n", str(ranks)] if ranks > 1 else []
    made = Side(name, {"threads": threads}, __file__, launcher=launcher)
    stack.callback(made.close)
    return made


def mpi() -> str:
    """Which one, without starting it here."""
    try:
        said = subprocess.run([mpiexec(), "--version"], capture_output=True, text=True, timeout=30).stdout
    except NoHosts:
        return "no MPICH"
    return "MPICH " + next((line.split()[-1] for line in said.splitlines() if "Version:" in line), "")


def check_losses(losses: dict[str, list[float]]) -> float:
    """How far apart the sides' losses are, relative; ends the run where that is not rounding."""
    first, *others = losses.values()
    length = min(map(len, losses.values()))
    apart = max(float(np.max(np.abs(np.array(o[:length]) / np.array(first[:length]) - 1))) for o in others)
    if not apart <= APART:
        sys.exit(f"the losses of {' and '.join(losses)} are {apart:.1e} apart, so they do not do the same work")
    return apart


# This machine


def machine(report: Report, rounds: int) -> None:
    """1 rank and 1 thread, 1 rank and 2 threads, 2 ranks with a thread each."""
    with contextlib.ExitStack() as stack:
        sides = {name: side(name, *shape, stack) for name, shape in SIDES.items()}
        losses: dict[str, list[float]] = {name: [] for name in sides}
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(rounds + 1):
            for name in [*sides][turn % 3 :] + [*sides][: turn % 3]:
                done = sides[name].ask({"do": "train", "accumulation": 1, "steps": STEPS})
                losses[name] += done["losses"]
                if turn:  # the first warms up
                    rates[name].append(STEPS * BATCH / done["seconds"])
    apart = check_losses(losses)
    report.table(
        "One machine",
        ["ranks x threads", "tokens/s, best", "median", "over 1x1", "over 1x2"],
        [[name, f"{max(own):,.0f}", f"{median(own):,.0f}", *(f"{_over(own, rates[o]):.2f}" for o in ("1x1", "1x2"))]
         for name, own in rates.items()],
        f"The default model, {SMALL / 1e6:.1f}M parameters, {BATCH} tokens a step; rounds: {rounds}, of {STEPS} steps. "
        f"Losses of {len(losses['1x1'])} steps are at most {apart:.0e} apart.",
    )  # fmt: skip


def _over(own: list[float], other: list[float]) -> float:
    return median(a / b for a, b in zip(own, other, strict=True))


def sums(report: Report, rounds: int) -> None:
    """The sum over two ranks of one machine, and an agreement."""
    with contextlib.ExitStack() as stack:
        pair = side("2x1", 2, 1, stack)
        (small,) = pair.ask({"do": "sum", "elements": SMALL, "times": 20 * rounds, "pieces": [0]})
        large = pair.ask({"do": "sum", "elements": PARAMETERS, "times": rounds, "pieces": PIECES})
        agreed = pair.ask({"do": "agree", "times": 100 * rounds})
    rows = [["gradient of 0.8M, at once", small, 4 * SMALL]]
    for piece, taken in zip(PIECES, large, strict=True):
        how = "at once" if piece >= PARAMETERS else f"in pieces of {4 * piece >> 20} MiB"
        rows.append([f"gradient of 124M, {how}", taken, 4 * PARAMETERS])
    rows.append(["an agreement", agreed, 0])
    report.table(
        "What is waited for",
        ["2 ranks of one machine", "median", "least", "GB/s, of the median"],
        [[name, _ms(median(taken)), _ms(min(taken)), f"{size / median(taken) / 1e9:.1f}" if size else ""]
         for name, taken, size in rows],
        "MPI on arrays of the host, float32.",
    )  # fmt: skip


def _ms(time: float) -> str:
    return f"{time * 1e3:.{3 if time < 1e-3 else 2 if time < 1e-2 else 0}f} ms"


# Two hosts


def hosts(report: Report, rounds: int) -> None:
    """Two ranks on two hosts beside one rank alone, at two rates of the wire, for several micro-batches a step."""
    try:
        with two_hosts() as pair, contextlib.ExitStack() as stack:
            _hosts(report, pair, max(1, rounds // 2), stack)
    except NoHosts as why:
        report.line(f"\n## Two hosts\n\nNot measured: {why}.")


def _hosts(report: Report, pair: Any, rounds: int, stack: contextlib.ExitStack) -> None:
    alone = side("1x1", 1, 1, stack)
    both = Side("hosts", {"threads": 1}, __file__, launcher=pair.mpiexec(), more=TCP)
    stack.callback(both.close)
    keys = [(rate, accumulation) for rate in RATES for accumulation in ACCUMULATIONS]
    one: dict[int, list[float]] = {accumulation: [] for accumulation in ACCUMULATIONS}
    two: dict[tuple[str, int], list[float]] = {key: [] for key in keys}
    wire: dict[tuple[str, int], list[float]] = {key: [] for key in keys}
    losses: dict[int, dict[str, list[float]]] = {a: {"one rank": [], "two hosts": []} for a in ACCUMULATIONS}
    for turn in range(rounds + 1):
        for accumulation, steps in ACCUMULATIONS.items():
            wish = {"do": "train", "accumulation": accumulation, "steps": steps}
            done = alone.ask(wish)
            losses[accumulation]["one rank"] += done["losses"]
            size, tokens = done["bytes"], steps * accumulation * BATCH
            if turn:
                one[accumulation].append(tokens / done["seconds"])
            for rate, (limit, _) in RATES.items():
                pair.limit(limit)
                before = pair.sent()
                done = both.ask(wish)
                losses[accumulation]["two hosts"] += done["losses"]
                if turn:
                    two[rate, accumulation].append(tokens / done["seconds"])
                    wire[rate, accumulation].append((max(pair.sent()) - max(before)) / steps)
    apart = max(map(check_losses, losses.values()))
    rows, kept, after = [], [], []
    for rate, (limit, bandwidth) in RATES.items():
        pair.limit(limit)
        ((whole,), (least,)) = (
            both.ask({"do": "sum", "elements": elements, "times": times, "pieces": [0]})
            for elements, times in ((SMALL, 10), (1, 200))
        )
        link = Link(rate, bandwidth, median(least) / 2)  # of a sum's two turns
        model = seconds(2, size, link)
        computing = BATCH / (2 * median(one[1]))  # of a micro-batch, shared by two
        points = {a: median(t / (2 * o) for t, o in zip(two[rate, a], one[a], strict=True)) for a in ACCUMULATIONS}
        kept.append({"name": rate, "micro-batch": computing, "sum": model, "points": points})
        for a in ACCUMULATIONS:
            rows.append([
                rate, str(a), f"{max(one[a]):,.0f}", f"{max(two[rate, a]):,.0f}", f"{2 * points[a]:.2f}",
                f"{2 * share(a * computing, model):.2f}", f"{median(wire[rate, a]) / 1e6:.2f} MB",
                f"{sent(2, size) / 1e6:.2f} MB",
            ])  # fmt: skip
        more = f"with more than {max(ACCUMULATIONS)} micro-batches, if at all"
        pays = next((f"from {a} micro-batch{'es' * (a > 1)} on" for a in points if 2 * points[a] > 1), more)
        after.append(
            f"Over {rate} a sum of {size / 1e6:.2f} MB takes {_ms(median(whole))} ({_ms(model)} by the model), of one "
            f"number {_ms(median(least))}; two are faster than one {pays}."
        )
    report.drawn["hosts"] = kept
    report.table(
        "Two hosts",
        ["wire", "micro-batches", "tokens/s, 1 rank", "2 hosts", "over 1", "by the model", "sent by each, a step",
         "by the model"],
        rows,
        f"A thread each, {BATCH} tokens a micro-batch, rounds: {rounds}; losses are at most {apart:.0e} apart. Bytes "
        "are those of the wire's counters, with the headers of TCP. " + " ".join(after),
    )  # fmt: skip


# Cards


def cards(report: Report, rounds: int) -> None:
    """What several cards would reach by the model."""
    how, rate, tokens = newest_step()
    size = 4 * PARAMETERS  # sums are float32
    steps = {f"{rate:,.0f} tokens/s ({how}, newest)": tokens / rate, f"{GOAL:,} tokens/s (the goal)": tokens / GOAL}
    rows, kept = [], []
    for ranks in (8, 64):
        for link in CARD_LINKS:
            summing = seconds(ranks, size, link)
            shares = [f"{share(n * step, summing):.2f}" for step in steps.values() for n in (1, 5)]
            rows.append([f"{ranks}, {link.name}", _ms(summing), *shares])
            kept.append({"ranks": ranks, "name": link.name, "sum": summing})
    report.drawn |= {"cards": kept, "steps": steps}
    heads = [f"{name.partition(' (')[0]}, {n} micro-batch{'es' * (n > 1)}" for name in steps for n in (1, 5)]
    report.table(
        "Cards, by the model",
        ["cards", "a sum", *heads],
        rows,
        f"GPT-2, 124M parameters, {tokens:,} tokens a micro-batch: computed from t = 2 (N - 1) / N S / B + "
        "2 (N - 1) a, not measured. Of N times the speed of one card, at the newest rate of "
        f"benchmarks/results/cuda.md ({how}) and at the one that is the goal.",
    )


if __name__ == "__main__":
    main()
