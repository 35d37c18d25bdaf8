"""Numbers and their units, as the report writes them."""

from typing import Any

UNITS = {  # what follows a heading's last comma, and how its numbers are written
    "ms": "{:,.2f}", "µs": "{:,.1f}", "s": "{:,.1f}", "tokens/s": "{:,.0f}", "TFLOP/s": "{:,.1f}", "GB/s": "{:,.0f}",
    "%": "{:.1%}", "x": "{:.2f}", "MiB": "{:,.0f}", "nats": "{:.4f}", "error": "{:.1e}", "steps": "{:,}",
}  # fmt: skip
MEANINGLESS = "ms", "µs", "s", "tokens/s", "TFLOP/s", "GB/s", "%", "x"  # on the stand-in


def written(value: Any, unit: str, stand_in: bool) -> str:
    if value is None:
        return "-"
    if isinstance(value, str) or unit not in UNITS:
        return str(value)
    return "void" if stand_in and unit in MEANINGLESS else UNITS[unit].format(value)
