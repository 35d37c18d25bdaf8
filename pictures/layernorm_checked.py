"""The README's first picture: LayerNorm's own lines, forward and backward, and what the check says of them."""

import ast
import contextlib
import inspect
import io
import os
import re
import tempfile
from pathlib import Path

from pictures.kit.numbers import measured
from pictures.kit.svg import Drawing
from tinygpt.cli import main
from tinygpt.layers import layernorm

FORGOTTEN = " - xhat * along"
LINE = 20.0  # the height of a line


def measure() -> dict[str, list[str]]:
    """What `tinygpt gradcheck layernorm.py` says: of the file as it is, and of one with a term forgotten."""
    source = inspect.getsource(layernorm)
    return {"right": verdict(source), "wrong": verdict(source.replace(FORGOTTEN, ""))}


def verdict(source: str) -> list[str]:
    """What the check says of a file: which array is wrong in its first case, where one is, and its last sentences,
    without how long it took.
    """
    said, here = io.StringIO(), os.getcwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(said):
        (Path(folder) / "layernorm.py").write_text(source, encoding="utf-8")
        os.chdir(folder)
        try:
            main(["gradcheck", "layernorm.py"])
        finally:
            os.chdir(here)
    wrong = re.findall(r"^layernorm\.py: (WRONG.*)", said.getvalue(), re.MULTILINE)
    _, worst, rest = said.getvalue().rpartition("worst relative error")
    lines = [re.sub(r", in .* s$| \(3 checks\)", "", line) for line in (worst + rest).splitlines()]
    return wrong + [line for line in lines if line and line != "what is wrong:"]


def lines_of(name: str) -> list[str]:
    """The lines of a function's body as they stand in the file, without docstring and comments, the longest cut."""
    source = inspect.getsource(layernorm)
    (function,) = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == name]
    body = source.splitlines()[function.body[1].lineno - 1 : function.end_lineno]
    lines = [re.sub(r"\s+#.*", "", line[4:]) for line in body]
    return [part for line in lines for part in cut(line)]


def cut(line: str) -> list[str]:
    """A line of more than 55 letters, cut before each term that is taken away."""
    return [line] if len(line) <= 55 else line.replace(" - ", "\n    - ").split("\n")


def draw(narrow: bool = False) -> str:
    """narrow: one under the other, for a phone."""
    said = measured("layernorm_checked")
    forward, backward = lines_of("forward"), lines_of("backward")
    width = 470 if narrow else 884
    drawing = Drawing(
        width, 100, "LayerNorm forward and backward, and the check's verdict",
        "Side by side the lines of tinygpt/layers/layernorm.py, forward and backward. Under them what tinygpt"
        f" gradcheck says: {said['right'][-1]}. And of a copy in which the last term of dx was forgotten: "
        f"{said['wrong'][0]}; {said['wrong'][-1]}.",
    )  # fmt: skip
    drawing.text(width - 20, 30, "tinygpt/layers/layernorm.py", "soft small", "end")
    y = block(drawing, 20, 30, "forward(x, w, b, eps)", forward, "")
    if narrow:
        y = block(drawing, 20, y + 22, "backward(dout, cache)", backward, "back")
    else:
        y = max(y, block(drawing, 462, 30, "backward(dout, cache)", backward, "back"))
    drawing.line((20, y + 4), (width - 20, y + 4))
    y += 30
    after = tell(drawing, 20, y, "tinygpt gradcheck layernorm.py", said["right"][::-1], "param")
    x, y = (20, after + 20) if narrow else (462, y)
    wrong = [said["wrong"][0], said["wrong"][-1]]
    drawing.height = 8 + tell(drawing, x, y, f"without {FORGOTTEN.strip()}", wrong, "above")
    return str(drawing)


def block(drawing: Drawing, x: float, y: float, title: str, lines: list[str], ink: str) -> float:
    """Code under its title; returns where it ends."""
    drawing.text(x, y, title, f"bold {ink}".strip())
    for line in lines:
        y += LINE
        drawing.code(x, y + 1, line, ink, FORGOTTEN.strip())
    return y + 14


def tell(drawing: Drawing, x: float, y: float, title: str, lines: list[str], ink: str) -> float:
    """What the check says, under what was checked; returns where it ends."""
    drawing.code(x, y, title, "bold", FORGOTTEN.strip())
    for line in lines:
        first = "right" in line or "WRONG" in line
        for part in folded(line, 52):
            y += LINE
            drawing.code(x, y + 4, part, f"{ink} bold" if first else "")
    return y + 12


def folded(text: str, letters: int) -> list[str]:
    """A sentence in lines of at most so many letters."""
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + 1 + len(word) > letters:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
