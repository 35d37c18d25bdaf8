"""Stop and derive: the reader writes a cell's function line by line before the lesson shows its own."""

from typing import Any

import numpy as np

from lessons import display
from lessons.derivation import Derivation
from lessons.screen import Left, Screen

PROMPT = "derive> "
KEYS = {
    "?": "what is there, and what is wanted",
    "!": "the lesson's own next line",
    "s": "skip: the lesson's own, at once",
    "q": "leave; the place is remembered",
}


def derive(derivation: Derivation, screen: Screen) -> bool:
    """Take lines until all that is wanted stands, or the reader asks for the lesson's own.

    Returns whether the reader derived all of it. Raises Left.
    """
    screen.say("Write it before you read it: one line at a time, each compared as you write it.", style="bold")
    screen.show(_there(derivation, screen))
    keys = {key: what for key, what in KEYS.items() if key not in derivation.there}  # s may be an array
    skips = "s skips" if "s" in keys else "Enter twice skips"
    screen.note(f"? shows this again, ! the lesson's next line, {skips}. Any other expression is shown.")
    unaided, asked = True, False
    while not derivation.done:
        line = screen.ask(PROMPT)
        key = "" if line in derivation.there or line in derivation.standing else line  # q may be an array
        if line == "" and not asked:
            asked = True
            screen.say("Show the lesson's own? Enter again does; a line goes on.")
            continue
        if line == "" or key == "s":
            return False
        asked = False
        if key in ("q", "exit", "quit", "exit()", "quit()"):
            raise Left
        if key == "?":
            screen.show(_there(derivation, screen) + display.two_columns(keys, screen.console))
        elif key == "!":
            unaided = False
            screen.show(display.code(derivation.reveal(), screen.console))
        else:
            said = derivation.judge(line)
            if said.stands is None:
                screen.show(screen.printed(said.text + "\n"))
            else:
                screen.say(said.text, style="green" if said.stands else "red")
    screen.say(f"All {derivation.total} stand." if derivation.total > 1 else "It stands.", style="green")
    return unaided


def _there(derivation: Derivation, screen: Screen) -> str:
    """What there is to write with, and what is still to be written."""
    there = derivation.given | derivation.found | derivation.standing
    wanted = [name if number == 1 else f"{name} ({number} parts)" for name, number in derivation.missing.items()]
    names = ", ".join(f"{name} {size(value)}" for name, value in there.items() if name[0] != "_")
    rows = {"function": derivation.call, "there": names}
    return display.two_columns(rows | {"wanted": ", ".join(wanted)}, screen.console)


def size(value: Any) -> str:
    """What a value is, in short: an array's shape, a number itself."""
    if isinstance(value, np.ndarray):
        return str(value.shape).replace(" ", "")  # in one piece where the line is folded
    if isinstance(value, tuple | list | dict):
        return f"({type(value).__name__} of {len(value)})"
    return f"= {value + 0.0:.4g}" if isinstance(value, float) else f"= {value}"[:20]
