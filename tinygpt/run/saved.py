"""What the `state.json` of a saved run may say. A folder from someone else has digests that fit whatever is in it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from tinygpt.errors import UserError, brief
from tinygpt.run.config import AT_MOST, TrainConfig
from tinygpt.run.state import EvalRecord

Rule = tuple[Callable[[Any], bool], str]


def _whole(least: int, most: int = 10**15) -> Rule:
    expected = f"a whole number of at least {least} and at most {most:,}"
    return lambda value: type(value) is int and least <= value <= most, expected


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300  # neither NaN nor infinity is


RULES: dict[str, Rule] = {
    "step": _whole(0),
    "evaluated_step": _whole(-1),
    "best_val_loss": (lambda value: value is None or _is_number(value), "a number or null"),
    "threads": _whole(1, AT_MOST["threads"]),
    "text": (lambda value: isinstance(value, str), "text"),
    "config": (lambda value: isinstance(value, dict), "an object"),
}
SINCE = {  # which earlier versions did not save
    "best_step": _whole(-1), "without_better": _whole(0), "same_since": _whole(-1), "ranks": _whole(1),
}  # fmt: skip


def saved_config(meta: Mapping[str, Any], path: Path) -> TrainConfig:
    """The configuration of the run that state.json, read from `path`, is of. Raises UserError for anything in the file
    that no run has written.
    """
    for name, (allowed, expected) in (RULES | SINCE).items():
        if name not in meta and name in SINCE:
            continue
        if name not in meta:
            raise UserError(f"{path} is of another version of tinygpt (it lacks {name!r}); start anew")
        if not allowed(meta[name]):
            raise UserError(f"{path} has {name} = {brief(meta[name])}; expected {expected}")
    try:
        return TrainConfig(**meta["config"])
    except TypeError as error:
        raise UserError(f"{path} is of another version of tinygpt ({error}); start anew") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def saved_best(meta: Mapping[str, Any], evaluation: EvalRecord | None) -> tuple[int, int]:
    """The step of the best evaluation, -1 where it is not known, and how many were made since. meta: checked by
    `saved_config`; evaluation: the last one, which is all that an earlier version tells.
    """
    known = evaluation.step if evaluation and evaluation.best else -1
    return meta.get("best_step", known), meta.get("without_better", 0)


def saved_digests(meta: Mapping[str, Any], path: Path) -> dict[str, str]:
    """The digests of the state's files by name. Raises UserError if they are none, or of files in other folders."""
    digests = meta.get("sha256")
    if not isinstance(digests, dict) or not all(re.fullmatch(r"[\w-][\w.-]*", name) for name in digests):
        raise UserError(f"{path} has sha256 = {brief(digests)}; expected the digests of the files beside it, by name")
    return digests


def saved_evaluation(meta: Mapping[str, Any], path: Path) -> EvalRecord | None:
    """The last evaluation that state.json, read from `path`, tells of; None where an earlier version wrote it. Raises
    UserError for what no run has written.
    """
    saved = meta.get("evaluation")
    if saved is None:
        return None
    names = {field.name for field in fields(EvalRecord)}
    whole = isinstance(saved, dict) and names <= saved.keys()
    if whole and type(saved["step"]) is int and saved["step"] <= meta["step"]:
        if all(saved[name] is None or isinstance(saved[name], int | float) for name in names):
            return EvalRecord(**{name: saved[name] for name in names})
    raise UserError(f"{path} tells of an evaluation in a way that this version of tinygpt does not; start anew")
