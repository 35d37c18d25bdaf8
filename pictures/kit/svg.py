"""An SVG as text: elements at exact places, in the few inks that all pictures share, for light and for dark.

Forward is drawn in the ink of the words, what comes back (gradients) in violet, parameters in green. In a heat map
orange is above zero and blue below. A picture is legible from 390 to 800 pixels: 600 units wide, letters of 13 or more.
"""

from collections.abc import Sequence
from xml.sax.saxutils import escape

INKS = {  # each for light and for dark; the pages of tinygpt/pages have nearly the same
    "ink": ("#1c1f24", "#e8e9eb"),
    "soft": ("#575b63", "#a2a8b1"),
    "line": ("#c5c3bb", "#4a515b"),
    "paper": ("#fdfdfb", "#101317"),
    "card": ("#f2f1ec", "#1c2128"),
    "back": ("#6a3fd0", "#bfa6ff"),
    "param": ("#0b6b39", "#5fd08f"),
    "above": ("#b64900", "#ff9a4d"),
    "below": ("#005ab5", "#5aa9ff"),
}
LETTERS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif'
CODE = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace'
LEVELS = 16  # shades of a heat map, on either side of zero
SCALE = 1.2  # pixels a unit, where there is room


def number(value: float) -> str:
    """A coordinate: a tenth is exact enough."""
    return f"{round(float(value), 1) + 0:g}"


def shown(value: float, digits: int = 2) -> str:
    """A number for a reader: rounded, no zeros at the end, and a real minus. What is a tie but for a machine's rounding
    is a tie.
    """
    text = f"{round(float(value), 9):.{digits}f}"
    text = (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")
    return "0" if text == "−0" else text


class Drawing:
    """A picture of width by height units: what is drawn later lies above.

    title, desc: what it is, and all that it shows, for who cannot see it.
    """

    def __init__(self, width: float, height: float, title: str, desc: str):
        self.width, self.height, self.title, self.desc = width, height, title, desc
        self.elements: list[str] = []
        self.used = {"ink", "paper"}

    def element(self, tag: str, text: str | None = None, **attributes: float | str) -> None:
        """Any element. Numbers are coordinates, `cls` its classes; an underscore is a hyphen, two are a colon."""
        written = ""
        for name, value in attributes.items():
            if name == "cls":
                name = "class"
                self.used |= {part.removesuffix("-line") for part in str(value).split()}
            if name == "stroke_width":  # a class has one too, which would win over an attribute
                name, value = "style", f"stroke-width: {number(float(value))}"
            if value != "":
                value = escape(value, {'"': "&quot;"}) if isinstance(value, str) else number(value)
                written += f' {name.replace("__", ":").replace("_", "-")}="{value}"'
        self.elements.append(f"<{tag}{written}/>" if text is None else f"<{tag}{written}>{escape(text)}</{tag}>")

    def text(self, x: float, y: float, text: str, cls: str = "", anchor: str = "", **attributes: float | str) -> None:
        """A line of text whose baseline is at y. anchor: "", "middle" or "end"; cls: inks, "small", "bold", "code"."""
        self.element("text", text, x=x, y=y, cls=cls, text_anchor=anchor, **attributes)

    def code(self, x: float, y: float, text: str, cls: str = "", marked: str = "") -> None:
        """A line of code, blanks and all, with a part of it in orange."""
        self.element("text", text, x=x, y=y, cls=f"code {cls}".strip(), xml__space="preserve")
        if marked and marked in text:
            self.used.add("above")
            whole, part = escape(text), escape(marked)
            inked = whole.replace(part, f'<tspan class="above">{part}</tspan>')
            self.elements[-1] = self.elements[-1].replace(f">{whole}<", f">{inked}<")

    def rect(self, x: float, y: float, width: float, height: float, cls: str, round_: float = 0) -> None:
        self.element("rect", x=x, y=y, width=width, height=height, cls=cls, rx=round_ or "")

    def line(self, *points: tuple[float, float], cls: str = "line-line", **attributes: float | str) -> None:
        """A line through points."""
        self.element("path", d=path(*points), cls=cls, **attributes)

    def arrow(self, *points: tuple[float, float], ink: str = "ink", **attributes: float | str) -> None:
        """A line through points that ends in an arrow's head."""
        self.used.add(f"head-{ink}")
        self.element("path", d=path(*points), cls=f"{ink}-line", marker_end=f"url(#{ink})", **attributes)

    def heat_map(self, x: float, y: float, cell: float, rows: Sequence[Sequence[float]], largest: float) -> None:
        """Square cells, orange above zero and blue below, the stronger the nearer to `largest`; None is left empty.

        Equal shades are one path, which keeps the file small.
        """
        shades: dict[tuple[str, int], str] = {}
        side = number(cell - 1)
        for r, row in enumerate(rows):
            for c, value in enumerate(row):
                if value is None or not (level := round(min(1, abs(value) / largest) ** 0.5 * LEVELS)):
                    continue
                place = f"M{number(x + c * cell)} {number(y + r * cell)}h{side}v{side}h-{side}z"
                key = ("above" if value > 0 else "below", level)
                shades[key] = shades.get(key, "") + place
        for (ink, level), d in sorted(shades.items()):
            self.element("path", d=d, cls=ink, fill_opacity=f"{level / LEVELS:.2f}")

    def __str__(self) -> str:
        heads = [
            f'<marker id="{ink}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 .8L8 4 0 7.2z" class="{ink}"/></marker>'
            for ink in INKS
            if f"head-{ink}" in self.used
        ]
        self.used |= {use.removeprefix("head-") for use in self.used}
        w, h = number(self.width), number(self.height)
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(SCALE * self.width)}" '
                f'height="{number(SCALE * self.height)}" viewBox="0 0 {w} {h}" role="img" '
                'aria-labelledby="title desc">',
                f'<title id="title">{escape(self.title)}</title>',
                f'<desc id="desc">{escape(self.desc)}</desc>',
                f"<style>\n{style(self.used)}\n</style>",
                *(["<defs>", *heads, "</defs>"] if heads else []),
                f'<rect width="{w}" height="{h}" rx="6" class="paper"/>',
                *self.elements,
                "</svg>\n",
            ]
        )


def path(*points: tuple[float, float]) -> str:
    """The `d` of a path through points."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


def style(used: set[str]) -> str:
    """The rules of the classes that a picture uses."""
    rules = [f"text {{ font: 15px {LETTERS}; fill: {INKS['ink'][0]} }}"]
    for name, rule in {
        "small": "text.small { font-size: 13px }",
        "large": "text.large { font-size: 19px }",
        "bold": "text.bold { font-weight: 600 }",
        "italic": "text.italic { font-style: italic }",
        "code": f"text.code {{ font-family: {CODE}; font-size: 13px }}",
    }.items():
        if name in used:
            rules.append(rule)
    rules.append("path, line { fill: none }")
    inks = [ink for ink in INKS if ink in used]
    for ink in inks:
        rules.append(rule_of(ink, INKS[ink][0]))
    dark = [f"text {{ fill: {INKS['ink'][1]} }}", *(rule_of(ink, INKS[ink][1]) for ink in inks)]
    return "\n".join([*rules, "@media (prefers-color-scheme: dark) {", *dark, "}"])


def rule_of(ink: str, colour: str) -> str:
    """An ink as a fill, which is the class of its name, and as a line."""
    return f".{ink}, text.{ink}, text .{ink} {{ fill: {colour} }} .{ink}-line {{ stroke: {colour}; stroke-width: 1.5 }}"
