"""Power loss at every point of three runs: every state of the disk that it may leave resumes, or says why not.

recorder.c writes down what a new run, its resumption and another new run in the same folder do to files. From that,
for each point, the states that a crash may leave: all that was flushed by then, and of the later operations none, all,
or all but one; and a file whose data were not flushed may have its size, but only zeros in it. A name is on the disk
once its folder is flushed; a rename happens whole or not at all. All are tried, or --count of them. In each,

  - a run resumes bit for bit as one of its saved steps, none older than the last one that it had shown as evaluated,
    on the text's own tokens, and so does the earlier run that was set aside;
  - best/ holds the weights of the last "best so far" that was shown, or newer ones;
  - whatever cannot be used is refused in a sentence, never with a traceback.
"""

import contextlib
import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests import children
from tests.reliability import harness
from tests.reliability.harness import Report
from tinygpt.errors import UserError
from tinygpt.run.store import load_model, resume

COMMANDS = (  # one after the other, in one folder; what each of them is called below
    ("first", harness.train("--max_iters=4")),
    ("first", ("train", "--init_from=resume", "--out_dir=out", "--max_iters=6")),
    ("second", harness.train("--max_iters=2", "--seed=2")),
)
NEVER = 10**9


@dataclass
class Operation:
    """What the disk may have or may lack after a crash: a file's content, or names in folders, None for no longer."""

    at: int  # the number of its event
    file: int | None = None
    content: bytes = b""
    names: tuple[tuple[int, str, int | None], ...] = ()
    safe: int = NEVER  # the event that made sure of it


@dataclass
class Said:
    """What a run had shown by some event: the step evaluated, and whether its weights were the best so far."""

    at: int
    run: str
    step: int
    best: bool


def measure(folder: Path, count: int, seed: int) -> Report:
    place = folder / "run"
    harness.write_text(place)
    record(folder, place)
    disk = Disk(place, folder)
    trials = Trials(disk, folder / "state", (place / "text.txt").read_bytes())
    states = list(disk.states())
    rng = np.random.default_rng(seed)
    chosen = states if count >= len(states) else [states[i] for i in rng.permutation(len(states))[:count]]
    faults: dict[str, str] = {}
    for point, what, operations in chosen:
        for fault in trials.wrong(point, operations):
            faults.setdefault(fault, f"{fault} (first seen {what} {disk.place_of(point)})")
    rows = {"operations": len(disk.operations), "states": len(states), "tried": len(chosen), "resumed": trials.resumed}
    return Report("every state resumes bit for bit, or says in a sentence what stands", rows, list(faults.values()))


def record(folder: Path, place: Path) -> None:
    """Run the commands in `place`, and leave a record of each in `folder`."""
    library, source = folder / "recorder.so", Path(__file__).with_name("recorder.c")
    children.compiled(source, library, "-ldl")
    for number, (_, arguments) in enumerate(COMMANDS):
        environment = harness.environment(place) | {
            "LD_PRELOAD": str(library), "RECORD_UNDER": str(place), "RECORD_TO": str(folder / f"record-{number}"),
        }  # fmt: skip
        children.run("-m", "tinygpt", *arguments, cwd=place, env=environment).check_returncode()


class Disk:
    """The records of all commands as operations on files and folders, which are numbered as they appear."""

    def __init__(self, place: Path, folder: Path):
        self.place = str(place)
        self.operations: list[Operation] = []
        self.said: list[Said] = []
        self.events: list[str] = []
        self.folders: dict[int, dict[str, int]] = {0: {}}  # as the program sees them, by number; 0 is `place`
        self.contents: dict[int, bytes] = {}
        self.inodes: dict[int, int] = {}
        self.count = 0
        for number, (run, _) in enumerate(COMMANDS):
            for kind, inode, content, path, other in events(folder / f"record-{number}"):
                self.events.append(f"{kind} {path.removeprefix(self.place)} {other.removeprefix(self.place)}")
                self._event(kind, inode, content, path, other, run)

    def place_of(self, point: int) -> str:
        return f"after event {point} of {len(self.events):,}, {self.events[point - 1].strip()}"

    def _event(self, kind: str, inode: int, content: bytes, path: str, other: str, run: str) -> None:
        if kind == "T":
            for step, best in re.findall(rb"^step +([\d,]+)  train loss.*?(best so far)?$", content, re.M):
                self.said.append(Said(len(self.events), run, int(step), bool(best)))
        elif kind == "M":
            self.folders[self._new()] = {}
            self._rename((*self._split(path), self.count))
        elif kind in "UX":
            self._rename((*self._split(path), None))
        elif kind == "R":
            self._rename((*self._split(path), None), (*self._split(other), self._find(path)))
        elif kind == "L":
            self._rename((*self._split(other), self._find(path)))
        elif kind == "D":
            self._flushed(self._find(path))
        else:
            number = self._find(path)
            if number is None:
                known = self.inodes.get(inode)
                before = [(f, n, None) for f, names in self.folders.items() for n in names if names[n] == known]
                number = known if before else self._new()  # known under another name: renamed past libc
                self._rename(*before, (*self._split(path), number))
            self.inodes[inode] = number
            if self.contents.get(number, b"") != content:
                self.contents[number] = content
                self.operations.append(Operation(len(self.events), number, content))
            if kind == "S":
                self._flushed(number)

    def _new(self) -> int:
        self.count += 1
        return self.count

    def _split(self, path: str) -> tuple[int, str]:
        """The number of a path's folder, and its name in it."""
        parts = path.removeprefix(self.place).strip("/").split("/")
        folder = 0
        for part in parts[:-1]:
            folder = self.folders[folder][part]
        return folder, parts[-1]

    def _find(self, path: str) -> int | None:
        if path.rstrip("/") == self.place:
            return 0
        folder, name = self._split(path)
        return self.folders[folder].get(name)

    def _rename(self, *names: tuple[int, str, int | None]) -> None:
        """One operation that gives each name in a folder the file or folder of that number, or takes what it has."""
        for folder, name, number in names:
            if number is None:
                self.folders[folder].pop(name)
            else:
                self.folders[folder][name] = number
        self.operations.append(Operation(len(self.events), names=names))

    def _flushed(self, number: int | None) -> None:
        """All that was done to a file, or to the names in a folder, is now safe."""
        for operation in self.operations:
            if number == operation.file or number in [folder for folder, _, _ in operation.names]:
                operation.safe = min(operation.safe, len(self.events))

    def states(self) -> Iterator[tuple[int, str, list[Operation]]]:
        """(number of events done, what is there, operations) of all that a crash may leave, each once a point."""
        for point in range(1, len(self.events) + 1):
            done = [operation for operation in self.operations if operation.at <= point]
            safe = [operation for operation in done if operation.safe <= point]
            yield point, "with what was flushed alone", safe
            if len(safe) == len(done):
                continue
            yield point, "with all", done
            yield point, "with zeros for what was not flushed", [o if o in safe else zeroed(o) for o in done]
            for lost in (o for o in done if o.safe > point):
                yield point, f"without {self._told(lost)}", [o for o in done if o is not lost]
                if lost.content:
                    yield point, f"with zeros for {self._told(lost)}", [zeroed(o) if o is lost else o for o in done]

    def files(self, operations: list[Operation]) -> dict[str, bytes | None]:
        """What the disk holds after some operations: the content of each file by its path, None for a folder."""
        folders: dict[int, dict[str, int]] = {}
        contents: dict[int, bytes] = {}
        for operation in operations:
            if operation.file is not None:
                contents[operation.file] = operation.content
            for folder, name, number in operation.names:
                if number is None:
                    folders.setdefault(folder, {}).pop(name, None)
                else:
                    folders.setdefault(folder, {})[name] = number

        def walk(folder: int, path: str) -> Iterator[tuple[str, bytes | None]]:
            for name, number in folders.get(folder, {}).items():
                is_folder = number in self.folders
                yield f"{path}{name}", None if is_folder else contents.get(number, b"")
                if is_folder:
                    yield from walk(number, f"{path}{name}/")

        return dict(walk(0, ""))

    def _told(self, operation: Operation) -> str:
        return f"what event {operation.at} did, {self.events[operation.at - 1].strip()},"


def zeroed(operation: Operation) -> Operation:
    return Operation(operation.at, operation.file, bytes(len(operation.content)), operation.names)


def events(path: Path) -> Iterator[tuple[str, int, bytes, str, str]]:
    """(kind, inode, content, path, other path) of each event in a record."""
    record, start = path.read_bytes(), 0
    while start < len(record):
        end = record.index(b"\n", start)
        kind, inode, size, name, other = record[start:end].decode().split("\t")
        start = end + 1 + int(size)
        yield kind, int(inode), record[end + 1 : start], name, other


class Trials:
    """States of the disk, laid out in a folder and resumed."""

    def __init__(self, disk: Disk, place: Path, text: bytes):
        self.disk, self.place, self.text = disk, place, text
        self.found: dict[frozenset, Found] = {}
        self.resumed = 0
        self.saved: dict[tuple[str, int], str] = {}  # (run, step) -> the digest of what it saved
        self.best: dict[tuple[str, int], str] = {}
        for said in disk.said:
            found = self.look([o for o in disk.operations if o.at <= said.at])
            self.saved[said.run, said.step] = found.states["out"]
            if said.best:
                self.best[said.run, said.step] = found.best["out"]
            self.tokens = found.tokens

    def wrong(self, point: int, operations: list[Operation]) -> list[str]:
        """What of the promises a state of the disk breaks, at a point in the record."""
        found = self.look(operations)
        self.resumed += len(found.states)
        wrong = list(found.tracebacks)
        if found.tokens - self.tokens:
            wrong.append("a run resumes on other tokens than its text's")
        if found.states.keys() and not set(found.states.values()) <= set(self.saved.values()):
            wrong.append("a run resumes as no step that was saved")
        shown = [said for said in self.disk.said if said.at <= point]
        for what, kept, here in ("last", self.saved, found.states), ("best", self.best, found.best):
            for run in {said.run for said in shown}:
                step = max(said.step for said in shown if said.run == run and (said.best or what == "last"))
                right = {digest for (name, later), digest in kept.items() if name == run and later >= step}
                if not right & set(here.values()):
                    there = "; ".join(found.refusals) or ("an older one is there" if here else "nothing is there")
                    wrong.append(f"{what} of the {run} run, shown at step {step}, is lost: {there}")
        return wrong

    def look(self, operations: list[Operation]) -> "Found":
        """Lay the state out, and resume and load whatever is there."""
        tree = self.disk.files(operations)
        key = frozenset(tree.items())
        if key not in self.found:
            shutil.rmtree(self.place, ignore_errors=True)
            self.place.mkdir()
            for path, content in [("text.txt", self.text), *tree.items()]:
                if content is None:
                    (self.place / path).mkdir(parents=True)
                else:
                    (self.place / path).write_bytes(content)
            with harness.inside(self.place):
                self.found[key] = Found()
        return self.found[key]


class Found:
    """What there is to resume and to load in the current folder, by name, and what is said of the rest."""

    def __init__(self):
        self.states: dict[str, str] = {}
        self.best: dict[str, str] = {}
        self.tokens: set[str] = set()
        self.refusals: list[str] = []
        self.tracebacks: list[str] = []
        for name in ("out", "out/run-1"):
            if not Path(name).exists():
                continue
            with self._noting(name):
                state = resume(name)
                buffers = [buffer.flat for buffer in state.optimizer.state.values()]
                self.states[name] = digest(state.model.params.flat, *buffers) + f" at step {state.step}"
                self.tokens.add(digest(state.corpus.train, state.corpus.val))
            with self._noting(f"{name}/best"):
                if Path(name, "best").exists():
                    self.best[name] = digest(load_model(name)[0].params.flat)

    @contextlib.contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        try:
            yield
        except (UserError, OSError) as error:
            self.refusals.append(f"{name}: {error}")
        except Exception as error:
            self.tracebacks.append(f"{name}: {type(error).__name__}: {error}")


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


if __name__ == "__main__":
    harness.run_as_command(measure, count=100_000)
