"""`tinygpt compare`: the losses of two or more runs side by side, as a table and, if asked for, a plot."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tinygpt.errors import UserError
from tinygpt.files import expanded, write_atomically
from tinygpt.run import comparison
from tinygpt.run.comparison import Run
from tinygpt.run.metrics import fit_losses
from tinygpt.run.state import EvalRecord

HELP = "Lay the losses of runs side by side."
FORMATS = ".png", ".svg", ".pdf"
Loss = Callable[[EvalRecord], float]


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="*", metavar="OUT_DIR", help="the folders of two runs, or more")
    parser.add_argument("--out", metavar="FILE", help="draw the losses into a file too: .png, .svg or .pdf")


def run(arguments: argparse.Namespace, _: str) -> int:
    folders = [Path(expanded(folder)) for folder in arguments.folders]
    if len(folders) < 2:
        raise UserError(
            f"compare has {len(folders)} folder{'s' * (len(folders) != 1)}; expected those of two runs or more, such "
            f"as: tinygpt compare out out-2"
        )
    places = [folder.resolve() for folder in folders]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise UserError(f"{folders[number]} was given twice; expected the folders of different runs")
    out = Path(expanded(arguments.out)) if arguments.out is not None else None
    if out and out.suffix.lower() not in FORMATS:
        raise UserError(f"--out is {out}; expected a file that ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    runs = [comparison.read(*pair) for pair in zip(folders, comparison.labels(folders), strict=True)]
    print("\n\n".join(part for part in report(runs) if part))
    if out:
        draw(runs, out)
        print(f"\ndrawn into {out}")
    return 0


def report(runs: Sequence[Run]) -> list[str]:
    """What there is to say of the runs, a paragraph or a table each."""
    parts = []
    if any(one.label not in (one.folder.name, str(one.folder)) for one in runs):
        parts.append(table([["run", "folder"], *([one.label, str(one.folder)] for one in runs)], left=True))
    for one in runs:
        if one.config is None:
            parts.append(f"note: {one.folder} has metrics and no saved state, so its settings are not known")
    differ = comparison.differences(runs)
    if differ:
        parts.append(
            table([["settings", *(one.label for one in runs)], *([name, *row] for name, row in differ.items())])
        )
    elif all(one.config for one in runs):
        parts.append("the settings are the same")
    why, bits = comparison.not_comparable(runs), comparison.have_bits(runs)
    loss, unit = per_token, "nats per token"
    if why and bits:
        loss, unit = per_character, "bits per character"
        still = "; a text may be easier than another" * comparison.of_different_texts(runs)
        parts.append(
            f"{why}, so losses per token do not compare; these are bits per character of each one's val{still}"
        )
    elif why:
        parts.append(f"{why}, so these losses per token do not compare")
    elif other := comparison.other_stretches(runs):
        pairs = ", ".join(f"{one.marks.bigrams:.2f} ({one.label})" for one in runs if one.marks)
        size = "which may be easier: small differences say nothing"
        if all(one.marks for one in runs):
            size = f"on which pairs' frequencies have {pairs}: differences of that size say nothing"
        differ_s = "differs" if len(other) == 1 else "differ"
        parts.append(f"{listed(other)} {differ_s}, so each was evaluated on other stretches of the text, {size}")
    parts.append(by_step(runs, loss, unit, with_train=loss is per_token))
    tokens = {one.tokens_per_step for one in runs}
    if len(tokens) > 1 and None not in tokens:
        parts.append(by_tokens(runs, loss, unit))
    parts.append(summary(runs, loss, unit))
    return parts


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: "seed", "seed and eval_iters", "seed, batch_size and eval_iters"."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def per_token(record: EvalRecord) -> float:
    return record.val_loss


def per_character(record: EvalRecord) -> float:
    assert record.bits_per_character is not None
    return record.bits_per_character


def by_step(runs: Sequence[Run], loss: Loss, unit: str, with_train: bool) -> str:
    """The losses at each step at which at least two runs were evaluated; at all steps where there are none such."""
    found = [{record.step: record for record in one.evaluations} for one in runs]
    every = sorted(set().union(*found))
    shared = [step for step in every if sum(step in steps for steps in found) > 1]
    steps = comparison.thinned(shared or every)
    rows = []
    for step in steps:
        records = [own.get(step) for own in found]
        values = [None if record is None else loss(record) for record in records]
        train = [number(record.train_loss if record else None) for record in records] if with_train else []
        rows.append([f"{step:,}", *map(number, values), *verdict(runs, values), *train])
    several = ["lowest"] if len(runs) > 2 else ["difference", "lower"]
    heads = ["step", *(f"val {one.label}" for one in runs), *several]
    heads += [f"train {one.label}" for one in runs] if with_train else []
    left_out = f"; {len(steps)} of {len(shared)} evaluations" if shared and len(steps) < len(shared) else ""
    title = f"{unit}{left_out}" if shared else f"{unit}; no two runs were evaluated at the same step"
    return title + "\n" + table([heads, *rows])


def by_tokens(runs: Sequence[Run], loss: Loss, unit: str) -> str:
    """The losses after equal numbers of training tokens, for runs whose steps differ in size."""
    slowest = max(runs, key=lambda one: one.tokens_per_step or 0)
    seen = [record.step * (slowest.tokens_per_step or 0) for record in slowest.evaluations]
    rows = []
    for tokens in comparison.thinned(seen):
        values = [comparison.at_tokens(one, tokens, loss) for one in runs]
        if sum(value is not None for value in values) > 1:
            rows.append([f"{tokens:,}", *map(number, values), *verdict(runs, values)])
    several = ["lowest"] if len(runs) > 2 else ["difference", "lower"]
    heads = ["tokens", *(f"val {one.label}" for one in runs), *several]
    sizes = ", ".join(f"{one.label} {one.tokens_per_step:,}" for one in runs)
    title = f"{unit} after equal numbers of tokens (a step has: {sizes}), straight between evaluations"
    return title + "\n" + table([heads, *rows]) if len(rows) > 1 else ""


def verdict(runs: Sequence[Run], values: Sequence[float | None]) -> list[str]:
    """Which run is lower, and of two by how much the second differs from the first."""
    known = {one.label: value for one, value in zip(runs, values, strict=True) if value is not None}
    if len(known) < 2:
        return [""] if len(runs) > 2 else ["", ""]
    least = [name for name, value in known.items() if value == min(known.values())]
    lower = least[0] if len(least) == 1 else "equal"
    if len(runs) > 2:
        return [lower]
    first, second = known.values()
    return [f"{second - first:+.4f}", lower]


def summary(runs: Sequence[Run], loss: Loss, unit: str) -> str:
    with_train = loss is per_token
    rows = [["", "steps", "best val", "at step", *["train there"] * with_train, "tokens/s"]]
    for one in runs:
        best = min(one.evaluations, key=loss)
        steps = max([one.evaluations[-1].step, *(reading.step for reading in one.readings)])
        speed = f"{one.tokens_per_second:,.0f}" if one.tokens_per_second else "-"
        train = [number(best.train_loss)] * with_train
        rows.append([one.label, f"{steps:,}", number(loss(best)), f"{best.step:,}", *train, speed])
    return table(rows)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def table(rows: Sequence[Sequence[str]], left: bool = False) -> str:
    """Aligned columns: the first to the left, the others to the right, or all to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        place = str.ljust if left else str.rjust
        cells = [row[0].ljust(widths[0]), *map(place, row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def draw(runs: Sequence[Run], out: Path) -> None:
    """The runs' losses as curves. Raises UserError without matplotlib, or where the file cannot be written."""
    try:
        from matplotlib.figure import Figure  # not pyplot, which looks for a display
    except ModuleNotFoundError:
        raise UserError(f"{out} was not drawn: that takes matplotlib; pip install matplotlib") from None
    why = comparison.not_comparable(runs)
    bits = bool(why) and comparison.have_bits(runs)
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for place, one in enumerate(runs):
        color, steps = f"C{place % 10}", [record.step for record in one.evaluations]
        val = [per_character(record) if bits else record.val_loss for record in one.evaluations]
        axes.plot(steps, val, "o-", ms=3, color=color, label=f"{one.label}, val")
        if not bits:
            axes.plot(steps, [record.train_loss for record in one.evaluations], "--", lw=1, color=color, alpha=0.7)
            axes.plot([], [], "--", lw=1, color=color, alpha=0.7, label=f"{one.label}, train")
    axes.set(xlabel="step", ylabel="bits per character" if bits else "loss (nats per token)")
    if why and not bits:
        axes.set_title(f"{why}: not comparable", fontsize=10)
    fit_losses(axes, [record.val_loss for one in runs for record in one.evaluations])
    axes.legend(frameon=False, fontsize=9)
    kind = out.suffix[1:].lower()
    with np.errstate(all="ignore"):  # of losses that no axis can hold
        write_atomically(out, lambda temporary: figure.savefig(temporary, dpi=120, format=kind))
