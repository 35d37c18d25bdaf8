"""A reader's file, computing in a process of its own.

Numbers go in and numbers come out; whatever else the file does, it does to that process: the verdict is made here, of
what came back. A file that ends its process, never comes back or answers what cannot be read gives no answer.
"""

import contextlib
import inspect
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from tinygpt.errors import UserError
from tinygpt.files import read_bytes
from tinygpt.gradcheck import wire
from tinygpt.gradcheck.adapters import files
from tinygpt.gradcheck.adapters.functions import Adapted
from tinygpt.gradcheck.intermediates import Line
from tinygpt.gradcheck.own_process import OwnProcess, killed_by
from tinygpt.models.gpt2 import BlockOps
from tinygpt.ops import DEFINITIONS, Ops

PRINTED = 20_000  # bytes of what a file prints that are shown
ASKED = 1 << 20  # bytes that it may have us compute with
LONGEST = 1 << 20  # bytes of a file
START_SECONDS = 120  # in which the process must be there; it takes a quarter of a second


class NoAnswer(BaseException):
    """The file gave none, and why, in a sentence. No Exception, which a check would take for the file's own."""


class Kept:
    """What stayed in the file's process, a cache for example. seen: the arrays and lists that came and went with it."""

    number: int
    freed: list[int]
    held: int  # bytes of the arrays in it
    seen: Sequence = ()

    def __del__(self) -> None:
        self.freed.append(self.number)


class OwnFile:
    """A reader's file. Its functions are attributes, and called as if they were here. Raises what the file raises when
    it is loaded (`RaisedThere`), UserError if it is missing or lacks one of `functions`, NoAnswer.

    seconds: of computing that it may take in all. seed: of the numbers that its forward draws from `numpy.random`, the
    same ones in each call. device: "cuda" if it is to be called with arrays on a card.
    """

    def __init__(self, path: Path, functions: Sequence[str], seconds: float, seed: int = 0, device: str = "cpu"):
        self.path, self.seconds = path, seconds
        if not path.is_file():
            of = f" with {' and '.join(functions)}" * bool(functions)
            raise UserError(f"there is no such file; expected the path of a Python file{of}")
        self.source, self.device = read_bytes(path, LONGEST), device
        self.left, self.clock_runs, self.at = float(START_SECONDS), True, "at its start"
        self.freed: list[int] = []
        self.lent: list[Callable] = []
        self.reason = ""  # why there is no answer, nor will be
        self.closed = self.told = False
        self._start(seed, device)
        try:
            self._ask("hello")
            self.left, self.at = seconds, "while it was loaded"
            with self._readable():
                loaded = self._ask("load", str(path), np.frombuffer(self.source, np.uint8), list(functions))
                for name in functions:
                    setattr(self, name, self._function(name, loaded[name]))
        except BaseException:
            self.close()
            raise

    def __getattr__(self, name: str) -> Callable:
        raise AttributeError(f"{name} is not among the functions of {self.path} that were asked for")

    def __enter__(self) -> "OwnFile":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def things(self, kind: str, name: str) -> tuple[list[str], dict[str, Any]]:
        """The names of what there is to check, and what the file says of how. kind: "class" or "function" if one is
        asked for by its name. Raises UserError if there is nothing, or nothing says which.
        """
        with self._readable():
            names, options = self._ask("things", kind, name)
            said = files.options(SimpleNamespace(**options))
            if not names:
                raise ValueError("nothing")
            return [wire.short(name) for name in names[: wire.NAMES]], said

    def adapted(self, kind: str, name: str, seed: int) -> tuple[Callable, Callable, Adapted]:
        """The forward and backward of one of its things, and what they were adapted to. Raises UserError if these
        cannot be called, or if the inputs are more than can be checked: more numbers than a message holds in float64,
        or more names than a table.
        """
        self.at = "in forward"
        found = self._ask("adapt", kind, name, seed)
        with self._readable():
            given = dict(found["inputs"])
            said = [tuple(wire.short(x, 1000) for x in found[key][: wire.NAMES]) for key in Adapted._fields[3:]]
        arrays = [x for x in given.values() if isinstance(x, np.ndarray)]
        if (size := sum(x.size for x in arrays)) * 8 > wire.LARGEST[1]:
            raise UserError(f"inputs holds {size:,} numbers; expected at most {wire.LARGEST[1] // 8:,}")
        if len(given) > wire.NAMES or any(len(str(name)) > wire.NAMES for name in given):
            raise UserError(
                f"inputs should be at most {wire.NAMES} arguments, with names of at most {wire.NAMES} characters"
            )
        forward = self._function("forward", [["inputs", int(inspect.Parameter.VAR_KEYWORD), False]])
        backward = self._function("backward", None)
        return forward, backward, Adapted(forward, backward, given, *said)

    def intermediates(self, inputs: dict[str, Any], dout: np.ndarray) -> list[Line]:
        """The lines of its backward, each judged by its own forward. inputs: as it names them."""
        self.at = "in backward"
        with self._readable():
            lines = self._ask("intermediates", inputs, dout)[: wire.NAMES]
            return [Line(wire.short(n), int(at), wire.short(v), wire.short(s, 300)) for n, at, v, s in lines]

    def moves(self, name: str, x: np.ndarray) -> bool:
        """Whether a function of its (f, x) calls f with x itself, and never with a copy."""
        with self._readable():
            return bool(self._ask("moves", name, x))

    def left_behind(self) -> list[str]:
        """What the file has changed that is not its own, in words."""
        with self._readable():
            return [str(words)[:300] for words in self._ask("left_behind")[:5]]

    def _function(self, name: str, parameters: list | None) -> Callable:
        def called(*arguments: Any, **named: Any) -> Any:
            cache = next((x for x in arguments if isinstance(x, Kept) and x.seen), None)
            self.at = f"in {name}"
            return self._ask("call", name, arguments, named, cache and cache.number, also=cache.seen if cache else ())

        called.__name__ = name
        if parameters is not None:
            made = [inspect.Parameter(n, inspect._ParameterKind(kind)) for n, kind, _ in parameters]
            given = zip(made, parameters, strict=True)
            made = [p.replace(default=None) if default else p for p, (_, _, default) in given]
            called.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]
        return called

    # Messages

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """NoAnswer for what comes back and is not what was asked for: the file may do to its process what it likes."""
        try:
            yield
        except (UserError, wire.RaisedThere):
            raise
        except Exception:
            raise self._unreadable() from None

    def _unreadable(self) -> NoAnswer:
        self.close()
        return self._no_answer("what came back from its process cannot be read")

    def _ask(self, do: str, *values: Any, also: Sequence = ()) -> Any:
        """Have something done there; returns what came of it, or raises that. also: what else it may have changed."""
        seen: list = []
        lent = len(self.lent)
        request = {"do": do, "value": wire.pack(values, self._stays, seen), "free": list(self.freed)}
        self.freed.clear()
        try:
            with self._readable():
                reply, arrays = self._exchange(request, wire.content(seen))
                while reply.keys() & {"ask", "clock"}:
                    if "ask" in reply:
                        reply, arrays = self._exchange(*self._asked(reply, arrays))
                    else:
                        self._clock(bool(reply["clock"]) or not _terminal())
                        reply, arrays = self._exchange({})
                came: list = []
                result = self._unpack(reply["value"], arrays, came) if "value" in reply else None
                used = sum(x.nbytes for x in came if not isinstance(x, list))
                changed = self._unpack(reply.get("changed", []), arrays[used:], [])
                mine = [*seen, *also]
                for number, theirs in changed:
                    wire.change(mine[number], theirs)
                if "error" in reply:
                    raise wire.raised(reply["error"])
            if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Kept):
                result[1].seen = [*seen, *came]
            return result
        finally:
            del self.lent[lent:]

    def _exchange(self, request: Any, arrays: bytes = b"") -> tuple[dict[str, Any], memoryview]:
        """Send a message and wait for the next one, as long as there is time left."""
        if self.closed:
            raise NoAnswer(self.reason)
        self.requests.put((request, arrays))
        began = time.monotonic()
        try:
            reply = self.replies.get(timeout=max(0.0, self.left) if self.clock_runs else None)
        except queue.Empty:
            place = self._place(self.process.where([self.path]))
            self.close()
            self.reason = f"{place} had not come back after {self.seconds:g} s; is there a loop without an end?"
            raise NoAnswer(self.reason) from None
        except KeyboardInterrupt as interrupt:
            at = self.process.where([self.path])
            interrupt.line = at[1] if at else None  # type: ignore[attr-defined]  # where in the file, if that is known
            self.close()
            raise
        if self.clock_runs:
            self.left -= time.monotonic() - began
        if isinstance(reply, tuple) and isinstance(reply[0], dict):
            return reply
        raise self._ended() if reply is None else self._unreadable()

    def _asked(self, reply: dict[str, Any], arrays: memoryview) -> tuple[Any, bytes]:
        """Call the function of ours that the file was lent, and return the answer to be sent."""
        function, began = self.lent[reply["ask"]], time.monotonic()
        if len(arrays) > ASKED:
            raise ValueError(f"{len(arrays):,} bytes to be computed with")
        arguments, named = self._unpack(reply["value"], arrays, [])
        try:
            seen: list = []
            return {"value": wire.pack(function(*arguments, **named), self._stays, seen)}, wire.content(seen)
        except Exception as error:  # of a file that asked for what cannot be
            return {"raised": [type(error).__name__, str(error)]}, b""
        finally:
            self.left -= time.monotonic() - began

    def _clock(self, runs: bool) -> None:
        if self.clock_runs and not runs and not self.told:
            print("(the clock stands still while you are in the debugger; Ctrl-C ends the check)", flush=True)
            self.told = True
        self.clock_runs = runs

    def _unpack(self, packed: Any, arrays: memoryview, seen: list) -> Any:
        return wire.unpack(packed, arrays, self._arrived, seen, self.device)

    def _stays(self, value: Any) -> dict[str, Any]:
        """What goes in the place of something that is no value: a file may call it, and no more."""
        if isinstance(value, Kept):
            return {"object": value.number}
        if isinstance(value, Ops | BlockOps) and getattr(value, "leaves", value) is DEFINITIONS:
            return {"leaves": type(value).__name__}
        if callable(value):
            self.lent.append(value)
            return {"function": len(self.lent) - 1}
        if isinstance(value, SimpleNamespace):
            names, otherwise = vars(value), "it has no {name}"
        else:
            names, otherwise = value.LENT, value.OTHERWISE
        first = len(self.lent)
        self.lent += [getattr(value, name) for name in names]
        return {"methods": {name: first + n for n, name in enumerate(names)}, "otherwise": otherwise}

    def _arrived(self, packed: dict[str, Any]) -> Any:
        """What stands here for something that stayed there, of a type of its name, by which messages call it."""
        attributes = {"number": int(packed["object"]), "freed": self.freed, "held": int(packed.get("held", 0))}
        return type(wire.short(packed["type"]), (Kept,), attributes)()

    # The process

    def _start(self, seed: int, device: str) -> None:
        settings = {"seed": seed, "seconds": self.seconds, "bounded": device == "cpu", "terminal": _terminal()}
        self.process = OwnProcess("tinygpt.gradcheck.child", settings, talks=True)
        self.requests: queue.SimpleQueue = queue.SimpleQueue()
        self.replies: queue.SimpleQueue = queue.SimpleQueue()
        self.printing = threading.Thread(target=self._show, daemon=True)
        # neither may wait for ever for a process that does not read or answer, so another thread does
        for thread in (threading.Thread(target=self._carry, daemon=True), self.printing):
            thread.start()

    def _carry(self) -> None:
        """One message there for each message back, until there is no more to send."""
        asks, answers = cast(Any, self.process.popen.stdin), cast(Any, self.process.popen.stdout)
        with asks, answers:
            while (message := self.requests.get()) is not None:
                try:
                    wire.send(asks.fileno(), *message)
                    self.replies.put(wire.receive(answers.fileno()))
                except OSError:
                    self.replies.put(None)
                except Exception as error:
                    self.replies.put(error)

    def _show(self) -> None:
        """What the file prints, as it comes, as far as anyone would read it."""
        shown, prints = 0, cast(Any, self.process.popen.stderr)
        with contextlib.suppress(OSError, ValueError), prints:
            while piece := os.read(prints.fileno(), 1 << 16):
                if shown < PRINTED:
                    text = piece[: PRINTED - shown].decode(errors="replace")
                    text += "" if shown + len(piece) < PRINTED else f"\n({self.path} printed more, which is left out)\n"
                    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
                    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                        print(text.encode(encoding, "replace").decode(encoding), end="", flush=True)
                shown += len(piece)

    def _ended(self) -> NoAnswer:
        """Why there is no answer from a process that answers no more."""
        status, place = self.process.status(), self._place(self.process.written([self.path]))
        self.close()
        if status is None:
            return self._no_answer("its process answers no more, though it has not ended")
        if name := killed_by(status):
            return self._no_answer(f"its process was ended by {name}", place)
        return self._no_answer(f"it ended its own process, with status {status}", place)

    def _no_answer(self, why: str, place: str = "") -> NoAnswer:
        self.reason = f"{place or self.path} gave no answer {self.at}: {why}"
        return NoAnswer(self.reason)

    def _place(self, at: tuple[Path, int] | None) -> str:
        return f"{self.path}, line {at[1]}," if at else str(self.path)

    def close(self) -> None:
        """End the process, and whatever it has started."""
        if self.closed:
            return
        self.closed, self.reason = True, self.reason or f"{self.path} is not asked any more"
        self.process.end()
        self.requests.put(None)
        self.printing.join(1)  # what it printed last; who else has its pipe is not waited for


def _terminal() -> str | None:
    """The terminal that a debugger may talk to, by name."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # of what was replaced, or closed
        if sys.stdin.isatty() and sys.stdout.isatty():
            return os.ttyname(sys.stdin.fileno()) if os.name == "posix" else "CON"
    return None
