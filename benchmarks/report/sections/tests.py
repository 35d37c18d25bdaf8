"""Do the tests that can use a card pass on it?"""

import subprocess
import sys

from report import ROOT
from report.report import Report

PLACE, SECONDS = 50, None


def run(report: Report) -> None:
    kernels = sorted(str(path) for path in (ROOT / "tests" / "kernels").glob("test_cuda_*.py"))
    arguments = ["-m", "pytest", "tests/cuda", *kernels, "tests/test_golden.py", "--ignore=tests/cuda/stand_in"]
    # Those that use the card: the stand-in's need none, and the gradient checker is a section of its own
    arguments += ["-k", "(card or golden) and not stand-in and not lesson and not gradient_checker"]
    arguments += ["-q", "-p", "no:cacheprovider"]
    done = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    for line in done.stdout or ():
        print(line, end="")  # so that the report has the last ones if it takes too long
        lines.append(line.rstrip())
    report.check("status of pytest", done.wait(), 0)
    if failures := [line for line in lines if line.startswith(("FAILED", "ERROR"))]:
        report.table("What failed", [{"test": line} for line in failures])
    report.answer(last_line("\n".join(lines)).strip("= ").partition(" in ")[0])


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
