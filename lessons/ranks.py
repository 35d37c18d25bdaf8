"""Several processes with a pipe from each to each other, for lesson 19: a small MPI.

    results = on_ranks(program, arrays, *helpers)

starts a process for each array, and in it runs `program(x, rank, size, send, receive)`, a function that works on x in
place. send(array, to) returns at once, receive(from_) waits. What passes is the arrays' bytes, and nothing that runs;
the text of the functions is the caller's own. Where no processes can be started, threads of this one take their place.
"""

import contextlib
import inspect
import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import numpy as np

SECONDS = 60  # after which all of them are ended, whatever they do
ENDED = "another rank ended before it had sent what was waited for"
LENGTH = 8  # bytes of the number before each message: its own length


class Rank(NamedTuple):
    """What became of a rank: its array, and the bytes that it sent to and received from each other one."""

    x: np.ndarray
    sent: dict[int, int]
    received: dict[int, int]


def on_ranks(program: Callable, arrays: list[np.ndarray], *helpers: Callable) -> list[Rank]:
    """Run a program on as many ranks as there are arrays, each with a copy of its own. helpers: functions that it
    calls. Raises RuntimeError with what a rank said that came to no good end, and OSError where there are no pipes.
    """
    source = "\n".join(map(inspect.getsource, (*helpers, program)))
    task = {"source": source, "name": program.__name__}
    size = len(arrays)
    pipes = {(a, b): os.pipe() for a in range(size) for b in range(size) if a != b}  # from a to b: (read, write)
    try:
        if os.name == "posix":
            try:
                return _in_processes(task, arrays, pipes)
            except OSError as error:
                if not pipes:  # the processes had begun
                    raise
                print(f"(no processes can be started here, {error.strerror or error}; threads take their place)")
        else:
            print(f"(pipes cannot be handed to processes on {sys.platform}; threads take their place)")
        return _in_threads(task, arrays, pipes)
    finally:
        for end in [end for pipe in pipes.values() for end in pipe]:
            os.close(end)


def _in_processes(task: dict, arrays: list[np.ndarray], pipes: dict) -> list[Rank]:
    processes: list[subprocess.Popen] = []
    watch = threading.Timer(SECONDS, lambda: [process.kill() for process in processes])
    watch.daemon = True
    try:
        for rank in range(len(arrays)):
            ends = {name: list(place) for name, place in _ends(pipes, rank, len(arrays)).items()}
            mine = json.dumps([rank, len(arrays), ends["out"], ends["in"]])
            processes.append(
                subprocess.Popen(
                    [sys.executable, os.path.abspath(__file__), mine],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    pass_fds=[end for end in ends["out"] + ends["in"] if end >= 0],
                    env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
                )
            )  # fmt: skip
        watch.start()
        for end in [end for pipe in pipes.values() for end in pipe]:
            os.close(end)  # else nobody would hear of it when a rank has ended
        pipes.clear()
        for process, x in zip(processes, arrays, strict=True):
            head = task | {"dtype": x.dtype.str, "length": x.size}
            with contextlib.suppress(BrokenPipeError):  # it says below why it has ended
                process.stdin.write(json.dumps(head).encode() + b"\n" + x.tobytes())
                process.stdin.close()
        answers = [process.stdout.read() for process in processes]
        said = [process.stderr.read().decode(errors="replace").strip() for process in processes]
        if failed := [rank for rank, process in enumerate(processes) if process.wait()]:
            first = min(failed, key=lambda rank: _is_of_a_neighbour(said[rank]))
            raise RuntimeError(f"rank {first}: {said[first] or f'ended, after {SECONDS} s at the latest'}")
        return [_answered(answer, x) for answer, x in zip(answers, arrays, strict=True)]
    finally:
        watch.cancel()
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                with contextlib.suppress(OSError):  # what could not be written is lost with who was to read it
                    stream.close()


def _answered(answer: bytes, x: np.ndarray) -> Rank:
    head, _, content = answer.partition(b"\n")
    counts = [{int(rank): count for rank, count in counted.items()} for counted in json.loads(head)]
    return Rank(np.frombuffer(bytearray(content), x.dtype), *counts)


def _in_threads(task: dict, arrays: list[np.ndarray], pipes: dict) -> list[Rank]:
    size, results, errors = len(arrays), {}, []

    def work(rank: int, ends: dict[str, list[int]]) -> None:
        try:
            results[rank] = _run(task, arrays[rank].copy(), rank, size, ends["out"], ends["in"])
        except Exception as error:
            errors.append(f"rank {rank}: {type(error).__name__}: {error}")
        finally:
            for end in [end for end in ends["out"] + ends["in"] if end >= 0]:
                os.close(end)  # of which others hear, as of the end of a process

    threads = [threading.Thread(target=work, args=(r, _ends(pipes, r, size)), daemon=True) for r in range(size)]
    pipes.clear()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    if len(results) < size:
        raise RuntimeError(min(errors, key=_is_of_a_neighbour, default=f"no end after {SECONDS} s"))
    return [results[rank] for rank in range(size)]


def _is_of_a_neighbour(said: str) -> bool:
    """Whether a rank only says that another has ended, which has more to say."""
    return ENDED in said


def _ends(pipes: dict, rank: int, size: int) -> dict[str, list[int]]:
    """The ends of pipes that a rank writes into and reads from, by the other rank; -1 for itself."""
    others = range(size)
    return {
        "out": [pipes[rank, other][1] if other != rank else -1 for other in others],
        "in": [pipes[other, rank][0] if other != rank else -1 for other in others],
    }


# A rank's own part


def _run(task: dict, x: np.ndarray, rank: int, size: int, out: list[int], into: list[int]) -> Rank:
    """Run the program on x, this rank's array."""
    sent, received = Counter(), Counter()
    waiting = {other: queue.SimpleQueue() for other in range(size) if other != rank}

    def carry(other: int) -> None:
        with contextlib.suppress(OSError):  # who was to read it has ended, and says why
            while (message := waiting[other].get()) is not None:
                _write(out[other], len(message).to_bytes(LENGTH, "big") + message)

    def send(array: np.ndarray, to: int) -> None:
        message = np.ascontiguousarray(array).tobytes()
        sent[to] += len(message)
        waiting[to].put(message)

    def receive(from_: int) -> np.ndarray:
        count = int.from_bytes(_read(into[from_], LENGTH), "big")
        received[from_] += count
        return np.frombuffer(_read(into[from_], count), x.dtype)

    carriers = [threading.Thread(target=carry, args=(other,), daemon=True) for other in waiting]
    for carrier in carriers:
        carrier.start()
    space: dict[str, Any] = {"np": np}
    exec(compile(task["source"], "<the program of the ranks>", "exec"), space)
    space[task["name"]](x, rank, size, send, receive)
    for other in waiting:
        waiting[other].put(None)
    for carrier in carriers:
        carrier.join()
    return Rank(x, dict(sent), dict(received))


def _write(end: int, message: bytes) -> None:
    view = memoryview(message)
    while view:
        view = view[os.write(end, view) :]


def _read(end: int, count: int) -> bytearray:
    content = bytearray()
    while len(content) < count:
        if not (more := os.read(end, min(count - len(content), 1 << 20))):
            raise EOFError(ENDED)
        content += more
    return content


def main(rank: int, size: int, out: list[int], into: list[int], given: BinaryIO, answer: BinaryIO) -> None:
    """One process: the task and the array from `given`, and what became of it to `answer`."""
    task = json.loads(given.readline())
    x = np.frombuffer(bytearray(given.read()), task["dtype"])
    assert x.size == task["length"], "the array came in part"
    done = _run(task, x, rank, size, out, into)
    answer.write(json.dumps([done.sent, done.received]).encode() + b"\n" + done.x.tobytes())
    answer.flush()


if __name__ == "__main__":
    try:
        main(*json.loads(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(f"{type(error).__name__}: {error}")
