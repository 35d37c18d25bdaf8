"""What is said: of a check a table, of a wrong candidate sentences."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple


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
    """What a check found. `passed` is the verdict; printed, it is a table."""

    title: str
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # what no single row can say
    note: str = ""
    tolerance: float = 1e-9

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

    def __str__(self) -> str:
        lines = [["", "shape", "entries", "error", "worst entry", "analytic", "numerical", "verdict"]]
        for row in self.rows:
            error = f"{row.error:.1e}" if not math.isnan(row.error) else ""
            found = f"{row.entries:,}", str(list(row.place)), f"{row.analytic:.6g}", f"{row.numerical:.6g}"
            entries, *worst = found if row.entries else ("",) * 4
            lines.append([row.name, str(row.shape), entries, error, *worst, row.problem or "right"])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = "  ".join(f"{{:{side}{width}}}" for side, width in zip("<<>>>>><", widths, strict=True))
        table = [aligned.format(*line).rstrip() for line in lines] if self.rows else []
        return "\n".join([self.title, *table, *self.problems] + ([self.note] if self.note else []))


class Explanation(NamedTuple):
    """One thing that is wrong. family: one of `mutants.FAMILIES`."""

    family: str
    says: str


@dataclass
class Diagnosis:
    """What is wrong with a candidate. Printed, it is sentences.

    explanations: what is wrong for certain; if `certain`, they account for every number. nearest: guesses at the rest,
    the best first. ranking: the library's mutants, each after its relative error to these numbers, the likest first.
    """

    explanations: list[Explanation]
    certain: bool
    remarks: list[str] = field(default_factory=list)
    ranking: list[tuple[float, Any]] = field(default_factory=list)
    nearest: list[Explanation] = field(default_factory=list)

    @property
    def first(self) -> Explanation | None:
        """The first thing to look at: an explanation, else the nearest guess, else None."""
        return next(iter(self.explanations + self.nearest), None)

    def __str__(self) -> str:
        lines = [explanation.says for explanation in self.explanations]
        if not self.certain and self.ranking:  # it was looked for
            lines.append("no known mistake explains " + ("the rest" if lines else "these numbers"))
            lines += [f"it looks most like this one: {explanation.says}" for explanation in self.nearest]
        return "\n".join(lines + self.remarks)
