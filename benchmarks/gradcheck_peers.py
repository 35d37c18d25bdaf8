"""Our gradient checker beside others, on 22 pairs of forward and backward: which wrong ones does each of them find?

    python benchmarks/gradcheck_peers.py [--words] [--small]    (needs the parity extra; pip install jax autograd scipy)

tinygpt.gradcheck.gradient_check; torch.autograd.gradcheck, on an autograd.Function; jax.test_util.check_grads, on a
custom_vjp; autograd.test_util.check_grads, on a primitive; scipy.optimize.check_grad, of sum(out * dout), where 1e-6 of
the gradient is allowed; and the habit of the course cs231n, central differences and at most 1e-7 for the largest
relative error. A side whose package is not installed is left out.

"named": found, and its words name the mistake. "ALARM": right code that is rejected.
"""

import argparse
import contextlib
import io
import re
import time
import warnings
from collections import Counter
from typing import NamedTuple

import numpy as np
from peers.cases import CASES, Case
from peers.sides import SIDES, missing

SHOWN = 8  # lines of what a side says


class Outcome(NamedTuple):
    """What a side made of a case: its verdict, the words of a rejection, and how long it took."""

    verdict: str
    words: str
    seconds: float


def outcome(side: str, case: Case) -> Outcome:
    """What a side says of a case. What it raises is a rejection: some sides reject in no other way."""
    np.random.seed(18)  # noqa: NPY002  what some sides draw from
    began = time.perf_counter()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            fresh = case._replace(inputs={name: x.copy() for name, x in case.inputs.items()})
            words = SIDES[side](fresh)
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - began
    if not case.wrong:
        return Outcome("ALARM" if words else "right", words, seconds)
    named = words and re.search(case.says, words.replace(case.title, ""))
    return Outcome("named" if named else "found" if words else "missed", words, seconds)


def table(cases: list[Case], made: dict[str, list[Outcome]]) -> list[str]:
    """A line a case, a column a side; then the sums."""

    def line(title: str, cells: list[str]) -> str:
        return (f"{title:<41}" + "".join(f"{cell:>9}" for cell in cells)).rstrip()

    lines = [line("", list(made))]
    for number, case in enumerate(cases):
        lines.append(line(case.title, [outcomes[number].verdict for outcomes in made.values()]))
    lines.append("")
    for kind in dict.fromkeys(case.kind for case in cases):
        these = [number for number, case in enumerate(cases) if case.kind == kind]
        judged = [[outcomes[number].verdict for number in these] for outcomes in made.values()]
        good = [sum(verdict in ("found", "named", "right") for verdict in verdicts) for verdicts in judged]
        lines.append(line(f"{kind}, judged rightly of {len(these)}", [str(count) for count in good]))
    wrong = sum(case.wrong for case in cases)
    counts = [Counter(one.verdict for one in outcomes) for outcomes in made.values()]
    lines.append(line(f"the mistake named, of {wrong}", [str(count["named"]) for count in counts]))
    lines.append(line("seconds", [f"{sum(one.seconds for one in outcomes):.2f}" for outcomes in made.values()]))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", action="store_true", help="what each side says, after the table")
    parser.add_argument("--small", action="store_true", help="one case of each kind, for a test")
    options = parser.parse_args()
    cases = list({case.kind: case for case in CASES}.values()) if options.small else CASES
    made: dict[str, list[Outcome]] = {}
    for side in SIDES:
        if missing(side):
            print(f"{side} is left out: its package is not installed (pip install {side})")
            continue
        outcome(side, CASES[-1])  # what is imported and prepared once
        made[side] = [outcome(side, case) for case in cases]
    print("\n".join(table(cases, made)))
    for number, case in enumerate(cases if options.words else ()):
        print(f"\n{case.title}")
        for side, outcomes in made.items():
            said = outcomes[number].words.strip().splitlines()[:SHOWN] or ["nothing"]
            print(
                *(f"    {start:<9} {line[:86]}" for start, line in zip((side, *[""] * SHOWN), said, strict=False)),
                sep="\n",
            )


if __name__ == "__main__":
    main()
