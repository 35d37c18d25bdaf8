"""What a learner's file may do to escape its judge, and none of it gives a right answer.

ATTACKS are done once when the file is loaded and once when its function is called; ANSWERS are what a function returns.
Each takes the place of a part: of a layer, or, where it never comes back, of a function, whose time limit is short.
"""

import textwrap
from collections.abc import Iterator

# Wrong numbers for each part, with a place for what is done first, and for what comes in the answer's place.
WRONG = {
    "gelu": "def forward(x, approximate='tanh'):\n    {attack}\n    return {answer}, x\n\n\n"
    "def backward(dout, cache):\n    x = 3 * dout\n    return {answer}\n",
    "softmax": "def forward(x):\n    {attack}\n    return {answer}, x\n\n\n"
    "def backward(dout, cache):\n    x = 3 * dout\n    return {answer}\n",
    "layernorm": "def forward(x, w, b, eps=1e-5):\n    {attack}\n    return {answer}, (x, w, b)\n\n\n"
    "def backward(dout, cache):\n    return tuple(({answer}) for x in cache)\n",
    "merge": "def merge(ids, pair, new_id):\n    {attack}\n    x = [*ids, new_id]\n    return {answer}\n",
    "windows_at": "def windows_at(tokens, starts, block_size):\n    {attack}\n    x = tokens\n"
    "    return {answer}, tokens\n",
}
LAYERS, FUNCTIONS = ("gelu", "softmax", "layernorm"), ("merge", "windows_at")

ATTACKS = {
    # It ends.
    "exit with 0": "import os\ndef attack(): os._exit(0)",
    "exit with 0, having said that it is right": """
        import os
        def attack():
            os.write(1, b"all 9 checks right\\n")
            os._exit(0)
        """,
    "segfault": "import ctypes\ndef attack(): ctypes.string_at(0)",
    "abort": "import os\ndef attack(): os.abort()",
    "SIGKILL": "import os, signal\ndef attack(): os.kill(os.getpid(), signal.SIGKILL)",
    "SystemExit": "import sys\ndef attack(): sys.exit(0)",
    "recursion without a limit": """
        import sys
        sys.setrecursionlimit(10**9)
        def attack(): return [attack()]
        """,
    # It raises.
    "a BaseException": "class Odd(BaseException): pass\ndef attack(): raise Odd",
    "KeyboardInterrupt": "def attack(): raise KeyboardInterrupt",
    "GeneratorExit": "def attack(): raise GeneratorExit",
    "an exception that cannot be printed": """
        class Odd(Exception):
            def __str__(self): raise self
            __repr__ = __str__
        def attack(): raise Odd
        """,
    "an exception of 10 MB": "def attack(): raise ValueError('x' * 10**7)",
    "an exception of 100,000 lines": "def attack(): raise ValueError('x\\n' * 10**5)",
    "an exception with a name of 10 MB": "def attack(): raise type('x' * 10**7, (Exception,), {})",
    # It writes, or cannot.
    "stdout closed": "import sys\ndef attack(): sys.stdout.close()",
    "all files closed": "import os\ndef attack(): os.closerange(0, 1024)",
    "all files written to": """
        import os
        def attack():
            for fd in range(256):
                try:
                    os.write(fd, b'{"passed": true, "wrong": "", "written": true}\\n')
                except OSError:
                    pass
        """,
    "300 MB printed": "def attack(): print('x' * 300_000_000)",
    "lines printed without an end": """
        import sys
        def attack():
            while True:
                sys.stdout.write('x\\n' * 10**5)
        """,
    "input asked for": "def attack(): input('? ')",
    "a breakpoint": "def attack(): breakpoint()",
    # It changes what the judge may use.
    "builtins replaced": """
        import builtins
        def attack():
            builtins.max = lambda *_, **__: 0.0
            builtins.abs = lambda x: x * 0
            builtins.all = lambda _: True
            builtins.any = lambda _: False
        """,
    "isinstance and len replaced": """
        import builtins
        def attack():
            builtins.isinstance = lambda *_: True
            builtins.len = lambda _: 1
        """,
    "NumPy's comparisons replaced": """
        import numpy as np
        def attack():
            np.allclose = np.array_equal = lambda *_, **__: True
            np.asarray = np.array = lambda *_, **__: np.zeros(())
            np.linalg.norm = lambda *_, **__: 0.0
            np.abs = np.subtract = lambda x, *_: 0 * x
        """,
    "random numbers replaced": """
        import numpy as np
        class Zeros:
            def __getattr__(self, name): return lambda *_, size=None, **__: np.zeros(size or ())
        def attack(): np.random.default_rng = lambda *_: Zeros()
        """,
    "serialisation replaced": """
        import json, pickle, struct, marshal
        def attack():
            json.dumps = lambda *_, **__: '{"passed": true}'
            json.loads = lambda *_, **__: {}
            pickle.dumps = marshal.dumps = lambda *_, **__: b''
            struct.pack = lambda *_: b''
        """,
    "the definition replaced": """
        import sys
        def attack():
            import tinygpt.layers.gelu as right
            import tinygpt.layers.layernorm, tinygpt.layers.softmax, tinygpt.tokenizer.bpe
            mine = sys._getframe(1).f_globals
            for module in (right, tinygpt.layers.layernorm, tinygpt.layers.softmax, tinygpt.tokenizer.bpe):
                for name in ('forward', 'backward', 'merge'):
                    if name in mine:
                        setattr(module, name, mine[name])
        """,
    "the checker replaced": """
        import sys
        def attack():
            for name, module in list(sys.modules.items()):
                if name.startswith('tinygpt.gradcheck') or name.startswith('tinygpt.own_layers'):
                    for entry in ('relative', 'judge', 'passed', '_breach', 'difference', 'what_is_wrong', 'problems'):
                        if hasattr(module, entry):
                            setattr(module, entry, lambda *_, **__: 0.0)
        """,
    "the verdict's class changed": """
        import gc
        def attack():
            for thing in gc.get_objects():
                if isinstance(thing, type) and thing.__name__ in ('Checked', 'Report', 'Row'):
                    for name in ('passed', 'within'):
                        try:
                            setattr(thing, name, property(lambda self: True))
                        except (AttributeError, TypeError):
                            pass
        """,
    "the callers' names changed": """
        import sys
        def attack():
            frame = sys._getframe(1)
            while frame:
                for name in ('AGREES', 'tolerance', 'wrong', 'problems'):
                    if name in frame.f_globals:
                        frame.f_globals[name] = 1e9
                for value in frame.f_locals.values():
                    if isinstance(value, list):
                        value.clear()
                frame = frame.f_back
        """,
    "all arrays made equal": """
        import gc
        import numpy as np
        def attack():
            for thing in gc.get_objects():
                held = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, (list, tuple)) else ()
                for array in list(held):
                    if isinstance(array, np.ndarray) and array.flags.writeable and array.dtype.kind == 'f':
                        array[...] = 0
        """,
    "modules replaced": """
        import sys, types
        def attack():
            for name in list(sys.modules):
                if name.startswith(('tinygpt', 'numpy')):
                    sys.modules[name] = types.ModuleType(name)
        """,
    # It never comes back.
    "a loop without an end": "def attack():\n    while True: pass",
    "a loop that catches all": """
        def attack():
            while True:
                try:
                    while True: pass
                except BaseException:
                    pass
        """,
    "a loop in C": "def attack(): 3 ** (10 ** 9)",
    "a regular expression without an end": "import re\ndef attack(): re.match(r'(a+)+$', 'a' * 60 + 'b')",
    "a loop, and signals ignored": """
        import signal
        def attack():
            for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
                try:
                    signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError):
                    pass
            signal.setitimer(signal.ITIMER_REAL, 0)
            while True: pass
        """,
    "stopped": "import os, signal\ndef attack(): os.kill(os.getpid(), signal.SIGSTOP)",
    "a sleep": "import time\ndef attack(): time.sleep(10**6)",
    "a thread without an end": """
        import threading, time
        def attack(): threading.Thread(target=lambda: time.sleep(10**6)).start()
        """,
    "forks without an end": """
        import os, time
        def attack():
            for _ in range(2):
                if os.fork() == 0:
                    time.sleep(10**6)
        """,
    "a fork that goes on as the judge": "import os\ndef attack(): os.fork()",
    "no end at the end": "import atexit, time\ndef attack(): atexit.register(time.sleep, 10**6)",
    "a verdict at the end": "import atexit, os\ndef attack(): atexit.register(os._exit, 0)",
    "no end in __del__": """
        import time
        class Odd:
            def __del__(self): time.sleep(10**6)
        kept = Odd()
        def attack(): Odd()
        """,
    # It takes all memory.
    "memory without an end": """
        def attack():
            kept = []
            while True:
                kept.append(bytearray(1 << 24))
        """,
}
ENDLESS = {
    "lines printed without an end", "a loop without an end", "a loop that catches all", "a loop in C",
    "a regular expression without an end", "a loop, and signals ignored", "stopped", "a sleep", "no end in __del__",
    "memory without an end", "300 MB printed", "a breakpoint", "input asked for", "a thread without an end",
    "forks without an end", "no end at the end",
}  # fmt: skip

ANSWERS = {
    "an array that equals everything": """
        import numpy as np
        class Liar(np.ndarray):
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __array_ufunc__(self, *_, **__): return np.zeros(self.shape)
            def __array_function__(self, *_, **__): return np.True_
        """,
    "an object that becomes an array": """
        import numpy as np
        class Liar:
            def __init__(self, x): self.shape, self.dtype, self.ndim, self.size = x.shape, x.dtype, x.ndim, x.size
            def __array__(self, *_, **__): raise SystemExit(0)
            def __sub__(self, other): return np.zeros(self.shape)
            __rsub__ = __sub__
        """,
    "an array of another dtype than it says": """
        import numpy as np
        class Liar(np.ndarray):
            dtype = np.dtype(np.float64)
            shape = (3,)
        """,
    "an array of objects that equal everything": """
        import numpy as np
        class Odd:
            def __eq__(self, other): return True
            def __sub__(self, other): return 0.0
            __rsub__ = __sub__
            def __float__(self): return 0.0
        """,
    "NaN everywhere": "import numpy as np",
    "an array of 2**60 entries": "import numpy as np",
    "an array of 8 GB": "import numpy as np",
    "a list that holds itself": "kept = []\nkept.append(kept)",
    "a generator": "",
    "a string": "",
    "nested without an end": "class Deep(list):\n    def __iter__(self): return iter([Deep()])\n"
    "    def __len__(self): return 1",
    "a class that refuses to be looked at": """
        class Odd:
            def __getattribute__(self, name): raise SystemExit(0)
        """,
    "an array of records": "import numpy as np",
    "its input, emptied": """
        def emptied(x):
            try:
                x[...] = 0
            except ValueError:
                pass
            return x
        """,
}
RETURNED = {
    "an array that equals everything": "np.asarray(x, float).view(Liar)",
    "an object that becomes an array": "Liar(np.asarray(x))",
    "an array of another dtype than it says": "np.asarray(x, np.float16).view(Liar)",
    "an array of objects that equal everything": "np.full(np.shape(x), Odd(), object)",
    "NaN everywhere": "np.full(np.shape(x), np.nan)",
    "an array of 2**60 entries": "np.broadcast_to(0.0, (1 << 60,))",
    "an array of 8 GB": "np.zeros(1 << 30)",
    "a list that holds itself": "kept",
    "a generator": "(y for y in iter(int, 1))",
    "a string": "'right'",
    "nested without an end": "Deep()",
    "a class that refuses to be looked at": "Odd()",
    "an array of records": "np.zeros(np.shape(x), [('a', 'f8'), ('b', 'O')])",
    "its input, emptied": "emptied(x)",
}


def hostile_files() -> Iterator[tuple[str, str, str]]:
    """(what it does, the part that it takes the place of, its text) of every file."""
    number = 0
    for name, code in ATTACKS.items():
        for when in ("when it is loaded", "when it is called"):
            parts = FUNCTIONS if name in ENDLESS else LAYERS
            part = parts[number % len(parts)]
            number += 1
            called = when == "when it is called"
            wrong = WRONG[part].format(attack="attack()" if called else "pass", answer="x")
            yield f"{name}, {when}", part, _dedented(code) + ("" if called else "attack()\n") + "\n\n" + wrong
    for name, code in ANSWERS.items():
        part = LAYERS[number % len(LAYERS)]
        number += 1
        yield name, part, _dedented(code) + "\n\n" + WRONG[part].format(attack="pass", answer=RETURNED[name])


def _dedented(code: str) -> str:
    return textwrap.dedent(code).strip() + "\n" if code else ""
