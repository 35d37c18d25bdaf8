"""What a section has found."""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from report.units import written


class Report:
    """What one section has found, in a file that is written anew with each finding."""

    def __init__(self, name: str, options: argparse.Namespace):
        self.folder, self.stand_in, self.corpus = Path(options.into), options.stand_in, options.corpus
        self.path = self.folder / f"{name}.json"
        self.began = time.perf_counter()
        self.end, self.compile_seconds = self.began + options.seconds, options.compile_seconds
        self.found: dict[str, Any] = {"answer": "", "says": [], "checks": [], "tables": {}, "raw": {}}

    def left(self) -> float:
        return self.end - time.perf_counter()

    def answer(self, sentence: str) -> None:
        """The section's result, in a few words."""
        self.found["answer"] = sentence
        self.save()

    def say(self, sentence: str) -> None:
        self.found["says"].append(sentence)
        self.save()

    def table(self, title: str, rows: list[dict[str, Any]]) -> None:
        self.found["tables"][title] = rows
        self.save()

    def check(self, what: str, value: float, allowed: float, at_least: bool = False) -> None:
        """at_least: `allowed` is the smallest value that is right, and not the largest."""
        right = value >= allowed if at_least else value <= allowed
        check = {"what": what, "value": value, "allowed": allowed, "at_least": at_least, "right": right}
        self.found["checks"].append(check)
        self.save()

    def demand(self, what: str, value: float, must: float, aim: float) -> None:
        """A check, and beside it what is aimed at; where `aim` is above `must`, more is better."""
        at_least = aim > must
        self.check(what, value, must, at_least)
        reached = "aim" if (value >= aim if at_least else value <= aim) else "must" * self.found["checks"][-1]["right"]
        row = {"": what, "is": f"{value:.4g}", "must": f"{must:g}", "aim": f"{aim:g}", "reached": reached or "NEITHER"}
        self.found["tables"].setdefault("Demanded", []).append(row)
        self.save()

    def raw(self, name: str, value: Any) -> None:
        """Something for the JSON file alone, and for later sections."""
        self.found["raw"][name] = value
        self.save()

    def save(self) -> None:
        self.found["seconds"] = time.perf_counter() - self.began
        self.path.with_suffix(".partial").write_text(json.dumps(self.found, default=float))
        os.replace(self.path.with_suffix(".partial"), self.path)

    def of(self, section: str) -> dict[str, Any]:
        """What an earlier section kept; nothing if it did not run."""
        path = self.folder / f"{section}.json"
        return json.loads(path.read_text())["raw"] if path.exists() else {}

    def number(self, value: float, unit: str) -> str:
        """A number with its unit in a sentence."""
        return f"{written(value, unit, self.stand_in)} {unit}"


def row(name: str, value: Any, unit: str = "") -> dict[str, Any]:
    """Of a table whose rows have units of their own."""
    return {"": name, "value": value, "unit": unit}
