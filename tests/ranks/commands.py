"""Commands that two ranks are given one after the other, for test_command.py: `python -m tests.ranks.commands FILE`
reads them from FILE.json; each rank writes their statuses and what it printed into FILE-RANK.json.
"""

import contextlib
import io
import json
import os
import sys
from pathlib import Path

from tinygpt.cli import main
from tinygpt.run.launched import launched


def said(argv: list[str]) -> list:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(["train", *argv], prog="python train.py")
        except SystemExit as end:
            status = end.code
    return [status, out.getvalue(), err.getvalue()]


if __name__ == "__main__":
    os.fsync = lambda handle: None  # no power is lost here
    folder, file = Path(sys.argv[1]).parent, Path(sys.argv[1]).name
    os.chdir(folder)
    results = {name: said(argv) for name, argv in json.loads(Path(f"{file}.json").read_text()).items()}
    Path(f"{file}-{launched().rank}.json").write_text(json.dumps(results))
