"""Whether the ranks of a run have the same program, text, settings and kernels, and hold the same weights."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from tinygpt import __version__
from tinygpt.backend import to_host
from tinygpt.errors import brief
from tinygpt.files import expanded
from tinygpt.ops import Ops
from tinygpt.run.group import Everyones, Group
from tinygpt.run.state import TrainState

OWN = "threads", "mine"  # settings in which ranks may differ: `mine` is a place, and what lies there is compared


def check_settings(group: Group, settings: Mapping[str, Any]) -> None:
    """Raise UserError, on every rank, if one of them is another tinygpt than rank 0, or was given other settings."""
    if group.size == 1:
        return
    facts = {
        "the version of tinygpt": __version__,
        "the source of tinygpt": _digest(Path(__file__).parents[1]),
        **_flags(settings),
    }
    if mine := settings.get("mine"):
        facts["the files in --mine"] = _digest(Path(expanded(mine)))
    _check_same(group, facts)


def check_alike(state: TrainState) -> None:
    """Raise UserError, on every rank, if one of them is about to train something else than rank 0."""
    facts = {
        **_flags(dataclasses.asdict(state.config)),
        "the text": state.corpus.fingerprint,
        "the step at which it goes on": state.step,
        "the device": state.model.device,
        "the dtype": str(state.model.dtype),
        **{f"what computes {name}": module for name, module in cast(Ops, state.model.ops).modules.items()},
    }
    _check_same(state.group, facts)


def check_replicas(state: TrainState) -> None:
    """Raise UserError, on every rank, if the weights of one are not rank 0's to the last bit."""
    group = state.group
    if group.size == 1:
        return
    digest = hashlib.sha256(to_host(state.model.params.flat).view(np.uint8).data).hexdigest()
    first, *_ = digests = group.everyones(digest)
    if others := [group.names[rank] for rank, other in enumerate(digests) if other != first]:
        raise Everyones(
            f"at step {state.step:,} the weights of {', '.join(others)} are no longer those of rank 0, so the run is "
            f"not saved; what was saved before, at step {state.saved_step:,}, is intact: go on from it with "
            f"--init_from=resume, and if it comes again, look for a machine whose memory or card is at fault"
        )


def _flags(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {f"--{name}": value for name, value in settings.items() if name not in OWN}


def _check_same(group: Group, facts: dict[str, Any]) -> None:
    first, *_ = everyones = group.everyones(facts)
    for name, own in zip(group.names, everyones, strict=True):
        for fact in first | own:
            here, there = (brief(known[fact]) if fact in known else "nothing" for known in (first, own))
            if here != there:
                raise Everyones(
                    f"the ranks of a run must have the same of everything, but for {fact} rank 0 has {here}, and "
                    f"{name} has {there}; give them all the same files and flags"
                )


def _digest(folder: Path) -> str:
    """A hash of the source files in a folder."""
    hashed = hashlib.sha256()
    files = (path for path in folder.rglob("*") if path.suffix in (".py", ".cu", ".h") and path.is_file())
    for path in sorted(files):
        hashed.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return hashed.hexdigest()[:16]
