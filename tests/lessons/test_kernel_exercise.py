"""A reader's CUDA kernel: judged in the emulator, each usual mistake in its words, and what a right one moves."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lessons.__main__ import main
from lessons.exercises import Exercise
from tests.lessons.conftest import HINTS
from tinygpt import emulator
from tinygpt.own_layers import check, load_own_layers
from tinygpt.own_layers.kernels import blank, child, judge, layernorm_kernel, solution, words
from tinygpt.own_layers.kernels.judge import NotHere

NAME = "layernorm_kernel"
RIGHT = solution(NAME)
LOOP = "for (int c = threadIdx.x; c < C; c += blockDim.x) "
MEAN, SQUARES = "sum += x[c];", "squares += (x[c] - row_mean) * (x[c] - row_mean);"
OUT = "out[c] = (x[c] - row_mean) * row_rstd * w[c] + (b ? b[c] : 0);"
PARTS = "  float sum = 0;\n  for (int warp = 0; warp < blockDim.x / 32; warp++) sum += parts[warp];\n  return sum;"
BARRIER = "  __syncthreads();\n"
ROOT = "1 / sqrtf(block_sum(squares, parts[1]) / C + eps)"
TREE = """\
  __shared__ float all[1024];
  all[threadIdx.x] = x;
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) all[threadIdx.x] += all[threadIdx.x + half];
    __syncthreads();
  }
  x = all[0];
  __syncthreads();
  return x;
"""
BLOCK_SUM = RIGHT[RIGHT.index("  for (int distance") : RIGHT.index("  return sum;\n") + len("  return sum;\n")]
HALVES = """\
  for (int half = blockDim.x / 64; half > 0; half /= 2) {
    if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    __syncthreads();
  }
  return parts[0];"""
RETURN = "  if (threadIdx.x >= C) return;\n"
IF = "if (c < C) "

needs_compiler = pytest.mark.skipif(
    emulator.missing() is not None, reason=f"kernels are emulated: {emulator.missing()}"
)
PLANTED = [  # what is wrong, its edits, and what is to be said of it
    ("no barrier", [(BARRIER, "")], "a barrier is missing", "With __syncthreads() before line 11"),
    ("a barrier of the warp alone", [(BARRIER, "  __syncwarp();\n")], "a barrier is missing", "before line 12"),
    ("shared memory used twice", [("parts[1]", "parts[0]")], "line 9: race: writes shared memory parts, byte 0, which",
     "or each sum has shared memory of its own"),
    ("one warp at the barrier", [(BARRIER, f"  if (threadIdx.x < 32) {BARRIER[2:]}")],
     "does every thread come to the __syncthreads() of line 10?", "With one before line 12"),
    ("a barrier for each warp's first", [("parts[threadIdx.x / 32] = x;\n", "{ parts[threadIdx.x / 32] = x;\n"),
     (BARRIER, f"{BARRIER[:-1]} }}\n")],
     "does every thread come to the __syncthreads() of line 10?", "With one before line 12"),
    ("a barrier in the loop", [(LOOP + MEAN, f"{LOOP}{{ {MEAN} __syncthreads(); }}")], "nobody can go on",
     "nor in a loop over the columns"),
    ("a return before the barrier", [("  x += (size_t)", f"{RETURN}  x += (size_t)")],
     "shuffle reads from lane", "no return before it"),
    ("a tree without a barrier", [(BLOCK_SUM, TREE.replace("    __syncthreads();\n", ""))],
     "line 12: race: ", "line 12 races with itself", "at the end of each round"),
    ("a tree whose first barrier is missing", [(BLOCK_SUM, TREE.replace(BARRIER, "", 1))],
     "line 11: race: reads shared memory all", "     9 |   all[threadIdx.x] = x;", "between the two lines"),
    ("the sums of a warp", [(PARTS, "  return x;")], "the sums are those of a warp"),
    ("the sums of the first warp", [(PARTS, "  return parts[0];")], "the sums are those of the first warp alone"),
    ("the mean of a warp", [("parts[0]) / C;", "parts[0]) / C;\n  for (int d = 16; d > 0; d /= 2) sum += "
     "__shfl_xor_sync(0xffffffffu, sum, d);\n  row_mean = sum / C;")], "the sum for the mean is that of a warp"),
    ("the variance of a warp", [(ROOT, ROOT.replace("block_sum(squares, parts[1])", "squares")),
     ("  float row_rstd", "  for (int d = 16; d > 0; d /= 2) squares += __shfl_xor_sync(0xffffffffu, squares, d);\n"
      "  float row_rstd")], "the sum for the variance is that of a warp"),
    ("the mean not divided", [("parts[0]) / C", "parts[0])")], "the mean is not divided by C"),
    ("the variance not divided", [("parts[1]) / C", "parts[1])")], "the variance is not divided by C"),
    ("no mean", [("    mean[blockIdx.x] = row_mean;\n", "")], "numbers of mean were never written",
     "out and rstd are right in all cases"),
    ("the mean over blockDim", [("parts[0]) / C", "parts[0]) / blockDim.x")], "divided by blockDim.x"),
    ("both over blockDim", [("parts[0]) / C", "parts[0]) / blockDim.x"), ("parts[1]) / C", "parts[1]) / blockDim.x")],
     "divided by blockDim.x"),
    ("E[x²] - mean²", [(SQUARES, "squares += x[c] * x[c];"), ("/ C + eps", "/ C - row_mean * row_mean + eps")],
     "as by E[x²] - mean²"),
    ("no loop", [(LOOP + MEAN, f"int c = threadIdx.x;\n  {IF}{MEAN}"), (LOOP + SQUARES, IF + SQUARES),
     (LOOP + OUT, IF + OUT)],
     "a row with more numbers than the block has threads is not done to its end"),
    ("no loop in the mean", [(LOOP + MEAN, "if (threadIdx.x < C) sum = x[threadIdx.x];")],
     "the mean is that of a column a thread"),
    ("no loop at the end", [(LOOP + OUT, f"if (int c = threadIdx.x; c < C) {OUT}")], "out is not written to its end"),
    ("no c < C", [(LOOP + MEAN, "sum = x[threadIdx.x];")], "line 23: out of bounds: reads 4 bytes", "ask for c < C"),
    ("room for 8 warps", [("parts[2][32]", "parts[2][8]")], "line 9: out of bounds: writes 4 bytes", "32 warps"),
    ("room for 128 threads", [(BLOCK_SUM, TREE.replace("[1024]", "[128]"))], "index ", "is outside 'float [128]'",
     "up to 1,024 threads"),
    ("32 parts always", [("blockDim.x / 32; warp", "32; warp")], "line 12: reads shared memory parts, byte",
     "only so many parts are there"),
    ("halves of warps", [(PARTS, HALVES)], "as if the block had a power of two of threads"),
    ("halves of threads", [(BLOCK_SUM, TREE)], "as if the block had a power of two of threads"),
    ("no eps", [(" / C + eps", " / C")], "eps is forgotten"),
    ("eps outside", [(ROOT, ROOT.replace(" + eps)", ") + eps)").replace("1 / sqrtf", "1 / (sqrtf") + "")],
     "eps is added to the root"),
    ("the variance over C - 1", [("parts[1]) / C", "parts[1]) / (C - 1)")], "divided by C - 1"),
    ("the deviation itself", [("1 / sqrtf(", "sqrtf(")], "rstd is the standard deviation itself"),
    ("no root", [("1 / sqrtf(", "1 / (")], "rstd lacks the root"),
    ("squares of x", [(SQUARES, "squares += x[c] * x[c];")], "the variance is the mean of x²"),
    ("all threads write mean", [("  if (threadIdx.x == 0) {", "  {")], "line 32: race: writes 'mean'",
     "One number a row is written by one thread, if (threadIdx.x == 0)"),
    ("b is not asked", [("(b ? b[c] : 0)", "b[c]")], "a null pointer", "b may be null"),
    ("no b", [(" + (b ? b[c] : 0)", "")], "b is not used"),
    ("no w", [(" * w[c]", "")], "w is not used"),
    ("b before w", [(OUT, "out[c] = ((x[c] - row_mean) * row_rstd + (b ? b[c] : 0)) * w[c];")], "it comes last"),
    ("out of x", [("(x[c] - row_mean) * row_rstd", "x[c] * row_rstd")], "out is made of x"),
    ("the first row", [("  x += (size_t)blockIdx.x * C;\n", "")], "every block computes the first row"),
    ("one row for all", [("  out += (size_t)blockIdx.x * C;\n", "")], "blocks run in any order", "begins at i * C"),
    ("no end", [(LOOP + MEAN, (LOOP + MEAN).replace("blockDim.x", "0"))], "line 23: still running", "c has to grow"),
    ("no semicolon", [("float sum = 0;\n  for (int c", "float sum = 0\n  for (int c")], "line 23: expected ',' or ';'",
     "is one missing at the end of the line above?",
     "   23 |   for (int c = threadIdx.x", "      |   ^~~"),
    ("another type", [("float* rstd", "double* rstd")], "rstd) points to float64", "as they were given"),
    ("another name", [("layernorm_forward", "layernorm")], "no kernel 'layernorm_forward'", "as they were given"),
    ("a function of the host's", [("__device__ ", "")], "line 7: block_sum is a function of the computer's"),
    ("a library", [("// The sum", "#include <cmath>\n// The sum")], "line 6: take out #include <cmath>"),
    ("a function of a library", [("sqrtf(block", "std::sqrt(block")], "line 28: std:: is the computer's library"),
    ("a sum of nothing", [("float sum = 0;\n  for (int c", "float sum;\n  for (int c")],
     "out[0, 0] is nan, where",
     "does each sum begin with a value, float sum = 0"),
    ("a wrong mean", [("= row_mean;", "= 2 * row_mean;")], "out and rstd are right in all cases"),
]  # fmt: skip


@pytest.fixture
def here(monkeypatch):
    """The launches are made in this process, which is quicker."""

    def run(command):
        child.serve(Path(command[-1]))
        return ""

    monkeypatch.setattr(judge, "_run", run)
    monkeypatch.setattr(judge, "LAUNCH_SECONDS", 1.0)
    monkeypatch.setattr(emulator.settings, "seconds", 1.0)
    monkeypatch.setattr(emulator.settings, "seed", 0)


def written(tmp_path, text):
    path = tmp_path / f"{NAME}.cu"
    path.write_text(text, encoding="utf-8")
    return path


def edited(edits):
    text = RIGHT
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@needs_compiler
@pytest.mark.parametrize(("edits", "said"), [pytest.param(e, said, id=t) for t, e, *said in PLANTED])
def test_a_usual_mistake_is_caught_and_named(edits, said, here, tmp_path):
    checked = check(NAME, written(tmp_path, edited(edits)), seed=3)
    assert not checked.passed and checked.written and checked.wrong in checked.text
    for words_ in said:
        assert words_ in checked.wrong, checked.wrong


@needs_compiler
def test_every_usual_mistake_in_the_numbers_is_planted():
    said = {says for _, _, *wanted in PLANTED for says in wanted}
    never = [says for says, _ in layernorm_kernel.MISTAKES if not any(words_ in says for words_ in said)]
    assert never == [says for says in never if says.startswith("the variance is that of a column a thread")]


@needs_compiler
def test_the_engines_own_passes_whatever_the_seed_and_says_what_it_moves(here, tmp_path):
    for seed in range(5):
        checked = check(NAME, written(tmp_path, RIGHT), seed)
        assert checked.passed and not checked.wrong, checked.text
    assert "4.00 times the floor of 30,720" in checked.text and "1.02 times the floor of 24,640" in checked.text
    assert "coalescing  1.00 sectors" in checked.text and "2 in a block" in checked.text
    assert "the same bits in 3 orders of blocks and warps" in checked.text


CHUNK = "for (int c = threadIdx.x * C / blockDim.x; c < (threadIdx.x + 1) * C / blockDim.x; c++) "
ALONE = "if (threadIdx.x == 0) for (int c = 0; c < C; c++) "
IN_CHUNKS = [(LOOP + part, CHUNK + part) for part in (MEAN, SQUARES, OUT)]
ATOMICS = BLOCK_SUM.replace("parts[threadIdx.x / 32] = x;", "atomicAdd(parts, x);").replace(
    "  for (int distance", "  if (threadIdx.x == 0) parts[0] = 0;\n  __syncthreads();\n  for (int distance"
).replace(PARTS, "  return parts[0];")  # fmt: skip
COLUMNS = """\
  __shared__ float wide[32 * 32];
  int place = threadIdx.x % 32 * 32 + threadIdx.x / 32;
  wide[place] = x;
  __syncthreads();
  x = wide[place];
"""


@needs_compiler
@pytest.mark.parametrize(
    ("text", "remarks"),
    [
        (edited(IN_CHUNKS), ["coalescing  2", ": 3.0; neighbouring threads take places that lie apart"]),
        (
            edited([(LOOP + part, ALONE + part) for part in (MEAN, SQUARES, OUT)]),
            ["32.00 times the floor", "a warp's request is for 1.0 numbers: its other lanes could have some too"],
        ),
        (edited([(BLOCK_SUM, ATOMICS)]), ["order       other bits in another order of warps"]),
        (
            RIGHT.replace("  __syncthreads();\n", "  __syncthreads();\n  __syncthreads();\n  __syncthreads();\n"),
            ["barriers    6 in a block", "two sums can do with one each"],
        ),
        (
            edited([(BLOCK_SUM, COLUMNS + BLOCK_SUM)]),
            [": 32.0; threads of a warp want different words of one bank at once"],
        ),
    ],
    ids=["chunks", "one thread", "atomics", "barriers", "banks"],
)  # fmt: skip
def test_a_right_kernel_that_is_slow_hears_why(text, remarks, here, tmp_path):
    checked = check(NAME, written(tmp_path, text), seed=1)
    assert checked.passed, checked.text
    for remark in remarks:
        assert remark in checked.text, checked.text


@needs_compiler
@pytest.mark.parametrize(
    ("top", "said"),
    [
        ("__device__ int deep(int n) { return n < 0 ? n : deep(n + 1) + deep(n + 2); }", "SIGSEGV"),
        ("static int never = [] { for (volatile int i = 0;; i = 1) {} return 1; }();", "had not come back after 3 s"),
    ],
    ids=["a crash", "a loop before any launch"],
)
def test_a_kernel_that_takes_its_process_with_it_is_told_so(top, said, tmp_path, monkeypatch):
    if "never" in top:  # a crash is told as it comes, however long a busy machine takes to compile
        monkeypatch.setattr(judge, "SECONDS", 3)
    text = RIGHT.replace("  __shared__", f"  mean[0] = {'deep(C)' if 'deep' in top else 'never'};\n  __shared__", 1)
    checked = check(NAME, written(tmp_path, f"{top}\n{text}"))
    assert not checked.passed and said in checked.wrong, checked.wrong


@needs_compiler
def test_what_a_kernel_prints_is_shown(tmp_path, capfd):
    text = RIGHT.replace(
        "  __shared__", '  if (C == 90 && threadIdx.x == 95) printf("C is %d\\n", C);\n  __shared__', 1
    )
    assert check(NAME, written(tmp_path, text)).passed
    assert "C is 90" in capfd.readouterr().out


@needs_compiler
def test_a_comment_in_another_encoding_does_no_harm(here, tmp_path):
    path = tmp_path / f"{NAME}.cu"
    path.write_bytes("// fünf\n".encode("latin-1") + RIGHT.encode())
    assert load_own_layers(tmp_path).used[NAME].kernel == "layernorm_forward"
    assert "no such file" in check(NAME, tmp_path / "nowhere.cu").wrong


# The commands


LESSON = f"# %% [markdown]\n# # 4. A card\n#\n# ## Your turn: {NAME}\n"


def test_the_file_to_begin_with_is_the_engines_without_its_body():
    exercise = Exercise(NAME, 18)
    assert exercise.file == f"{NAME}.cu" and exercise.solution() == RIGHT and exercise.blank() == blank(NAME)
    assert "yours to write" in blank(NAME) and "block_sum" not in blank(NAME) and "float eps) {" in blank(NAME)


@needs_compiler
def test_a_lesson_asks_for_a_kernel_as_for_anything_else(folder, here, capsys):
    (folder / "04_card.py").write_text(LESSON)
    (folder / "hints" / f"{NAME}.md").write_text(HINTS)
    file = folder / "work" / f"{NAME}.cu"

    def said(*arguments, status=0):
        assert main([*arguments], folder) == status
        return capsys.readouterr().out

    assert f"{NAME}.cu is written" in said("start", "4") and file.read_text() == blank(NAME)
    assert "is as it was given" in said("check", "4", status=1)
    file.write_text(blank(NAME) + "\n")
    assert "is not written yet" in said("check", NAME, status=1)
    file.write_text(RIGHT.replace(BARRIER, ""))
    assert "a barrier is missing" in said("check", f"{NAME}.cu", status=1)
    file.write_text(RIGHT)
    assert f"{NAME} is right." in said("check", "4")


def test_where_there_is_no_compiler_it_is_said_what_to_install(tmp_path, folder, monkeypatch, capsys):
    monkeypatch.setattr(judge, "missing", lambda: "there is no g++, which compiles kernels")
    with pytest.raises(NotHere, match=r"cannot be checked here: there is no g\+\+.*apt install g\+\+ binutils"):
        check(NAME, written(tmp_path, RIGHT))
    own = load_own_layers(tmp_path)
    assert "cannot be checked here" in own.left_out[NAME] and not own.used
    assert NAME in load_own_layers(tmp_path, unchecked=True).used  # on a card one may want it all the same
    (folder / "04_card.py").write_text(LESSON)
    (folder / "work").mkdir()
    shutil.copy(written(tmp_path, RIGHT), folder / "work")
    assert main(["check", "4"], folder) == 1
    assert "cannot be checked here: there is no g++" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RIGHT, ""),
        ("__device__\nfloat f(float x) {\n  if (x > 0) {\n  } else if (x < 0) {\n  }\n}\n", ""),
        ("template <class T>\n__device__ T f(T x) {\n  while (x) {\n  }\n}", ""),
        ("// float f(int x) {\n/* #include <cmath> */", ""),
        ("\nstatic float f(float x,\n               float y) {\n", "line 2: f is a function of the computer's"),
        ("float* f (float x)\n{", "line 1: f is a function of the computer's"),
        ("\n\nint x = std::max(1, 2);", "line 3: std::"),
        ('  #  include "mine.h"', 'line 1: take out #include "mine.h"'),
    ],
)
def test_what_a_cards_compiler_would_not_take_is_seen(text, said):
    found = words.not_for_a_card(text)
    assert found.startswith(said) and bool(found) == bool(said)


def test_an_error_of_the_compilers_is_shown_without_its_warnings():
    message = (
        "g++ refuses the kernel:\nk.cu: In function 'f':\nk.cu:2:1: warning: odd\n    2 | int a\n      | ^\n"
        "k.cu:3:5: error: bad\n    3 | int b\n      |     ^\n" + "k.cu:4:1: error: worse\n" * 4
    )
    assert words.explained(message, "k.cu", "") == (
        "k.cu, line 3: bad\n    3 | int b\n      |     ^\nk.cu, line 4: worse\nk.cu, line 4: worse\n"
        "and 2 more, which may come of these"
    )


def test_numbers_are_compared_in_kind_where_they_are_not_finite():
    right = np.array([1.0, np.inf, np.nan])
    assert judge._agree(np.array([1.00001, np.inf, np.nan]), right, 1e-4)
    assert not judge._agree(np.array([1.0, 2.0, np.nan]), right, 1e-4)
    assert not judge._agree(np.array([1.001, np.inf, np.nan]), right, 1e-4)
