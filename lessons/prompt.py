"""Python's own prompt on a lesson's variables."""

import builtins
import code
import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from lessons.course import Course

try:
    import readline  # line editing and history, where Python has it
except ImportError:
    readline = None  # type: ignore[assignment]


class _Leave:
    """What `exit` and `quit` mean at the Python prompt: back to the lesson, with the brackets or without."""

    def __call__(self, *_: Any) -> None:
        raise SystemExit

    __repr__ = __call__  # type: ignore[assignment]


def python_prompt(
    variables: dict[str, Any], course: Course, says: str = "Ctrl-D goes back to the lesson. Its names so far"
) -> None:
    """Python's own prompt on variables, a lesson's for example, until Ctrl-D."""
    names = [name for name, value in variables.items() if name[0] != "_" and not isinstance(value, ModuleType)]
    course.say(f"{says}: {', '.join(names) or 'none'}")
    exits = builtins.exit, builtins.quit
    builtins.exit = builtins.quit = _Leave()  # type: ignore[assignment]  # Python's own close the input
    try:
        with _completion(variables), contextlib.suppress(SystemExit):
            code.InteractiveConsole(variables, filename="<prompt>").interact(banner="", exitmsg="")
    finally:
        builtins.exit, builtins.quit = exits


@contextlib.contextmanager
def _completion(variables: dict[str, Any]) -> Iterator[None]:
    """Tab completes the names of the lesson."""
    if readline is None:
        yield
        return
    import rlcompleter

    tab = "bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete"
    readline.parse_and_bind(tab)
    readline.set_completer(rlcompleter.Completer(variables).complete)
    try:
        yield
    finally:
        readline.set_completer(None)
