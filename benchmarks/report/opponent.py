"""Both ends of a side of `speed`: a process that makes ready for one model after the other, and works at its turn."""

import contextlib
import json
import os
import sys
import time
from typing import Any

from race.settings import batch
from race.side import Side

from report import SCRIPT
from report.card import card
from report.rates import bf16_rate
from report.training import Ours, Theirs

OURS, OURS_TF32, OURS_FLOAT32 = "tinygpt (bf16)", "tinygpt (TF32)", "tinygpt (float32)"
EAGER, COMPILED = "PyTorch eager (TF32)", "PyTorch compiled (bf16)"
BF16 = "PyTorch eager (bf16)"  # what is left of it where the compiler had no time
# How far losses may be from those of ours in TF32
SIDES = {OURS: 5e-2, OURS_TF32: 1e-3, OURS_FLOAT32: 1e-3, EAGER: 1e-3, COMPILED: 5e-2}


class Opponent(Side):
    """A side that may fail, hang or run out of memory: its answer then says so, and a hanging one is begun anew."""

    def __init__(self, name: str, stand_in: bool):
        self.name, self.stand_in = name, stand_in
        self.begin()

    def begin(self) -> None:
        settings = {"threads": os.cpu_count(), "stand_in": self.stand_in}
        super().__init__(self.name, settings, SCRIPT, wait=False)
        self.is_ready = False

    def request(self, what: Any) -> None:
        if self.process.poll() is not None:
            self.begin()
        with contextlib.suppress(OSError):  # it ended just now, as its answer will tell
            super().request(what)

    def ready(self, seconds: float | None = None) -> None:
        """Wait until it has imported what it needs."""
        if not self.is_ready:
            super().answer(seconds)
            self.is_ready = True

    def answer(self, seconds: float | None = None) -> dict[str, Any]:
        until = time.perf_counter() + max(1, seconds or 0)
        try:
            self.ready(until - time.perf_counter())
            return super().answer(until - time.perf_counter())
        except (TimeoutError, SystemExit, OSError) as error:
            self.process.kill()
            self.process.wait()
            return {"error": str(error)}

    def ask(self, what: Any, seconds: float = 0) -> dict[str, Any]:
        self.request(what)
        return self.answer(seconds)


def serve(who: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The losses of a new model's first steps; or, with `numbers`, the seconds of each of those, after a first one;
    or, with `tokens`, those of generating so many.
    """
    settings = request["settings"]
    if "tokens" in request:
        who.generate(8)
        who.wait()
        began = time.perf_counter()
        who.generate(request["tokens"])
        return {"seconds": time.perf_counter() - began}
    if "numbers" not in request:
        who.release(everything=True)
        who.prepare(settings, request["compiled"])
        losses = [float(who.step(*batch(settings, number))) for number in range(4)]
        began = time.perf_counter()
        losses.append(float(who.step(*batch(settings, 4))))
        return {"losses": losses, "step": time.perf_counter() - began}
    batches = [batch(settings, number) for number in request["numbers"]]
    who.step(*batches[0])
    who.wait()
    began = time.perf_counter()
    for idx, targets in batches:
        who.step(idx, targets)
    who.wait()
    return {"seconds": (time.perf_counter() - began) / len(batches), "peak": who.peak()}


def worker(side: str, settings: dict[str, Any]) -> None:
    """A side's process: a line of JSON for each line of standard input. Whatever else is printed goes to its errors."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if side == "rate":
        print(bf16_rate(), file=answers, flush=True)
        return
    with card(settings["stand_in"]):
        ours, bf16 = side.startswith("tinygpt"), side in (COMPILED, BF16)
        who: Any = Ours(side.partition("(")[2][:-1]) if ours else Theirs(bf16, settings["stand_in"])
        print(json.dumps("ready"), file=answers, flush=True)
        for line in sys.stdin:
            problem = None
            try:
                answer = serve(who, json.loads(line))
            except Exception as error:  # its traceback holds arrays, until this block is left
                problem = f"{type(error).__name__}: {error}"
            if problem is not None:
                print(f"{side}: {problem}", file=sys.stderr, flush=True)
                memory = any(text in problem.lower() for text in ("out of memory", "outofmemory", "memoryallocation"))
                answer = {"error": "out of memory" if memory else " ".join(problem.split())[:150]}
            who.release(everything=problem is not None)
            print(json.dumps(answer), file=answers, flush=True)
