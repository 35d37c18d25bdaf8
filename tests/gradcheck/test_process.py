"""A reader's file in a process of its own: whatever it does there, the verdict is made here, and in time."""

import os
import re
import textwrap
import threading
import time

import numpy as np
import pytest

from tests import children
from tinygpt.cli import main
from tinygpt.errors import UserError
from tinygpt.gradcheck import wire
from tinygpt.gradcheck.process import NoAnswer, OwnFile
from tinygpt.gradcheck.wire import RaisedThere
from tinygpt.own_layers import check, judge, load_own_layers

posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits are POSIX's")
HALF = """
import numpy as np

def forward(x, approximate="tanh"):
    {before}
    return x * 0.5, (x,)

def backward(dout, cache):
    return dout * 0.5
"""
ENDED = "gelu.py gave no answer while it was loaded: it ended its own process, with status 0"
HOSTILE = {  # what stands above the functions, what stands in forward, and the verdict
    "ends its process": ("import os; os._exit(0)", "", ENDED),
    "ends its process later": ("import os", "os._exit(7)", "gave no answer in forward: .* with status 7"),
    "crashes": ("import ctypes", "ctypes.string_at(0)", r"gelu.py, line \d, gave no answer in forward: .* SIGSEGV"),
    "closes its outputs": ("import sys; sys.stdout.close(); sys.stderr.close()", "", "another function"),
    "closes every file": ("import os; os.closerange(0, 99)", "", "gave no answer"),
    "writes to every file": ("import os\nfor i in range(3, 30):\n try: os.write(i, b'x' * 999)\n except OSError: pass",
                             "", "cannot be read"),
    "raises what is no Exception": ("", "raise BaseException('no')", "line 6, raised BaseException: no"),
    "raises KeyboardInterrupt": ("", "raise KeyboardInterrupt", "line 6, raised KeyboardInterrupt"),
    "raises without words": ("class E(Exception):\n def __str__(self): raise self", "raise E", "line 7, raised E"),
    "raises ten megabytes": ("", "raise ValueError('x' * 10**7)", r"line 6, raised ValueError: x{500} \("),
    "replaces max": ("import builtins; builtins.max = lambda *a, **k: 7", "", "another function"),
    "replaces len": ("import builtins; builtins.len = lambda *a, **k: 7", "", "gave no answer|another function"),
    "replaces isinstance": ("import builtins; builtins.isinstance = lambda *a: True", "", "gave no answer"),
    "replaces default_rng": ("import numpy; numpy.random.default_rng = None", "", "another function"),
    "never comes back": ("", "while True: pass", r"line 6, had not come back after 2 s; is there a loop"),
    "never comes back from C": ("", "n = 10**8; (7 ** n) ** 9", "line 6, had not come back after 2 s"),
    "ignores signals": ("import signal, threading\nfor s in range(1, 65):\n try: signal.signal(s, signal.SIG_IGN)\n"
                        " except (OSError, ValueError): pass", "while True: pass", "had not come back after 2 s"),
    "leaves a thread": ("import threading\ndef f():\n while True: pass\nthreading.Thread(target=f).start()", "",
                        "another function|had not come back"),
    "leaves a process": ("import os, time\nif os.fork() == 0:\n os.setsid(); time.sleep(20); os._exit(0)", "",
                         "another function"),
    "stops": ("import os, signal", "os.kill(os.getpid(), signal.SIGSTOP)", "had not come back after 2 s"),
    "recurses": ("", "return forward(x)", "line 6, raised RecursionError"),
    "returns too much": ("", "return np.empty(2**26 + 1), ()", "512 MiB of arrays at once|had not come back"),
    "returns a list in itself": ("", "a = []; a.append(a); return a, ()", "forward's output is list"),
    "returns an object": ("", "return object(), ()", "forward's output is object"),
    "changes a shape": ("", "x.shape = (x.size,)", "changed the shape of an argument"),
    "returns millions of numbers": ("", "return list(range(3 * 10**6)), ()", "MiB of values at|had not come back"),
    "reads": ("", "input()", "line 6, raised EOFError"),
}  # fmt: skip


@pytest.fixture
def file(tmp_path):
    def write(above="", before="", name="gelu.py"):
        path = tmp_path / name
        path.write_text(f"{above}\n{HALF.format(before=before or 'pass')}", encoding="utf-8")
        return path

    return write


@posix
@pytest.mark.parametrize(("above", "before", "says"), HOSTILE.values(), ids=HOSTILE)
def test_whatever_a_file_does_the_verdict_is_wrong_in_a_sentence(above, before, says, file, monkeypatch):
    monkeypatch.setattr(judge, "LAYER_SECONDS", 2)
    checked = check("gelu", file(above, before))
    assert not checked.passed and re.search(says, checked.wrong), checked.wrong
    assert len(checked.text) < 5000
    assert sum(thread is not threading.main_thread() for thread in threading.enumerate()) < 50


def test_wrong_functions_in_the_definitions_place_are_wrong(file):
    spoiled = "\nfrom tinygpt.layers import gelu\ngelu.forward, gelu.backward = forward, backward"
    path = file()
    path.write_text(path.read_text(encoding="utf-8") + spoiled, encoding="utf-8")
    assert check("gelu", path).wrong == "forward computes another function than the layer's"


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("layernorm.backward = None", "something of its own in the place of tinygpt.layers.layernorm.backward"),
        ("import builtins; builtins.max = max(max, max, key=id)", ""),
        ("import builtins; builtins.max = lambda *a, m=max, **k: m(*a, **k)", "in the place of builtins.max"),
        ("import sys; sys.stdout.close()", "its output closed"),
        ("import sys, io; sys.stdout = io.StringIO()", "in the place of sys.stdout"),
        ("import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()", "a thread that goes on"),
        ("import signal; signal.signal(signal.SIGTERM, print)", "in the place of the handler of SIGTERM"),
    ],
)
def test_a_right_file_that_leaves_something_behind_is_told_so(does, says, tmp_path):
    path = tmp_path / "gelu.py"
    text = "from tinygpt.layers import gelu, layernorm\nforward, backward = gelu.forward, gelu.backward\n"
    path.write_text(text + does, encoding="utf-8")
    checked = check("gelu", path)
    assert checked.passed is not bool(says) and says in checked.wrong, checked.text


def test_a_file_without_an_answer_is_left_out_of_a_run_even_unchecked(file):
    path = file("import os; os._exit(0)")
    own = load_own_layers(path.parent, unchecked=True)
    assert not own.used and own.left_out["gelu"].endswith(ENDED)


FORGED = """
import tinygpt.gradcheck.wire as wire

def forward(x, approximate="tanh"):
    return 0 * x, x

def backward(dout, cache):
    return 0 * dout

def forged(header):
    {change}
    return header

def each(x):
    yield x
    for inner in x.values() if isinstance(x, dict) else x if isinstance(x, list) else ():
        yield from each(inner)

send = wire.send
wire.send = lambda pipe, header, arrays=b"": send(pipe, forged(header), arrays)
"""


@pytest.mark.parametrize(
    "change",
    [
        "[x.update(device='cuda') for x in each(header) if isinstance(x, dict) and 'array' in x]",
        "header = {'value': {'array': ',,', 'shape': [1]}}",
        "header = {'value': {'array': '<f8', 'shape': [2] * 99}}",
        "header = {'value': [[[]]] * 10}",
        "header = {'ask': -9, 'value': []}",
        "header = {'clock': False}",
        "header = {'error': {'type': 'X' * 10**6, 'bases': ['KeyboardInterrupt', 3], 'message': [], 'line': 'x'}}",
        "header = []",
    ],
)
def test_no_answer_is_obeyed(change, file, monkeypatch, tmp_path):
    """Not even one that would have this process import a module that lies in the current folder."""
    monkeypatch.setattr(judge, "LAYER_SECONDS", 3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "cupy.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()", encoding="utf-8")
    path = file()
    path.write_text(FORGED.format(change=change), encoding="utf-8")
    checked = check("gelu", path)
    assert not checked.passed and len(checked.text) < 1000, checked.text
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("answer", "change"),
    [
        ("things", "{'value': {'tuple': [['a'] * 10**4, {'dict': [['tolerance', 'x']]}]}}"),
        ("things", "{'value': {'tuple': [[], {'dict': []}]}}"),
        ("things", "{'value': {'tuple': [[''], {'dict': [[3, 3]]}]}}"),
        ("adapt", "{'value': {'dict': [['inputs', 3]]}}"),
        ("adapt", "{'value': {'dict': [['inputs', {'dict': []}]]}}"),
        ("adapt", "{'value': [1, 2, 3]}"),
    ],
)
def test_no_answer_about_what_is_in_a_file_is_obeyed(answer, change, tmp_path, capsys):
    path, number = tmp_path / "mine.py", {"things": 2, "adapt": 3}[answer]
    text = FORGED.replace(', approximate="tanh"', "").replace("return 0 * x", "return x").replace("0 * dout", "dout")
    text = text.format(change=f"calls.append(1)\n    header = {change} if len(calls) == {number} else header")
    path.write_text(f"calls = []\ninputs = [[1.0]]\n{text}", encoding="utf-8")
    assert main(["gradcheck", str(path), "--seconds=5"]) == 1
    out, error = capsys.readouterr()
    assert error.startswith("error: ") and "right" not in out and len(out + error) < 2000, (out, error)


def test_what_a_file_has_us_compute_counts_for_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "FUNCTION_SECONDS", 2)
    path = tmp_path / "numerical_gradient.py"
    path.write_text(
        "import numpy as np\ndef numerical_gradient(f, x, h=1e-5):\n    while True:\n        try:\n"
        "            f(np.ones((100_000, 1, 1), bool))\n        except Exception:\n            pass\n",
        encoding="utf-8",
    )
    assert "had not come back after 2 s" in check("numerical_gradient", path).wrong


def test_numbers_that_are_wrong_in_float32_alone_are_wrong(tmp_path):
    path = tmp_path / "gelu.py"
    path.write_text(
        "import numpy as np\nfrom tinygpt.layers.gelu import backward, forward as right\n"
        "def forward(x, approximate='tanh'):\n    out, cache = right(x, approximate)\n"
        "    return out * (1 if x.dtype == np.float64 else 2), cache\n",
        encoding="utf-8",
    )
    assert "out is another where the inputs are float32: relative error" in check("gelu", path).wrong


def test_what_is_run_is_what_was_checked_and_all_is_checked_before_any_is_run(tmp_path):
    """A file may write itself anew, or reach for the judge of the files after it."""
    right = "from tinygpt.layers.{0} import backward, forward\n"
    wrong = HALF.format(before="pass")
    reaching = (
        "import sys\nif 'tinygpt.own_layers.judge' in sys.modules:\n"
        "    sys.modules['tinygpt.own_layers.judge']._check_layer = lambda *_: 1 / 0\n"
    )
    rewriting = f"open(__file__, 'w').write({wrong!r})\n"
    (tmp_path / "gelu.py").write_text(right.format("gelu") + reaching + rewriting, encoding="utf-8")
    (tmp_path / "softmax.py").write_text(right.format("softmax"), encoding="utf-8")
    before = judge._check_layer
    try:
        own = load_own_layers(tmp_path)
    finally:
        judge._check_layer = before
    assert set(own.used) == {"gelu", "softmax"}
    x = np.linspace(-1, 1, 5)
    assert not np.allclose(own.used["gelu"].forward(x, "tanh")[0], x / 2)


@pytest.mark.parametrize("ending", ["raise ValueError('here')", "import sys; sys.exit(0)"])
def test_a_file_that_fails_only_where_it_is_run_is_left_out(ending, tmp_path):
    text = "import sys\nfrom tinygpt.layers.gelu import backward, forward\nif 'pytest' in sys.modules:\n    " + ending
    (tmp_path / "gelu.py").write_text(text, encoding="utf-8")
    own = load_own_layers(tmp_path)
    assert not own.used and re.search(r"gelu.py, line 4, raised (ValueError: here|SystemExit: 0)", own.left_out["gelu"])


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="/proc is Linux's")
def test_what_a_file_starts_is_ended_wherever_it_went(file):
    path = file("import subprocess, sys\nstarted = subprocess.Popen([sys.executable, '-c', 'input()'], "
                "stdin=subprocess.PIPE, start_new_session=True)\nprint('number', started.pid)")  # fmt: skip
    with OwnFile(path, ("forward", "backward"), 20) as own:
        mark, late = own.process.mark, time.monotonic() + 20
        while not (found := [entry for entry in os.listdir("/proc") if marked(entry, mark, "input()")]):
            assert time.monotonic() < late  # what has just been started has no environment for a moment
        (started,) = found
    late = time.monotonic() + 20  # it is killed, which takes a busy machine a moment
    while marked(started, mark, "input()"):
        assert time.monotonic() < late


def marked(process, mark, command) -> bool:
    try:
        with open(f"/proc/{process}/environ", "rb") as file, open(f"/proc/{process}/cmdline", "rb") as line:
            return mark.encode() in file.read() and command.encode() in line.read()
    except OSError:
        return False


@pytest.mark.parametrize(
    "above",
    [
        "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass Cache:\n    x: object",
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\npool.submit(print)",
        "import rich.traceback\nrich.traceback.install()",
        "def late():\n    import helper_of_mine\n    return helper_of_mine.ONE",
    ],
)
def test_honest_files_of_unusual_kinds_are_right(above, tmp_path):
    (tmp_path / "helper_of_mine.py").write_text("ONE = 1", encoding="utf-8")
    late = "late()" if "late" in above else "1"
    path = tmp_path / "gelu.py"
    path.write_text(
        f"{above}\nfrom tinygpt.layers.gelu import backward, forward as right\n"
        f"def forward(x, approximate='tanh'):\n    out, kept = right(x, approximate)\n    return out * {late}, kept\n",
        encoding="utf-8",
    )
    assert check("gelu", path).passed, check("gelu", path).text
    own = load_own_layers(tmp_path)
    assert own.used["gelu"].forward(np.ones(3), "tanh")[0].shape == (3,)


@posix
def test_memory_is_bounded(file):
    checked = check("gelu", file("", "np.ones(2**30)"))
    assert re.search("line 6, raised _?(Array)?MemoryError", checked.wrong), checked.wrong


def test_what_a_file_prints_is_shown_as_far_as_anyone_would_read_it(file, capsys):
    check("gelu", file("", "print('here I am')"))
    assert "here I am\n" in capsys.readouterr().out
    check("gelu", file("", "print('y' * 10**7)"))
    out = capsys.readouterr().out
    assert len(out) < 30_000 and "gelu.py printed more, which is left out)\n" in out


def test_without_a_terminal_a_breakpoint_is_a_sentence(file):
    assert "line 6, raised RuntimeError: breakpoint() needs a terminal" in check("gelu", file("", "breakpoint()")).wrong


@posix
def test_on_a_terminal_a_breakpoint_is_a_debugger_and_the_clock_stands_still(file):
    path = file("", "y = x.shape\n    breakpoint()")
    script = (
        "import sys; from pathlib import Path; from tinygpt.own_layers import check, judge; "
        "judge.LAYER_SECONDS = 2; print('VERDICT', check('gelu', Path(sys.argv[1])).wrong)"
    )
    with children.Terminal("-c", script, path) as terminal:
        terminal.until("(Pdb) ")
        terminal.type("import time; time.sleep(2.5)\n")
        terminal.until("(Pdb) ")
        terminal.type("p 'shape', y\n")
        terminal.until("'shape', (")
        terminal.type("import os; os.environ['PYTHONBREAKPOINT'] = '0'\n")
        terminal.until("(Pdb) ")
        terminal.type("c\n")
        shown = terminal.rest()
    assert "VERDICT forward computes another function" in shown


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import os; os._exit(0)", "gave no answer while it was loaded: it ended its own process, with status 0"),
        (
            "import numpy\ninputs = {'x': numpy.ones(1)}\ndef forward(x):\n    while True: pass\nbackward = forward",
            "line 4, had not come back",
        ),
        ("def inputs(rng):\n    raise BaseException\ndef forward(x): pass\nbackward = forward", "line 2, raised Base"),
    ],
)
def test_gradcheck_of_a_file_has_a_time_limit_and_a_status(text, says, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    assert main(["gradcheck", str(path), "--seconds=2"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and says in error


def test_numbers_lists_and_what_a_file_does_to_them_come_back(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        textwrap.dedent("""
            import numpy as np

            def f(a, b, call, *more, c=None):
                a[0] = 7
                b.append(call(a))
                return a, b, {"c": c, "more": more}, np.float32(2), np.arange(3), None, True, object()

            def g(x):
                return [x][1]
        """),
        encoding="utf-8",
    )
    with OwnFile(path, ("f", "g"), 20) as file:
        a, b = np.zeros((2, 2)), [1, "two"]
        got = file.f(a, b, lambda x: float(x.sum()), 3, c=(np.ones(2, np.float32), -1))
        assert a.tolist() == [[7, 7], [0, 0]] and b == [1, "two", 14.0]
        assert got[0].tolist() == a.tolist() and got[1] == b and got[2]["more"] == (3,)
        assert got[2]["c"][0].dtype == np.float32 and got[2]["c"][1] == -1
        assert got[3] == np.float32(2) and got[3].dtype == np.float32 and got[4].tolist() == [0, 1, 2]
        assert got[5] is None and got[6] is True and type(got[7]).__name__ == "object"
        with pytest.raises(IndexError) as caught:
            file.g(1)
        assert isinstance(caught.value, RaisedThere) and caught.value.line == 10
    with pytest.raises(NoAnswer):
        file.g(1)


def test_a_missing_file_or_function_is_a_sentence(tmp_path):
    with pytest.raises(
        UserError, match="there is no such file; expected the path of a Python file with forward and backward"
    ):
        OwnFile(tmp_path / "none.py", ("forward", "backward"), 5)
    (tmp_path / "some.py").write_text("forward = 1")
    (tmp_path / "empty.py").write_text("")
    for path in (tmp_path / "empty.py", tmp_path):
        with pytest.raises(UserError, match="there is no (such file|function forward)"):
            OwnFile(path, ("forward",), 5)
    with pytest.raises(UserError, match="there is no function forward"):
        OwnFile(tmp_path / "some.py", ("forward",), 5)


@pytest.mark.parametrize(
    "packed",
    [
        {"array": "O", "shape": [1]}, {"array": "<f8", "shape": [10**12]}, {"array": "<f8", "shape": [-1]},
        {"array": "<f8", "shape": [2.0]}, {"array": "no", "shape": []}, {"tuple": 3}, {"dict": [[1]]},
        {"dict": [[[], 1]]}, {"array": "V8", "shape": [1]},
    ],
)  # fmt: skip
def test_what_no_packer_made_is_refused(packed):
    with pytest.raises((ValueError, TypeError, KeyError)):
        wire.unpack(packed, memoryview(b"x" * 8), lambda _: None, [])
