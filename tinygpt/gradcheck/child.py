"""The process in which a reader's file computes: it is sent what to call, and sends back what that gave."""

import builtins
import contextlib
import copy
import faulthandler
import functools
import inspect
import os
import pdb
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import thread as pools
from importlib.util import decode_source
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tinygpt.gradcheck import intermediates, own_file, wire
from tinygpt.gradcheck.adapters import files
from tinygpt.gradcheck.arrays import held_arrays
from tinygpt.gradcheck.experiment import call_with_fixed_random_numbers
from tinygpt.gradcheck.operands import of_a_product
from tinygpt.models.gpt2 import BlockOps
from tinygpt.ops import DEFINITIONS

MEMORY = 4 << 30  # bytes that the file may have, where the system can see to it
MESSAGE = 500  # characters of what it raises


class Child:
    """The file, and what of it was kept for later calls: caches, and objects that are no values."""

    def __init__(self, requests: int, replies: int, settings: dict[str, Any]):
        self.requests, self.replies, self.settings = requests, replies, settings
        self.kept: dict[int, tuple[Any, list]] = {}  # and the arrays and lists that came and went with a cache
        self.numbers = iter(range(1 << 62))
        self.file = ModuleType("")
        self.functions: dict[str, Callable] = {}  # of what was adapted
        self.path = self.source = ""
        self.before: dict[str, Any] = {}

    def answer(self, request: dict[str, Any], arrays: memoryview) -> tuple[Any, bytes]:
        """What was asked for, or what was raised instead."""
        for number in request.get("free", ()):
            self.kept.pop(number, None)
        seen: list = []
        try:
            given = wire.unpack(request["value"], arrays, self.arrived, seen, "cuda")
            return getattr(self, request["do"])(seen, *given)
        except BaseException as error:  # whatever it is that the file raises
            return {"error": self.error(error)}, b""

    # What can be asked for

    def load(self, _: list, path: str, source: np.ndarray, functions: list[str]) -> tuple[Any, bytes]:
        self.path = path
        self.before = _of_others()
        sys.path.insert(0, os.path.dirname(os.path.abspath(path)))  # for its neighbours
        self.source = decode_source(source.tobytes())
        self.file = own_file.load(path, source.tobytes(), functions)
        return self.value({name: _parameters(getattr(self.file, name)) for name in functions})

    def things(self, _: list, kind: str, name: str) -> tuple[Any, bytes]:
        return self.value((files.chosen(self.file, kind, name), files.options(self.file)))

    def adapt(self, _: list, kind: str, name: str, seed: int) -> tuple[Any, bytes]:
        found = files.adapted(self.file, name, seed, kind)
        self.functions = {"forward": found.forward, "backward": found.backward}
        return self.value({"inputs": found.inputs, **dict(zip(found._fields[3:], found[3:], strict=True))})

    def hello(self, _: list) -> tuple[Any, bytes]:
        return self.value(None)

    def call(self, seen: list, name: str, arguments: tuple, named: dict, cache: int | None) -> tuple[Any, bytes]:
        """Call a function; what it changed is sent back too. cache: the number of the one that it is called with."""
        function = self.functions.get(name) or getattr(self.file, name)
        seen += self.kept[cache][1] if cache is not None else []
        before = [_print(x) for x in seen]
        error = None
        try:
            if name == "forward":
                called = functools.partial(function, *arguments)
                result, _ = call_with_fixed_random_numbers(called, named, self.settings["seed"])
            else:
                result = function(*arguments, **named)
        except BaseException as raised:
            error = self.error(raised)
        changed = [(number, x) for number, x in enumerate(seen) if _print(x) != before[number]]
        if error:
            reply, content = self.value(changed)
            return {"error": error, "changed": reply["value"]}, content
        if name == "forward" and isinstance(result, tuple) and len(result) == 2:
            came: list = []
            out = wire.pack(result[0], self.stays, came)
            number = next(self.numbers)
            self.kept[number] = result[1], [*seen, *came]
            held = sum(x.nbytes for x in held_arrays(result[1]))
            packed = {"tuple": [out, {"object": number, "type": _name(result[1]), "held": held}]}
        else:
            came = []
            packed = wire.pack(result, self.stays, came)
        more: list = []
        also = wire.pack(changed, self.stays, more)
        return {"value": packed, "changed": also}, wire.content([*came, *more])

    def intermediates(self, _: list, inputs: dict, dout: np.ndarray) -> tuple[Any, bytes]:
        """What is said of each line of backward."""
        return self.value([tuple(line) for line in intermediates.judge(self.source, inputs, dout, self.path)])

    def moves(self, _: list, name: str, x: np.ndarray) -> tuple[Any, bytes]:
        """Whether what a function hands to its argument f is always its argument x."""
        same: list[bool] = []

        def f(given: np.ndarray) -> float:
            same.append(np.may_share_memory(given, x))
            return 0.0

        getattr(self.file, name)(f, x)
        return self.value(all(same))

    def left_behind(self, _: list) -> tuple[Any, bytes]:
        """What the file has changed that is not its own, in words."""
        now, found = _of_others(), []
        if changed := [name for name, x in self.before.items() if now.get(name) is not x]:
            found.append(f"something of its own in the place of {', '.join(changed[:3])}")
        if any(stream is None or stream.closed for stream in (sys.stdout, sys.stderr)):
            found.append("its output closed")
        ending = {threading.main_thread(), *pools._threads_queues}  # with the program, as threads of a pool do
        if any(not thread.daemon for thread in threading.enumerate() if thread not in ending):
            found.append("a thread that goes on")
        return self.value(found)

    # Values on their way

    def value(self, value: Any) -> tuple[dict[str, Any], bytes]:
        seen: list = []
        return {"value": wire.pack(value, self.stays, seen)}, wire.content(seen)

    def stays(self, value: Any) -> dict[str, Any]:
        number = next(self.numbers)
        self.kept[number] = value, []
        return {"object": number, "type": _name(value)}

    def arrived(self, packed: dict[str, Any]) -> Any:
        """What stands for something that is no value: kept here, the engine's own, or to be asked for over there."""
        if "object" in packed:
            kept = self.kept[packed["object"]][0]
            return copy.deepcopy(kept) if isinstance(kept, np.random.Generator) else kept
        if "leaves" in packed:
            return BlockOps(DEFINITIONS) if packed["leaves"] == BlockOps.__name__ else DEFINITIONS
        if "function" in packed:
            return functools.partial(self.ask, packed["function"])
        methods: dict[str, Callable] = {
            name: functools.partial(self.ask, number) for name, number in packed["methods"].items()
        }
        return _Lent(methods, packed["otherwise"])

    def ask(self, number: int, *arguments: Any, **named: Any) -> Any:
        """Call a function of the judge's."""
        seen: list = []
        self.tell({"ask": number, "value": wire.pack((arguments, named), self.stays, seen)}, wire.content(seen))
        reply, arrays = wire.receive(self.requests) or ({"raised": ["EOFError", "nobody answers"]}, memoryview(b""))
        if "raised" in reply:
            kind, message = reply["raised"]
            raise getattr(builtins, kind, RuntimeError)(message)
        return wire.unpack(reply["value"], arrays, self.arrived, [], "cuda")

    def tell(self, header: Any, arrays: bytes = b"") -> None:
        try:
            wire.send(self.replies, header, arrays)
        except ValueError as error:
            what = {"type": "MemoryError", "bases": ["MemoryError"], "message": str(error), "line": None}
            wire.send(self.replies, {"error": what})

    def error(self, error: BaseException) -> dict[str, Any]:
        """An exception in words. Nothing in it is taken on trust: even its text may raise."""
        said: dict[str, Any] = {
            "type": _name(error),
            "bases": [c.__name__ for c in type(error).__mro__],
            "message": "",
            "line": None,
        }
        with contextlib.suppress(BaseException):
            said["message"] = " ".join(str(error)[: 4 * MESSAGE].split())[:MESSAGE]
            said["message"] += of_a_product(error, self.path, self.source)[:MESSAGE]
        if isinstance(error, SyntaxError):
            said["message"] = str(error.msg)[:MESSAGE]
        with contextlib.suppress(BaseException):
            said["line"] = own_file.line(self.path, error)
        return said

    # The debugger

    def breakpoint(self, *_: Any, **__: Any) -> None:
        """What `breakpoint()` does here: the terminal is the debugger's, and the clock stands still."""
        if os.environ.get("PYTHONBREAKPOINT") == "0":
            return
        if not self.settings["terminal"]:
            raise RuntimeError("breakpoint() needs a terminal to talk to; there is none here, so take it out")
        ends = [open(self.settings["terminal"], mode, encoding="utf-8") for mode in "rw"]  # noqa: SIM115
        debugger = _Debugger(stdin=ends[0], stdout=ends[1])
        debugger.clock = self.clock
        debugger.set_trace(sys._getframe(1))

    def clock(self, runs: bool) -> None:
        """Have the clock stopped, or go on."""
        self.tell({"clock": runs})
        wire.receive(self.requests)


class _Debugger(pdb.Pdb):
    """Tells the clock when it waits for a person."""

    clock: Callable[[bool], Any]

    def interaction(self, *arguments: Any, **named: Any) -> None:
        self.clock(False)
        try:
            super().interaction(*arguments, **named)
        finally:
            self.clock(True)


class _Lent:
    """An object of the judge's, as far as it may be used here."""

    def __init__(self, methods: dict[str, Callable], otherwise: str):
        vars(self).update(methods)
        self._otherwise = otherwise

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(self._otherwise.format(name=name))


def _name(x: Any) -> str:
    return str(type(x).__name__)[:100]


def _print(x: Any) -> Any:
    """What tells whether an array or a list has changed."""
    return repr(x) if isinstance(x, list) else (x.shape, x.dtype, wire.content([x]))


def _parameters(function: Any) -> list | None:
    """A function's parameters: name, kind, and whether it has a default; None where it does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [[p.name, int(p.kind), p.default is not p.empty] for p in parameters]


def _of_others() -> dict[str, Any]:
    """What a file might put something else in the place of: the engine's, NumPy's, Python's own, signals' handlers."""
    found = {f"{module}.{name}": x for module, holder in _holders() for name, x in vars(holder).items()}
    found |= {"sys.stdout": sys.stdout, "sys.stderr": sys.stderr}
    return found | {f"the handler of {number.name}": signal.getsignal(number) for number in signal.Signals}


def _holders() -> Iterator[tuple[str, Any]]:
    for name, module in list(sys.modules.items()):
        if name in ("builtins", "numpy", "numpy.random") or name.split(".")[0] == "tinygpt":
            yield name, SimpleNamespace(**{k: x for k, x in vars(module).items() if not k.startswith("__")})
            for key, x in list(vars(module).items()):
                if isinstance(x, type) and getattr(x, "__module__", "") == name and name.startswith("tinygpt"):
                    yield f"{name}.{key}", x


def serve(settings: dict[str, Any]) -> None:
    """Answer until nobody asks any more.

    Messages come and go on what were the standard input and output; what the file prints goes to the standard error,
    and it has nothing to read.
    """
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    bounded(settings)
    child = Child(requests, replies, settings)
    sys.breakpointhook = pdb.set_trace = child.breakpoint
    message: Any = ()
    try:
        while (message := wire.receive(requests)) is not None:
            child.tell(*child.answer(*message))
    finally:  # whatever the file has done to what this needs
        os._exit(0 if message is None else 1)


def bounded(settings: dict[str, Any]) -> None:
    """See to it that the process ends when it should, and takes no more than it may, where the system can."""
    if settings["trace"] is not None:  # where it was, should it crash or be asked
        trace = open(settings["trace"], "w", closefd=False)  # noqa: SIM115
        faulthandler.enable(trace)
        faulthandler.register(signal.SIGUSR1, trace)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        seconds = int(settings["seconds"]) + 60  # should nobody be there any more to end it
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        if settings["bounded"]:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # Linux: die with who started it
