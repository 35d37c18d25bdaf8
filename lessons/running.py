"""`run`: a run of seconds on the lessons' text, with what the learner has written so far in its places."""

import hashlib
import tempfile
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from lessons import display
from lessons.course import Course, listed
from lessons.exercises import Exercise
from lessons.files import is_blank
from lessons.in_a_ring import InARing
from lessons.progress import changing, load

STEPS, SHOWN = 40, 10  # of the run; how many apart its losses are shown
SAMPLE = 120  # tokens of text
NEEDS: dict[str, dict[str, Any]] = {  # what a run must be for a piece to be used in it
    "dropout": {"dropout": 0.1},
    "merge": {"tokenizer": "bpe", "vocab_size": 288},
}


def run(course: Course, exercises: list[Exercise]) -> int:
    """Train and draw a text with the pieces that are right, those of `exercises` among them, beside the engine alone;
    the status is 1 if none of `exercises` is right.
    """
    asked = [exercise.name for exercise in exercises]
    own = _right(course, asked)
    missing = [name for name in asked if name not in own.used]
    for name in missing:
        course.say(_why_not(course, name, own))
    if not own.used or asked and len(missing) == len(asked):
        if not asked:
            course.say(f"No piece is right yet, so there is nothing to run; begin with {course.command()}")
        _say_begun(course, asked)
        return 1
    if missing:
        print()
    for name in _in_the_way(own, asked):
        del own.used[name]
    needs = {key: value for name in asked if name in own.used for key, value in NEEDS.get(name, {}).items()}
    settings = _settings() | needs
    course.say(f"{STEPS} steps on lessons/text.txt, with what is right of yours and with the engine alone.\n")
    with tempfile.TemporaryDirectory() as folder:
        from tinygpt.commands.own import blaming
        from tinygpt.run.screens import printable

        with blaming(own):
            ring_step = own.part("ring_step") if "ring_step" in asked and "ring_step" in own.used else None
            mine, state = _trained(settings | {"out_dir": folder + "/yours"}, own.parts, ring_step)
            text = state.corpus.sample(state.model, SAMPLE) or ""
            proof = _proved(state, own) if "numerical_gradient" in asked and "numerical_gradient" in own.used else ""
        theirs, _ = _trained(settings | {"out_dir": folder + "/engine"}, None)
    _show_losses(course, mine, theirs)
    for line in printable(text).splitlines():
        course.quote(line, "    | ")
    if proof:
        course.say(f"\n{proof}")
    _show_used(course, own, asked)
    _say_begun(course, asked)
    return 0


def _right(course: Course, asked: Sequence[str]) -> Any:
    """The pieces that are right: a file that the last check found right is not checked again. What is found is kept."""
    from tinygpt.own_layers import OwnLayers, load_own_layers

    progress = load(course.work)
    known = {name: kept.right for name, kept in progress.exercises.items() if kept.right}
    names = [name for name in _begun(course) if name in asked or progress.exercise(name).done]
    before = {name: _digest(course, name) for name in names}
    own = load_own_layers(course.work, names=names, known=known) if names else OwnLayers(course.work)
    with changing(course.work) as progress:
        for name, digest in before.items():
            if digest == _digest(course, name) and not _cannot_be_checked(course, name, own):
                kept = progress.exercise(name)
                kept.done = name in own.used
                kept.right = digest if kept.done else ""
    for name, wrong in own.left_out.items():
        if name not in asked:
            here = _cannot_be_checked(course, name, own)
            no_longer = f"{name} is no longer right, so it is in no run: {wrong}"
            course.say((_why_not(course, name, own) if here else no_longer) + "\n")
    return own


def _begun(course: Course) -> list[str]:
    """The pieces that something was written of."""
    paths = {name: course.file(exercise) for name, exercise in course.exercises.items()}
    return [name for name, path in paths.items() if path.is_file() and not is_blank(path, course.exercises[name])]


def _digest(course: Course, name: str) -> str:
    """What stands for the text of a piece."""
    return hashlib.sha256(course.file(course.exercises[name]).read_bytes()).hexdigest()


def _cannot_be_checked(course: Course, name: str, own: Any) -> bool:
    """Whether a piece was left out because there is nothing to run it with here."""
    from tinygpt.emulator import missing

    return name in own.left_out and course.exercises[name].part.is_kernel and bool(missing())


def _why_not(course: Course, name: str, own: Any) -> str:
    """Why a piece is in no run."""
    path = course.file(course.exercises[name])
    if not path.is_file():
        return f"{name} is not begun, so it is in no run yet: {course.command('start', name)}"
    if name not in _begun(course):
        shown = display.shown_path(path)
        return f"{name} is not begun, so it is in no run yet: {shown} is as it was given; fill in what is missing in it"
    if _cannot_be_checked(course, name, own):
        return f"{own.left_out[name]}; so it is in no run here"
    return f"{name} is not right yet, so it is in no run: {course.command('check', name)}"


def _say_begun(course: Course, asked: Sequence[str]) -> None:
    """Which other pieces are begun, and not found right by a check."""
    progress = load(course.work)
    names = [name for name in _begun(course) if name not in asked and not progress.exercise(name).done]
    if names:
        are, them = ("is", "it") if len(names) == 1 else ("are", "them")
        why = f"begun, and in no run until a check finds {them} right"
        course.say(f"\n{listed(names)} {are} {why}: {course.command('check', *names)}")


def _in_the_way(own: Any, asked: Sequence[str]) -> list[str]:
    """The pieces that would be used in the place of one that was asked for, and were not asked for themselves."""
    from tinygpt.own_layers.places import before

    others = [name for step in asked if step in own.used for name in before(step)]
    return [name for name in dict.fromkeys(others) if name in own.used and name not in asked]


def _settings() -> dict[str, Any]:
    from lessons.kit import TINY

    return TINY | {
        "max_iters": STEPS, "eval_interval": STEPS, "eval_iters": 1,
        "log_interval": 1, "warmup_iters": 5, "dtype": "float64", "kernels": "reference", "save_minutes": 0,
    }  # fmt: skip


def _trained(settings: dict[str, Any], parts: Any, ring_step: Callable | None = None) -> tuple[list[float], Any]:
    """The losses of a run, step by step, and how it stands at its end. ring_step: where ranks are to share it."""
    from tinygpt.train import StepRecord, TrainConfig, start, train

    state = start(TrainConfig(**settings), *([] if parts is None else [parts]))
    if ring_step:
        state.model = InARing(state.model, ring_step)  # type: ignore[assignment]
    losses = [record.loss for record in train(state) if isinstance(record, StepRecord) and record.loss is not None]
    return losses, state


def _proved(state: Any, own: Any) -> str:
    """What the reader's numerical gradient says of one of the model's gradients, in a sentence."""
    model, name = state.model, "ln_f.bias"
    batch = state.corpus.batch("val", 2, 16, np.random.default_rng(1))
    right = model.backward(model.loss(*batch)[1])[name].copy()
    given = own.part("numerical_gradient")(lambda _: float(model.loss(*batch)[0]), model.params[name])
    error = float(np.linalg.norm(given - right) / np.linalg.norm(right))
    return (
        f"Your numerical_gradient moves the model's {name}, {right.size} numbers, one at a time, and finds the "
        f"gradient that backward gives: the relative error is {error:.1e}."
    )


def _show_losses(course: Course, mine: list[float], theirs: list[float]) -> None:
    print(f"{'step':>6}{'with yours':>14}{'the engine':>14}")
    for step in sorted({1, *range(SHOWN, len(mine) + 1, SHOWN), len(mine)}):
        print(f"{step:>6}{mine[step - 1]:>14.6f}{theirs[step - 1]:>14.6f}")
    apart = float(np.max(np.abs(np.subtract(mine, theirs))))
    same = f"The losses of all {len(mine)} steps are the engine's own, to the last bit."
    course.say("\n" + (same if apart == 0 else f"The losses differ from the engine's by at most {apart:.1e}.") + "\n")


def _show_used(course: Course, own: Any, asked: Sequence[str]) -> None:
    called = own.called()
    print("\nyours, in this run:" if called else "\nof yours this run used nothing")
    width = max(map(len, called), default=0)
    for name, functions in called.items():
        calls = ", ".join(f"{function} {count:,}" for function, count in functions.items())
        course.say(f"  {name:<{width}}  calls: {calls}")
    idle = [name for name in own.used if name not in called]
    for name in idle:
        if name in asked:
            course.say(f"\n{name} {_unused(course, name, called)}")
    if others := [name for name in idle if name not in asked]:
        course.say(f"\nright too, and of no use in this run: {', '.join(others)}")


def _unused(course: Course, name: str, called: Collection[str]) -> str:
    from tinygpt.own_layers.places import before

    if name.endswith("_kernel"):
        return "was not used: it computes on a card, and this run is on the CPU"
    others = [other for other in before(name) if other in called]
    if others:
        return f"was not used: {others[0]} does what it does, and more; without that: {course.command('run', name)}"
    return "was not used"
