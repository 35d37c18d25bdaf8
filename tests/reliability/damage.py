"""Damaged caches and weights: whatever changes a figure is said; nothing silently gives another number.

--count times a file of a run's, or of the cache's, is damaged: bits flipped, a part zeroed, cut, lengthened, doubled or
taken from another file, or the file removed. Then all that reads it is asked: a new run's first losses, eval on the
run's text and on all of another, a sample, and the state that the run would resume from. Each must give what it gave
before, to the last bit, or say what is wrong; where a figure changes without a word, that is a fault.
"""

import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.reliability import harness
from tests.reliability.harness import Report, in_process
from tests.reliability.power import digest
from tinygpt.errors import UserError
from tinygpt.run.store import load_model, resume

CPU = "--device=cpu", "--threads=1"
WHERE = {"cache": ("cache/texts/*/*", 2), "best": ("out/best/*", 1), "last": ("out/last/**/*", 1)}  # and how often each


def measure(folder: Path, count: int, seed: int) -> Report:
    good = folder / "good"
    harness.write_text(good, size=120_000)
    harness.finished(good, *harness.train("--max_iters=6")).check_returncode()
    harness.finished(good, "eval", "--out_dir=out").check_returncode()  # which has a cache entry of its own
    right = asked(good, folder)
    if unwell := [f"{question}: {said}" for question, (given, said) in right.items() if given is None]:
        raise RuntimeError("; ".join(unwell))
    rng = np.random.default_rng(seed)
    places = [name for name, (_, times) in WHERE.items() for _ in range(times)]
    counts: Counter = Counter()
    faults = []
    for number in range(count):
        place = folder / "damaged"
        shutil.copytree(good, place)
        what = damaged(place, places[number % len(places)], rng)
        outcome, fault = judged(asked(place, folder), right)
        counts[outcome] += 1
        if fault:
            faults.append(f"{number}: {what}: {fault}")
        shutil.rmtree(place)
    return Report("no damage gives another number without a word", {"damaged": count, **counts}, faults)


def damaged(place: Path, where: str, rng: np.random.Generator) -> str:
    """Damage a file; says what was done."""
    paths = sorted(path for path in place.glob(WHERE[where][0]) if path.is_file())
    path = paths[rng.integers(len(paths))]
    content = path.read_bytes()
    start, end = sorted(int(n) for n in rng.integers(len(content) + 1, size=2))
    other = paths[rng.integers(len(paths))].read_bytes()
    flipped = np.frombuffer(content, np.uint8).copy()
    flipped[rng.integers(len(content))] ^= np.uint8(1 << rng.integers(8))
    ways = {
        "a bit flipped": flipped.tobytes(),
        "a part zeroed": content[:start] + bytes(end - start) + content[end:],
        "cut": content[:start],
        "lengthened": content + content[start:end],
        "a part doubled": content[:end] + content[start:end] + content[end:][: -(end - start) or None],
        "another file in its place": other,
        "two parts exchanged": content[end:] + content[start:end] + content[:start],
        "removed": None,
    }
    how = str(rng.choice([how for how, damage in ways.items() if damage != content]))
    if ways[how] is None:
        path.unlink()
    else:
        path.write_bytes(ways[how])
    return f"{path.relative_to(place)}, {how}"


Answer = tuple[str | None, str]  # what a question gave, None if it was refused; and what was said beside it


def asked(place: Path, folder: Path) -> dict[str, Answer]:
    """What all that reads a run and its cache gives, by the question. Each begins with the folder as it is now."""
    questions = {
        "a new run": ("train", *harness.SMALL, "--eval_only", "--out_dir=new", "--sample_length=20", *CPU),
        "a new run's first steps": ("train", *harness.SMALL, "--max_iters=2", "--out_dir=new", *CPU),
        "eval": ("eval", "--out_dir=out", *CPU),
        "eval of the whole text": ("eval", "--out_dir=out", "--data=text.txt", *CPU),
        "sample": ("sample", "--out_dir=out", "--seed=1", "--max_new_tokens=30", *CPU),
    }
    return {question: answer(place, folder, arguments) for question, arguments in questions.items()} | {
        "resume": answer(place, folder, resumed),
        "the best weights": answer(place, folder, loaded),
    }


def answer(place: Path, folder: Path, question: tuple[str, ...] | Callable[[], Answer]) -> Answer:
    copy = folder / "asked"
    shutil.copytree(place, copy)
    try:
        with harness.inside(copy):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                given, said = question() if callable(question) else command(question)
            notes = (str(warning.message) for warning in caught if issubclass(warning.category, UserWarning))
            return given, "; ".join([said, *notes]).strip("; ")
    except UserError as error:
        return None, str(error)
    except Exception as error:
        return None, f"a traceback, {type(error).__name__}: {error}"
    finally:
        shutil.rmtree(copy)


def command(arguments: tuple[str, ...]) -> Answer:
    """What a command prints, without its notes and what depends on the moment; and what it says beside that."""
    status, out, err = in_process(*arguments)
    notes = [line for line in (out + err).splitlines() if line.startswith(("note: ", "error: "))]
    lines = (line for line in out.splitlines() if line not in notes and not line.startswith(("time ", "peak memory ")))
    figures = "\n".join(line.partition("  lr ")[0] for line in lines)
    if arguments[0] == "train" and status == 0 and Path("new/best").exists():
        figures += repr(sorted(harness.kept(Path("new")).items()))
    return figures if status == 0 else None, "; ".join(notes)


def resumed() -> Answer:
    state = resume("out")
    buffers = [buffer.flat for buffer in state.optimizer.state.values()]
    arrays = state.model.params.flat, *buffers, state.corpus.train, state.corpus.val
    tokenizer = state.corpus.tokenizer.state if state.corpus.tokenizer else None
    return f"{state.step} {state.best_val_loss} {tokenizer} {digest(*arrays)}", ""


def loaded() -> Answer:
    model, tokenizer = load_model("out")
    return f"{tokenizer.state if tokenizer else None} {digest(model.params.flat)}", ""


def judged(answers: dict[str, Answer], right: dict[str, Answer]) -> tuple[str, str]:
    """What came of a damage, in a word, and what is wrong about it."""
    outcome, faults = "mended or without effect", []
    for question, (given, said) in answers.items():
        if "a traceback" in said or given is None and not said:
            faults.append(f"{question}: {said or 'refused without a word'}")
        elif said and said != right[question][1]:
            outcome = "said"
        elif given != right[question][0]:
            faults.append(f"{question} gives other figures without a word")
    return ("silent" if faults else outcome), "; ".join(faults)


if __name__ == "__main__":
    harness.run_as_command(measure, count=200)
