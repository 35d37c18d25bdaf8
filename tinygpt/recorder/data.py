"""A recording as the step page takes it: what JSON holds, numbers packed in base64."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np

import tinygpt
from tinygpt.pages import packed
from tinygpt.recorder.names import title
from tinygpt.recorder.parting import says
from tinygpt.recorder.recording import Array, Call, Recording, Terms


def page_data(recording: Recording) -> dict[str, Any]:
    """Everything about a step: tokens, calls, and every array with its gradient and what it was made from. A number
    that is not finite, which JSON does not know, is None.
    """
    config = recording.config
    with_arrays = {call for array in recording.arrays if array.call for call in (array.call, *array.call.above)}
    return {
        "version": tinygpt.__version__,
        "text": recording.text,
        "chars": recording.chars,
        "idx": recording.idx.tolist(),
        "targets": recording.targets.tolist(),
        "loss": _finite(recording.loss),
        "after": _finite(recording.after),
        "config": asdict(config) | {"n_params": config.n_params},
        "coarse": recording.coarse,
        "update": {name: _finite(number) for name, number in recording.update.items()},
        "calls": [_call(call) for call in recording.calls if call in with_arrays],
        "arrays": [_array(array) for array in recording.arrays],
        "first": recording.first.key if recording.first else None,
        "mine": {
            "parts": list(recording.parts),
            "says": says(recording),
            "at": list(recording.worst[0]) if recording.worst else [],  # the place in it at which to look
        }
        if recording.parts
        else None,
        "lessons": [],
    }


def _call(call: Call) -> dict[str, Any]:
    return {
        "id": call.number,
        "name": call.function.strip("_") if call.helper else call.module,
        "fn": "backward" if call.backward else "forward",
        "path": call.path,
        "title": title(call.path),
        "parent": call.parent.number if call.parent else None,
        "file": call.file,
        "line": call.line,
        "mine": call.mine,
    }


def _array(array: Array) -> dict[str, Any]:
    said: dict[str, Any] = {
        "id": array.id,
        "key": array.key,
        "name": array.name,
        "also": array.also,
        "pass": array.kind,
        "call": array.call.number if array.call else None,
        "path": array.path,
        "shape": list(array.values.shape),
        "axes": array.axes,
        "file": array.file,
        "line": array.line,
        "end": array.end,
        "code": array.code,
        "comment": array.comment,
        "v": packed(array.values),
        "terms": _terms(array.terms, array.values.size) if array.terms else None,
        "grad": array.gradient.id if array.gradient else None,
        "followed": array.followed,
        "mine": array.mine,
        "differs": array.differs,
    }
    if array.derivative is not None:
        said |= {"fd": packed(array.derivative), "err": _finite(array.error)}
    if update := array.update:  # v1 is the second moment after it, v being the values
        kept = {"g": update.gradient, "v1": update.v}
        kept |= {name: getattr(update, name) for name in ("m0", "v0", "m", "after")}
        said |= {name: packed(values) for name, values in kept.items()} | {"decayed": update.decayed}
    return said


def _terms(terms: Terms, size: int) -> dict[str, Any]:
    """Counts per element, and of each term the place in `src`, the element there and the derivative."""
    src, places = np.unique(terms.source, return_inverse=True)
    wide = len(src) > 255
    return {
        "src": src.tolist(),
        "wide": wide,
        "n": packed(np.bincount(terms.of, minlength=size), "<u2"),
        "s": packed(places, "<u2" if wide else "u1"),
        "i": packed(terms.element, "<u2"),
        "c": packed(terms.by),
    }


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
