"""Single keys from a terminal, without Enter."""

import os
import sys
import time
from typing import Any

try:
    import msvcrt  # Windows

    termios: Any = None
except ImportError:
    import select
    import termios
    import tty


class Keys:
    """While it is entered, a key counts when it is pressed; Ctrl-C stays what it is."""

    def __enter__(self) -> "Keys":
        if termios:
            self.terminal = sys.stdin.fileno()
            self.before = termios.tcgetattr(self.terminal)
            tty.setcbreak(self.terminal, termios.TCSADRAIN)
        return self

    def __exit__(self, *_: object) -> None:
        if termios:
            termios.tcsetattr(self.terminal, termios.TCSADRAIN, self.before)

    def pressed(self, seconds: float) -> str:
        """The key that is pressed within so many seconds, a small letter, or ""; "q" where no more can come."""
        if termios:
            if not select.select([self.terminal], [], [], seconds)[0]:
                return ""
            typed = os.read(self.terminal, 32).decode(errors="replace")  # an arrow is several at once
            return typed[:1].lower() if typed else "q"
        time.sleep(seconds)
        return msvcrt.getwch().lower() if msvcrt.kbhit() else ""  # type: ignore[attr-defined]
