"""A reader's own layers on the command line: `--mine=FOLDER`."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from tinygpt.device import out_of_memory
from tinygpt.errors import UserError
from tinygpt.run.store import saved_setting


def asked_for(settings: Mapping[str, Any]) -> Any:
    """The reader's own layers, if `settings` ask for any; a resumed run has what it was saved with, unless they say."""
    folder, unchecked = settings.get("mine"), settings.get("mine_unchecked")
    if settings.get("init_from") == "resume":
        out_dir = settings.get("out_dir", "out")
        folder = settings["mine"] if "mine" in settings else saved_setting(out_dir, "mine")
        unchecked = saved_setting(out_dir, "mine_unchecked") if unchecked is None else unchecked
    if not folder:
        return None
    from tinygpt.own_layers import load_own_layers  # here, since other runs should not wait for the checker

    return load_own_layers(folder, bool(unchecked))


@contextlib.contextmanager
def blaming(own: Any) -> Iterator[None]:
    """Turns an error from a reader's own part, if there are any, into one sentence with their file and line in it."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        if own and own.used and out_of_memory(error) is None:
            raise UserError(own.blame(error)) from error
        raise
