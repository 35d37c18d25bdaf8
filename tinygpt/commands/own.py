"""A reader's own layers on the command line: `--mine=FOLDER`."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from tinygpt.device import out_of_memory
from tinygpt.errors import UserError
from tinygpt.run.store import load_meta


def asked_for(settings: Mapping[str, Any]) -> Any:
    """The reader's own layers, if `settings` ask for any; a resumed run has what it was saved with, unless they say."""
    if settings.get("init_from") == "resume":
        settings = {**load_meta(settings.get("out_dir", "out"))[0].get("config", {}), **settings}
    if not settings.get("mine"):
        return None
    from tinygpt.own_layers import load_own_layers  # here, since other runs should not wait for the checker

    return load_own_layers(settings["mine"], bool(settings.get("mine_unchecked")))


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
