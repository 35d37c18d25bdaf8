"""A reader's own layers on the command line: `--mine=FOLDER`."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from tinygpt.device import out_of_memory
from tinygpt.errors import UserError
from tinygpt.files import expanded
from tinygpt.run import screens
from tinygpt.run.folder import load_meta
from tinygpt.run.saved import saved_config


def asked_for(settings: Mapping[str, Any]) -> Any:
    """The reader's own layers, if `settings` ask for any. What a saved run says is never reason to run code: one that
    used such layers goes on with them only if they are asked for again. Raises UserError where they are not.
    """
    if settings.get("init_from") == "resume" and "mine" not in settings:
        out_dir = expanded(settings.get("out_dir", "out"))
        meta, folder = load_meta(out_dir)
        saved = saved_config(meta, folder / "state.json")
        if saved.mine:
            flags = f"--mine={screens.quoted(saved.mine)}" + " --mine_unchecked" * saved.mine_unchecked
            raise UserError(
                f"the run in {out_dir} used parts of yours from {saved.mine}, and only you can say that their code "
                f"may run: give {flags} again, or --mine= to go on without them"
            )
    if not settings.get("mine"):
        return None
    from tinygpt.own_layers import load_own_layers  # here, since other runs should not wait for the checker

    return load_own_layers(expanded(settings["mine"]), bool(settings.get("mine_unchecked")))


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
