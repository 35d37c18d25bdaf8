"""What a model computes in: which dtype does what in it, and which a run takes on a device."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygpt.backend import compute_capability
from tinygpt.errors import UserError, brief

BFLOAT16_CARD = 80  # the compute capability, times ten, from which on cards multiply bfloat16 (CUDA's manual)
FASTEST = "this card is fastest in it"


@dataclass(frozen=True)
class Precision:
    """Which dtype does what in a model."""

    parameters: str  # weights, their gradients and an optimiser's state; what a checkpoint holds
    computation: str  # activations and their gradients, and matrices as products take them
    accumulation: str  # losses, and sums over micro-batches


PRECISIONS = {
    "float32": Precision("float32", "float32", "float32"),
    "bfloat16": Precision("float32", "bfloat16", "float32"),
    "float64": Precision("float64", "float64", "float64"),
}


def dtype_of(name: str) -> np.dtype:
    """NumPy's dtype of that name; of bfloat16, which NumPy lacks, ml_dtypes', which is imported for nothing else."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def resolve(asked: Any, device: str, kernels: str = "auto", own: bool = False) -> tuple[str, str]:
    """Turn "auto", "float32", "bfloat16" or "float64" into the name to compute in, and a clause on why, "" where it is
    what was asked for. "auto" is bfloat16 where that is possible, and float32 elsewhere, as bfloat16 then is too.

    device: "cpu" or "cuda"; kernels: "auto" or "reference"; own: whether parts are not the engine's own. Raises
    UserError for any other name.
    """
    name = _named(asked, ("auto", *PRECISIONS))
    if name not in ("auto", "bfloat16"):
        return name, ""
    if missing := _missing(device, kernels == "reference", own):
        return "float32", missing
    return "bfloat16", FASTEST if name == "auto" else ""


def precision_of(dtype: Any, device: str, reference: bool = False) -> Precision:
    """The entry of PRECISIONS that a model asks for. reference: whether it computes with the definitions alone. Raises
    UserError for another name, and for bfloat16 where it is not possible.
    """
    name = _named(dtype, tuple(PRECISIONS))
    if name == "bfloat16" and (missing := _missing(device, reference)):
        raise UserError(f"dtype is 'bfloat16', but {missing}; give float32")
    return PRECISIONS[name]


def kind(asked: Any) -> str:
    """The dtype of the parameters that a run has: runs of one kind can go on from each other's checkpoints."""
    name = _named(asked, ("auto", *PRECISIONS))
    return PRECISIONS["float32" if name == "auto" else name].parameters


def _named(dtype: Any, names: tuple[str, ...]) -> str:
    name = getattr(dtype, "__name__", str(dtype))  # numpy.float32 will do as well
    if name not in names:
        way_out = "; take bfloat16, as small and with the range of float32" if name == "float16" else ""
        raise UserError(f"dtype is {brief(dtype)}; expected {', '.join(names[:-1])} or {names[-1]}{way_out}")
    return name


def _missing(device: str, reference: bool, own: bool = False) -> str:
    """Why bfloat16 is not possible, in a clause; "" where it is."""
    if device == "cpu":
        return "bfloat16 takes a CUDA card"
    if reference:
        return "bfloat16 takes kernels, which --kernels=reference leaves out"
    if own:
        return "bfloat16 is for the engine's own parts, and some here are yours"
    if (capability := compute_capability()) < BFLOAT16_CARD:
        oldest = BFLOAT16_CARD / 10
        return f"bfloat16 takes a card of compute capability {oldest} or more, and this one's is {capability / 10}"
    try:
        dtype_of("bfloat16")
    except ImportError:
        return "bfloat16 takes ml_dtypes, which `pip install ml_dtypes` would bring"
    return ""
