"""What NumPy leaves unsaid of two shapes that do not fit: which arrays they are of, and where they meet."""

import ast
import linecache
import re
import traceback
from pathlib import Path
from typing import Any

PURE = "swapaxes", "transpose", "reshape"  # methods that may be called once more to see a shape


def about_shapes(message: str) -> str:
    """A word of help for an error of NumPy's, to stand behind it; "" for any other."""
    shapes = [tuple(map(int, re.findall(r"\d+", shape))) for shape in re.findall(r"\((\d[\d, ]*)\)", message)]
    if " has shape " in message:  # of a product, both arrays
        return ""
    if sizes := re.search(
        r"^matmul: Input operand 1 .*core dimension 0.*\(size (\d+) is different from (\d+)\)", message
    ):
        return f"; the last axis of the left array is {sizes[2]}, and the one of the right that it meets is {sizes[1]}"
    if "could not be broadcast together with remapped" in message and len(shapes) >= 2:
        a, b = shapes[:2]
        return f"; these are arrays of {_said(a)} and {_said(b)}, whose axes but the last two have to be the same"
    if "broadcast" not in message or len(shapes) != 2:
        return ""
    shorter, longer = sorted(shapes, key=len)
    if len(longer) > 1 and shorter == longer[:-1]:
        return f"; {_said(shorter)} is {_said(longer)} without its last axis, which keepdims=True would keep"
    if not message.startswith("operands could not be broadcast together"):
        return ""
    pairs = zip(shapes[0][::-1], shapes[1][::-1], strict=False)
    meeting = [f"{a} meets {b}" for a, b in pairs if a != b and 1 not in (a, b)]
    return f"; shapes are aligned at the right, where {' and '.join(meeting)}" if meeting else ""


def _said(shape: tuple[int, ...]) -> str:
    return f"({','.join(map(str, shape))}{',' * (len(shape) == 1)})"


def of_a_product(error: BaseException, path: str, source: str) -> str:
    """The arrays, with their shapes, of a product that NumPy's matmul could not make, as a file's line has them, to
    stand behind the error; "" if it is not seen which.
    """
    if not isinstance(error, ValueError) or not re.match(
        r"matmul: Input operand 1|.* with remapped shapes", str(error)
    ):
        return ""
    frames = list(traceback.walk_tb(error.__traceback__))
    within = [(frame, number) for frame, number in frames if frame.f_code.co_filename == path]
    if not within:
        return ""
    if within[-1] == frames[-1]:
        return _product(*within[-1], source)
    frame, number = frames[-1]  # in the code of a function that it calls
    if given := _given(*within[-1], source):
        return given
    inside = _product(frame, number, "".join(linecache.getlines(frame.f_code.co_filename)))
    return inside and f"; in {Path(frame.f_code.co_filename).name}, line {number}, {inside.removeprefix('; ')}"


def _product(frame: Any, number: int, source: str) -> str:
    """Both sides of the product in a line that cannot be made."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult) and _is_at(node, number):
            left, right = (getattr(_value(side, frame), "shape", ()) for side in (node.left, node.right))
            if left and right and left[-1] != right[-2:][0]:
                return _named((ast.unparse(node.left), left), (ast.unparse(node.right), right))
    return ""


def _given(frame: Any, number: int, source: str) -> str:
    """The arrays that a function was given in whose code it was raised."""
    calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and _is_at(n, number)]
    found = []
    for call in calls:
        given = [(ast.unparse(x), getattr(_value(x, frame), "shape", None)) for x in call.args]
        if len(arrays := [f"{text} of shape {shape}" for text, shape in given if shape]) > 1:
            found.append(f"; {ast.unparse(call.func)} was given {' and '.join(arrays)}")
    return found[0] if len(found) == 1 else ""


def _named(left: tuple[str, Any], right: tuple[str, Any]) -> str:
    said = " and ".join(f"{text} has shape {shape}" for text, shape in (left, right))
    turned = next((text for text, shape in (right, left) if text.endswith(".T") and len(shape) > 2), "")
    return f"; {said}" + (
        f": .T turns all axes round, {turned.removesuffix('.T')}.swapaxes(-1, -2) the last two" if turned else ""
    )


def _is_at(node: ast.expr, number: int) -> bool:
    return node.lineno <= number <= (node.end_lineno or node.lineno)


def _value(node: ast.expr, frame: Any) -> Any:
    """What an expression gives that only looks at arrays; None for any other."""
    if not all(map(_only_looks, ast.walk(node))):
        return None
    try:
        code = compile(ast.Expression(node), "<operand>", "eval", dont_inherit=True)
        return eval(code, frame.f_globals, frame.f_locals)
    except Exception:
        return None


def _only_looks(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr in PURE
    plain = (
        ast.Name
        | ast.Attribute
        | ast.Subscript
        | ast.Constant
        | ast.Slice
        | ast.Tuple
        | ast.UnaryOp
        | ast.USub
        | ast.Load
    )
    return isinstance(node, plain)
