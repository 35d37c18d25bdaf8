"""The README's first picture for a phone: the same, one under the other."""

from pictures import layernorm_checked


def draw() -> str:
    return layernorm_checked.draw(narrow=True)
