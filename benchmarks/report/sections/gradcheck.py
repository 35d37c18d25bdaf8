"""Is every gradient right there, by numerical derivatives?"""

from report.commands import command
from report.report import Report

PLACE, SECONDS = 40, None


def run(report: Report) -> None:
    cheap = ["embedding", "linear", "softmax", "cross_entropy", "dropout", "lm_head_loss"] if report.stand_in else []
    status, seconds, timed = command(["gradcheck", "--device=cuda", *cheap])
    report.check("status of `tinygpt gradcheck --device=cuda`", status, 0)
    lines = [line for _, line in timed]
    said = [line for line in lines if line.startswith("worst") or "WRONG" in line] + lines[-1:]
    report.table("Its last lines", [{"line": line.rpartition(", in ")[0] or line} for line in dict.fromkeys(said)])
    report.raw("lines", lines)
    report.answer(f"{len(cheap) or 'all'} layers, in {report.number(seconds, 's')}")
