"""What is said to a user: a mistake of theirs, which ends a command, or a note, which does not."""

import reprlib

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 60


class UserError(ValueError):
    """A mistake of the user's, in one sentence; the command line prints it without a traceback."""


class TextError(UserError):
    """The text that a run learns from is damaged or was changed meanwhile; what was learned before is right."""


class Note(UserWarning):
    """What a user should know of and a program goes on from, in one sentence; the command line prints it as a note."""


def brief(value: object) -> str:
    """`value` as Python writes it, with dots for what a sentence has no room for: a file may hold anything."""
    try:
        text = _brief.repr(value)
        return text if len(text) <= 100 else f"{text[:97]}..."
    except ValueError:  # Python writes no number of more than 4,300 digits
        return f"{type(value).__name__} of thousands of digits"
