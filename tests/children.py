"""Python programs that tests start, to the end, in the background or on a terminal; none is waited for without end."""

import contextlib
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SECONDS = 120  # that a program may take; on two busy cores most take less than five
PIPES = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
IGNORED_IN_THE_BACKGROUND = ("SIGINT", "SIGQUIT", "SIGHUP")


def give_default_signals() -> None:
    """Let the programs that are started from here on begin with default signals.

    Under `nohup`, and in the background of a script, some are ignored, and a program begins with what its parent
    ignores, so Ctrl-C would never reach it. What its parent handles, if only by doing nothing, it does not inherit.
    """
    for name in IGNORED_IN_THE_BACKGROUND:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@contextlib.contextmanager
def started(
    *arguments, seconds: float = SECONDS, python: str | Path = sys.executable, **options
) -> Iterator[subprocess.Popen]:
    """`python arguments`, running, its output to be read as text. It is ended at the end of the block; after `seconds`
    it is ended too, so that whatever reads from it or waits for it comes back, and the test fails.
    """
    command = [str(python), *map(str, arguments)]
    process = subprocess.Popen(command, start_new_session=True, **(PIPES | options))
    late = threading.Event()
    timer = threading.Timer(seconds, lambda: (late.set(), _end(process)))
    timer.start()
    try:
        with process:  # closes what is read from it, and waits
            try:
                yield process
            finally:
                _end(process)
    finally:
        timer.cancel()
        if late.is_set():
            pytest.fail(f"{' '.join(command)} had not ended after {seconds} s")


def _end(process: subprocess.Popen) -> None:
    """Kill a program, and what it started."""
    with contextlib.suppress(OSError):  # it has ended already
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def run(*arguments, **options) -> subprocess.CompletedProcess:
    """`python arguments`, run to its end: its returncode, stdout and stderr."""
    with started(*arguments, **options) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def compiled(source: Path, library: Path, *more: str) -> Path:
    """A library for `LD_PRELOAD`, made of a file of C."""
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, *more], check=True, timeout=SECONDS)
    return library


class Terminal:
    """`python arguments` in a pseudo-terminal: what is typed goes in, what is shown comes out."""

    def __init__(self, *arguments, columns: int = 80, rows: int = 40, **options):
        import fcntl  # these three are not on Windows
        import pty
        import termios

        self.leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._started = started(
            *arguments, stdin=follower, stdout=follower, stderr=follower,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it as a signal
            **options,
        )  # fmt: skip
        self.process = self._started.__enter__()
        os.close(follower)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *exception) -> None:
        os.close(self.leader)
        self._started.__exit__(*exception)

    def until(self, expected: str) -> str:
        """All that is shown until `expected` is; the end of the program, if it comes first, fails."""
        shown = b""
        while expected not in decoded(shown):
            piece = self._piece()
            assert piece, f"the program ended without {expected!r}:\n{decoded(shown)}"
            shown += piece
        return decoded(shown)

    def rest(self) -> str:
        """What is shown until the program ends, which it must by itself."""
        shown = b""
        while piece := self._piece():
            shown += piece
        self.status = self.process.wait(60)
        return decoded(shown)

    def _piece(self) -> bytes:
        assert select.select([self.leader], [], [], 60)[0], "a minute without a word"
        try:
            return os.read(self.leader, 65536)
        except OSError:  # the other end is closed
            return b""

    def type(self, text: str) -> None:
        if text == "\x03":  # Python hears one that comes between its prompt and its wait for a key at the next key only
            self._let_it_wait()
        os.write(self.leader, text.encode())

    def _let_it_wait(self) -> None:
        """Until the program sleeps, where Linux tells; a second at most, for one that computes."""
        stat, end = Path(f"/proc/{self.process.pid}/stat"), time.monotonic() + 1
        while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "S" and time.monotonic() < end:
            time.sleep(0.005)


def decoded(shown: bytes) -> str:
    return shown.decode(errors="replace").replace("\r\n", "\n")
