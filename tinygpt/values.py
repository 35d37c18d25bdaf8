"""Numbers as a user gives them: checked, and made Python's own, so that no dtype follows them anywhere."""

import math
import sys
from typing import Any

import numpy as np

from tinygpt.errors import UserError, brief

SMALLEST = math.ulp(0.0)  # the smallest number above 0


def plain(value: Any) -> Any:
    """The number in an array without dimensions, of whichever library; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def whole_number(value: Any, name: str, least: int | None = None, most: int | None = None, else_: str = "") -> int:
    """`value` as an int. NumPy's integers and arrays of one integer without dimensions will do; True is no number.
    else_: what else could be done. Raises UserError, by `name`, for anything else, and below `least` or above `most`.
    """
    number = plain(value)
    right = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not right or (least is not None and number < least) or (most is not None and number > most):
        bounds = "" if least is None else f" of at least {least}"
        bounds += "" if most is None else f" and at most {most}"
        raise UserError(f"{name} is {brief(value)}; expected a whole number{bounds}{else_}")
    return int(number)


def real_number(value: Any, name: str, expected: str, least: float, most: float = math.inf) -> float:
    """`value` as a float, finite and from `least` to `most`. As `whole_number`; expected: in words."""
    number = plain(value)
    right = isinstance(number, int | float | np.integer | np.floating) and not isinstance(number, bool)
    if not right or not least <= number <= most or abs(number) > sys.float_info.max:  # NaN is in no bounds
        raise UserError(f"{name} is {brief(value)}; expected {expected}")
    return float(number)
