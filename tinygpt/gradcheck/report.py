"""What is said: of a check a table, of a wrong candidate sentences."""

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tinygpt.backend import Array, to_host
from tinygpt.errors import brief
from tinygpt.gradcheck.trees import labels, leaves


class Row(NamedTuple):
    """One line of the report: an output, or the gradient of one input.

    error: norm(analytic - numerical) / max(norm(analytic), norm(numerical), floor), over the entries that were checked;
    the floor lets pass what rounding makes of a gradient of zero, and nothing larger. place: the entry most off.
    """

    name: str
    shape: tuple[int, ...]
    error: float
    place: tuple[int, ...] = ()
    analytic: float = math.nan
    numerical: float = math.nan
    entries: int = 0  # how many were checked
    problem: str = ""  # "" for a right one


@dataclass
class Report:
    """What a check found. `passed` is the verdict. Printed, it is the verdict in a line, what is wrong, and a table.

    problems: what is wrong and no single row can say. warnings: what is doubtful but not wrong. unchecked: names of
    what was not differentiated. unsupported: titles of cases that a layer does not take.
    """

    title: str
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    note: str = ""
    tolerance: float = 1e-9
    warnings: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    inputs: str = ""  # what they were, with shapes
    values: list[str] = field(default_factory=list)  # the numbers of those that are small, where something is wrong
    sampled: dict[str, str] = field(default_factory=dict)  # by row, how many of how many entries were looked at

    @property
    def passed(self) -> bool:
        return not self.problems and not any(row.problem for row in self.rows)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def gradients(self) -> list[Row]:
        """The rows of gradients, without forward's."""
        return [row for row in self.rows if row.name.startswith("d")]

    @property
    def error(self) -> float:
        """The worst relative error of any row; infinite where something could not be compared."""
        errors = [row.error if math.isfinite(row.error) else math.inf for row in self.rows]
        return max(errors, default=math.inf if self.problems else 0.0)

    @property
    def verdict(self) -> str:
        """In one line, without the title."""
        if not self.rows:
            return "WRONG" if self.problems else "not supported" if self.unsupported else "right"
        if self.passed:
            count = sum(bool(row.entries) or 0 in row.shape for row in self.gradients)
            if self.gradients and not count:
                return "nothing could be checked"
            found = f"{'all ' * (count > 1)}{count} gradient{'s' * (count != 1)} to {self.error:.1e}"
            return f"right, {found} (tolerance {self.tolerance:.2g})"
        wrong = [row.name for row in self.rows if row.problem]
        names = ", ".join(wrong if len(wrong) <= 6 else [*wrong[:5], f"{len(wrong) - 5} more"])
        error = f" by {self.error:.1e} (tolerance {self.tolerance:.2g})" if wrong and math.isfinite(self.error) else ""
        return f"WRONG{', ' * bool(wrong)}{names}{error}"

    def __str__(self) -> str:
        lines = wrapped(f"{self.title}: {self.verdict}")
        for row in self.rows:
            if row.problem not in ("", "WRONG"):
                lines += wrapped(f"  {row.name} {in_words(row)}")
        for problem in self.problems:
            lines += wrapped(f"  {problem}")
        if self.rows:
            lines += ["", *table(self.rows)]
        if self.sampled:
            counts = sorted(set(self.sampled.values()))
            where = f"{counts[0]} entries of {', '.join(self.sampled)}" if len(counts) == 1 else "some entries of each"
            lines += wrapped(f"looked at {where}, and one random direction through all of them")
        lines += wrapped(f"inputs: {self.inputs}") if self.inputs else []
        lines += self.values
        for warning in self.warnings:
            lines += wrapped(f"note: {warning}")
        for words, names in (("not checked", self.unchecked), ("not supported", self.unsupported)):
            lines += wrapped(f"{words}: {', '.join(names)}") if names else []
        lines += [line for note in self.note.splitlines() for line in wrapped(note)]
        return "\n".join(lines)


class Reports(list[Report]):
    """One for each case. Printed, each is a line, and the first of those that are wrong is there in full."""

    @property
    def passed(self) -> bool:
        """Whether there are any, and all of them passed."""
        return bool(self) and all(self)

    def __str__(self) -> str:
        width = max((len(report.title) for report in self), default=0)
        lines = []
        for report in self:
            said = f"{report.error:.1e}" if report.passed else ", ".join(row.name for row in report.rows if row.problem)
            lines.append(f"{report.title:<{width}}  {'right' if report.passed else 'WRONG'}  {said}".rstrip())
        unsupported = [title for report in self for title in report.unsupported]
        lines += wrapped(f"not supported: {', '.join(unsupported)}") if unsupported else []
        first = next((report for report in self if not report.passed), None)
        return "\n".join(lines + ([] if first is None else ["", str(first)]))


WIDTH = 80  # columns
SMALL = 40  # numbers that are written out


def table(rows: list[Row]) -> list[str]:
    """A line for each row; without shapes, and then without places, where it would be too wide."""
    lines = [["", "shape", "error", "worst entry", "yours", "expected", ""]]
    for row in rows:
        error = f"{row.error:.1e}" if math.isfinite(row.error) else ""
        worst = (
            [str(list(row.place)), *apart(row.analytic, row.numerical, bool(row.problem))] if row.entries else [""] * 3
        )
        verdict = "WRONG" if row.problem else "right" if row.entries or 0 in row.shape else "not checked"
        lines.append([row.name, str(row.shape), error if row.entries else "", *worst, verdict])
    for left_out in ((), (1,), (1, 3)):
        kept = [[cell for place, cell in enumerate(line) if place not in left_out] for line in lines]
        sides = [side for place, side in enumerate("<<>>>><") if place not in left_out]
        widths = [max(map(len, column)) for column in zip(*kept, strict=True)]
        if sum(widths) + 2 * (len(widths) - 1) <= WIDTH:
            break
    aligned = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    return [aligned.format(*line).rstrip() for line in kept]


def in_words(row: Row) -> str:
    """What is wrong with a row, as one would say it."""
    what = row.problem.removeprefix("WRONG: ")
    if what.endswith(" times"):
        return f"is {what} what is expected"
    if what.startswith("has shape"):
        return f"{what}; expected {row.shape}"
    said = {
        "its sign": "has the wrong sign",
        "small entries among larger ones": "is wrong in small entries among larger ones",
        "WRONG along a random direction": "is right at the entries looked at, and wrong along a random direction",
    }
    return said.get(what, what if what.startswith("has ") else f"is {what}")


def apart(yours: float, expected: float, wrong: bool) -> list[str]:
    """Two numbers with as many digits as it takes to tell them apart, if one is wrong."""
    for digits in range(6, 17 if wrong else 7):
        said = [f"{x:.{digits}g}" for x in (yours, expected)]
        if said[0] != said[1]:
            break
    return said


def wrapped(line: str) -> list[str]:
    """A line in as many as it takes."""
    indent = " " * (len(line) - len(line.lstrip()))
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent + "  ", **options) or [""]


def described(inputs: Mapping[str, Any]) -> str:
    """Inputs by name, arrays with their shapes."""
    said, few = [], {}
    for name, x in inputs.items():
        long = isinstance(x, list | tuple) and len(x) > 4 and not any(hasattr(leaf, "shape") for _, leaf in leaves(x))
        if long:
            said.append(f"{name} ({type(x).__name__} of {len(x):,})")
        else:
            few[name] = x
    for (_, x), name in zip(leaves(few), labels(few).values(), strict=True):
        if hasattr(x, "shape"):
            said.append(f"{name} {tuple(x.shape)}" + (f" of {x.dtype}" if x.dtype.kind != "f" else ""))
        elif x is None or isinstance(x, int | float | str):
            said.append(f"{name} {brief(x)}")
        else:
            said.append(f"{name} ({type(x).__name__})")
    return ", ".join(said)


def numbers(arrays: Mapping[str, Array]) -> list[str]:
    """Arrays with all their digits, so that what was found can be found again; nothing if there are too many."""
    if sum(x.size for x in arrays.values()) > SMALL:
        return []
    lines = []
    for name, x in arrays.items():
        text = np.array2string(to_host(x), separator=", ", floatmode="unique", max_line_width=WIDTH - 4)
        first, *rest = f"{name} = {text}".splitlines()
        lines += [first, *(" " * (len(name) + 3) + line for line in rest)]
    return lines


class Explanation(NamedTuple):
    """One thing that is wrong. family: one of `mutants.FAMILIES`."""

    family: str
    says: str


@dataclass
class Diagnosis:
    """What is wrong with a candidate. Printed, it is sentences.

    explanations: what is wrong for certain; if `certain`, they account for every number. remarks: what else is true.
    raised: what was raised in cases that are not accounted for. ranking: the library's mutants, each after its relative
    error to these numbers, the likest first.
    """

    explanations: list[Explanation]
    certain: bool
    remarks: list[str] = field(default_factory=list)
    ranking: list[tuple[float, Any]] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)

    @property
    def first(self) -> Explanation | None:
        """The first thing to look at; None if nothing explains these numbers."""
        return next(iter(self.explanations), None)

    def __str__(self) -> str:
        says = [explanation.says for explanation in self.explanations]
        return "\n".join(dict.fromkeys(says + self.remarks + self.raised))
