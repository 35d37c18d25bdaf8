"""The report as a reader sees it: cuda.md, and cuda.json beside it."""

import argparse
import functools
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from report import ROOT
from report.sections import SECTIONS
from report.units import written


def file_name(stand_in: bool) -> str:
    return "cuda-stand-in" if stand_in else "cuda"


@functools.cache  # and so from before the report itself changes files
def tinygpt_version() -> str:
    """The package's, and the revision of the checkout where git knows one."""
    from tinygpt import __version__

    try:
        git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return __version__
    return f"{__version__} at {git.stdout.strip()}" if git.returncode == 0 else __version__


def wrong_checks(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [check for check in found.get("checks", []) if not check["right"]]


def verdict(found: dict[str, Any]) -> str:
    """How a section ended, in a few words."""
    checks, wrong = found.get("checks", []), len(wrong_checks(found))
    counted = f"{wrong} of {len(checks)} WRONG" if wrong else f"{len(checks)} of {len(checks)} right" if checks else ""
    status = "" if found["status"] == "done" else found["status"]
    return "; ".join(filter(None, (status, counted, found.get("answer"))))


def markdown_table(rows: list[dict[str, Any]], stand_in: bool) -> list[str]:
    headings = list(rows[0])
    numbers = [any(isinstance(row.get(heading), int | float) for row in rows) for heading in headings]
    lines = [headings, ["---:" if number else "---" for number in numbers]]
    for row in rows:
        units = [row["unit"] if heading == "value" else heading.rpartition(", ")[2] for heading in headings]
        cells = [written(row.get(heading), unit, stand_in) for heading, unit in zip(headings, units, strict=True)]
        lines.append([cell.replace("|", "\\|") for cell in cells])
    return ["| " + " | ".join(line) + " |" for line in lines]


def section_text(name: str, found: dict[str, Any], stand_in: bool) -> list[str]:
    """A section in Markdown."""
    took = f" ({found['seconds']:.0f} s)" if "seconds" in found and not stand_in else ""
    lines = [f"## {name}{took}", "", SECTIONS[name].question, "", f"**{verdict(found)}**", ""]
    if wrong := wrong_checks(found):
        bound = {True: "at least", False: "at most"}
        rows = [
            {"WRONG": c["what"], "is": f"{c['value']:.5g}", "allowed": f"{bound[c['at_least']]} {c['allowed']:.5g}"}
            for c in wrong
        ]
        lines += [*markdown_table(rows, stand_in), ""]
    for title, rows in found.get("tables", {}).items():
        lines += [f"{title}:", "", *markdown_table(rows, stand_in), ""]
    lines += [text for sentence in found.get("says", []) for text in (sentence, "")]
    if "last_lines" in found:
        lines += ["The last lines that it printed:", "", "```", *found["last_lines"], "```", ""]
    return lines


def write(results: dict[str, Any], options: argparse.Namespace) -> None:
    """Both files."""
    out, stand_in = Path(options.out), options.stand_in
    said = f"On {time.strftime('%Y-%m-%d')}, with tinygpt {tinygpt_version()}, in {options.minutes:g} minutes at most."
    lines = ["# tinygpt on a CUDA card", "", said, ""]
    if stand_in:
        lines = ["**A rehearsal on a stand-in: no card was involved, and times mean nothing.**", "", *lines]
    rows = [{"": name, "asked": SECTIONS[name].question, "found": verdict(found)} for name, found in results.items()]
    lines += [*markdown_table(rows, stand_in), ""]
    lines += [line for name, found in results.items() for line in section_text(name, found, stand_in)]
    everything = {name: getattr(options, name) for name in ("stand_in", "minutes", "compile_seconds")}
    contents = {".json": json.dumps(everything | {"sections": results}, indent=1), ".md": "\n".join(lines)}
    out.mkdir(parents=True, exist_ok=True)
    for suffix, text in contents.items():
        partial = out / f"{file_name(stand_in)}.partial"
        partial.write_text(text.rstrip() + "\n", encoding="utf-8")
        os.replace(partial, out / f"{file_name(stand_in)}{suffix}")
