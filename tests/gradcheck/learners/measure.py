"""How good are the words about learners' mistakes? Each is checked as `python -m lessons check` does it.

    python -m tests.gradcheck.learners.measure                     all but the held-out third, in a minute or two
    python -m tests.gradcheck.learners.measure softmax layernorm   those of some exercises
    python -m tests.gradcheck.learners.measure --held-out          the third that is held out, and no other
    python -m tests.gradcheck.learners.measure --accept            the words are read: what the data says of them holds

A mistake is named, clearly pointed to, or only called WRONG; one sentence that is not so makes the words untrue. The
patterns beside each mistake say which (see `mistakes.py`). They were written for words that somebody had read: where
the words are others now, "read" stands behind the verdict, and it holds only once they were read and accepted.
"""

import argparse
import contextlib
import io
import re
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lessons.exercises import EXERCISES
from tests.gradcheck.learners.mistakes import FOLDER, Mistake, digest, mistakes

VERDICTS = "named", "pointed to", "only WRONG", "untrue", "MISSED", "right"
INDENT = "    "


class Judged(NamedTuple):
    """What the check said of one mistake. words: behind "what is wrong", "" where the file passed."""

    mistake: Mistake
    verdict: str
    words: str

    @property
    def is_read(self) -> bool:
        return self.mistake.judged == digest(self.words)

    def __str__(self) -> str:
        said = textwrap.indent(self.words or "(nothing: the file passed)", INDENT + "| ", lambda line: True)
        read = "" if self.is_read else f", read: {digest(self.words)}"
        return f"{self.mistake}: {self.verdict}{read}\n{INDENT}{self.mistake.wrong}\n{said}"


def judge(mistake: Mistake, folder: Path, seed: int = 0) -> Judged:
    """The verdict on one mistake; its file is written to a folder, whose name is left out of the words."""
    path = folder / f"{mistake.exercise}.py"
    path.write_text(mistake.source(), encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()):  # NumPy's warnings about the file
        checked = EXERCISES[mistake.exercise].check(path, seed)
    words = checked.wrong.replace(f"{folder}{path.anchor and '/'}", "").replace(str(path), path.name)
    if checked.passed:
        return Judged(mistake, "right" if mistake.right else "MISSED", words)
    return Judged(mistake, mistake.says(words), words)


def judge_all(chosen: Sequence[Mistake], seed: int = 0) -> list[Judged]:
    """All of them, one after another."""
    with tempfile.TemporaryDirectory() as folder:
        return [judge(mistake, Path(folder), seed) for mistake in chosen]


def summary(judged: Sequence[Judged]) -> list[str]:
    """A line an exercise, and their sum; then what is still to be read."""
    head = f"{'':<20}{'mistakes':>9}" + "".join(f"{verdict:>11}" for verdict in VERDICTS)
    lines = [head]
    exercises = dict.fromkeys(one.mistake.exercise for one in judged)
    for title, of in [*((name, [name]) for name in exercises), ("all", list(exercises))]:
        counts = Counter(one.verdict for one in judged if one.mistake.exercise in of)
        lines.append(
            f"{title:<20}{counts.total():>9}" + "".join(f"{counts[verdict] or '':>11}" for verdict in VERDICTS)
        )
    counts = Counter(one.verdict for one in judged)
    total = max(counts.total() - counts["right"], 1)
    shares = [("named or pointed to", counts["named"] + counts["pointed to"]), ("only WRONG", counts["only WRONG"])]
    lines += ["", *(f"{title}: {count} of {total}, {count / total:.0%}" for title, count in shares)]
    lines += [f"untrue: {counts['untrue']}; missed: {counts['MISSED']}"]
    if unread := [one for one in judged if not one.is_read]:
        lines.append(f"words that nobody has read yet: {len(unread)}; read them, mend the patterns, then --accept")
    return [line.rstrip() for line in lines]


def accept(judged: Sequence[Judged]) -> None:
    """Write down that these words were read."""
    for one in judged:
        path = FOLDER / f"{one.mistake.exercise}.toml"
        head, rest = path.read_text(encoding="utf-8").split(f"[{one.mistake.name}]\n")
        mine, *others = re.split(r"(?m)^(?=\[\w+\]$)", rest)
        mine = re.sub(r'(?m)^judged = "\w*"\n', "", mine)
        mine = re.sub(r"(?m)^(wrong = .*\n)", rf'\1judged = "{digest(one.words)}"' + "\n", mine, count=1)
        path.write_text(f"{head}[{one.mistake.name}]\n{mine}{''.join(others)}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each mistake with the words about it, and the sums; the status is 1 if one is untrue, missed or unread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exercises", nargs="*", metavar="exercise", help=f"of {', '.join(EXERCISES)}; all if none")
    parser.add_argument("--held-out", action="store_true", help="the third that is held out, and no other")
    parser.add_argument("--accept", action="store_true", help="write down that the words of today were read")
    parser.add_argument("--seed", type=int, default=0, help="other numbers and sizes, as at a learner's next attempt")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.exercises if name not in EXERCISES]:
        parser.error(f"no exercise is called {', '.join(unknown)}; expected some of {', '.join(EXERCISES)}")
    judged = judge_all([one for one in mistakes(*options.exercises) if one.held_out == options.held_out], options.seed)
    print(*judged, "", *summary(judged), sep="\n")
    if options.accept:
        accept(judged)
        return 0
    return int(any(one.verdict in ("untrue", "MISSED") or not one.is_read for one in judged))


if __name__ == "__main__":
    sys.exit(main())
