"""python -m pictures: draw the pictures anew, say which differ, or measure the numbers that some are drawn from."""

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pictures.kit.numbers import FOLDER, path_of


def modules() -> dict[str, Any]:
    """Each picture's script by its name, in the order of the alphabet."""
    names = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
    return {name: importlib.import_module(f"pictures.{name}") for name in names}


def svg(name: str) -> Path:
    return FOLDER / f"{name}.svg"


def shown(path: Path) -> str:
    """A path as it is seen from the repository."""
    return path.relative_to(FOLDER.parent).as_posix()


def differing(names: list[str], drawn: Callable[[str], str]) -> list[str]:
    """Those whose file is missing, or is not what its script draws."""
    return [n for n in names if not svg(n).exists() or svg(n).read_text(encoding="utf-8") != drawn(n)]


def main(arguments: list[str] | None = None) -> int:
    """Returns 0, or 1 if --check found a difference."""
    known = modules()
    parser = argparse.ArgumentParser(prog="python -m pictures", description=__doc__.partition(": ")[2])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ({', '.join(known)}); all if none is named")
    parser.add_argument("--check", action="store_true", help="write nothing; say which files differ from their scripts")
    parser.add_argument("--measure", action="store_true", help="measure first what pictures/numbers/ holds (a minute)")
    args = parser.parse_args(arguments)
    if unknown := [name for name in args.names if name not in known]:
        parser.error(f"there is no picture {', '.join(unknown)}; expected one of {', '.join(known)}")
    if args.check and args.measure:
        parser.error("--check writes nothing, and --measure writes numbers; give one of them")
    names = args.names or list(known)
    for name in names if args.measure else ():
        if hasattr(known[name], "measure"):
            path_of(name).parent.mkdir(exist_ok=True)
            text = json.dumps(known[name].measure(), ensure_ascii=False, separators=(",", ":"))
            path_of(name).write_text(text + "\n", encoding="utf-8", newline="\n")
            print(f"measured  {shown(path_of(name))}")
    differ = differing(names, lambda name: known[name].draw())
    for name in differ:
        if not args.check:
            svg(name).write_text(known[name].draw(), encoding="utf-8", newline="\n")
        print(f"{'differs' if args.check else 'drawn'}  {shown(svg(name))}")
    if not differ:
        one = "the picture is what its script draws"
        print(one if len(names) == 1 else f"all {len(names)} pictures are what their scripts draw")
    return int(args.check and bool(differ))


if __name__ == "__main__":
    sys.exit(main())
