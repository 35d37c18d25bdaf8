"""What keeps the lessons from a Python in a browser: it has no processes, counts in 32 bits, and has a coarse clock."""

import os
from pathlib import Path

from tests import children

ROOT = Path(__file__).parents[2]
BROWSER = """
import runpy, sys, time
import numpy as np
class NoProcesses:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("multiprocessing", "_multiprocessing"):
            raise ImportError(f"there is no {name} here")
sys.meta_path.insert(0, NoProcesses())
bincount = np.bincount
def in_32_bits(x, *arguments, **named):
    caller = sys._getframe(1)  # whose own tokens, made from a list, would have 32 bits there
    if caller.f_code.co_filename == sys.argv[0] and x is not caller.f_globals["tokens"] and x.dtype == np.int64:
        raise TypeError("Cannot cast array data from dtype('int64') to dtype('int32') according to the rule 'safe'")
    return bincount(x, *arguments, **named)
np.bincount = in_32_bits
time.perf_counter = lambda: 5.0
sys.path.insert(0, "lessons")
sys.argv = ["lessons/12_gpt.py"]
runpy.run_path(sys.argv[0], run_name="__main__")
import tinygpt.gradcheck.measure, tinygpt.own_layers
"""


def test_a_lesson_runs_where_there_are_no_processes_and_counts_have_32_bits(tmp_path):
    done = children.run("-c", BROWSER, cwd=ROOT, env=os.environ | {"TINYGPT_CACHE": str(tmp_path)})
    assert done.returncode == 0, done.stderr
