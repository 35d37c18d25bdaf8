"""Which dtype a run computes in, who says so, and what goes on from what."""

import json
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests import children
from tests.cuda import strict_cupy
from tests.test_cli import TINY, outcome
from tests.test_train import ROOT, tiny
from tinygpt import GPT, GPTConfig, UserError
from tinygpt.errors import Note
from tinygpt.layers import gelu
from tinygpt.ops import DEFINITIONS, build
from tinygpt.precision import FASTEST, PRECISIONS, dtype_of, kind, resolve
from tinygpt.run import loop, screens
from tinygpt.run.state import Parts
from tinygpt.train import EvalRecord, load_model, resume, start, train

CONFIG = GPTConfig(8, 13, 1, 2, 16)
CPU, REFERENCE, OWN = "a CUDA card", "--kernels=reference", "some here are yours"
OLD, MISSING = "compute capability 8.0 or more, and this one's is 7.5", "`pip install ml_dtypes` would bring"
ON_CUDA = [flag for flag in TINY if not flag.startswith("--device")] + ["--device=cuda"]


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr(loop, "RATE_SECONDS", 0.0)
    with strict_cupy.installed() as card:
        yield card


def row(text, name):
    """What a heading says after a name."""
    (found,) = [line.removeprefix(name).strip() for line in text.splitlines() if line.startswith(f"{name} ")]
    return found


def dtype_in_heading(state):
    return row(screens.heading(state), "dtype")


def saved_dtype(out_dir):
    folder = (out_dir / "last" / "current").read_text().partition("\n")[0]
    return json.loads((out_dir / "last" / folder / "state.json").read_text())["config"]["dtype"]


# The choice


@pytest.mark.parametrize("asked", ["float32", "float64", np.float32, np.dtype("float64")])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_is_asked_for_is_taken_and_needs_no_reason(asked, device):
    assert resolve(asked, device) == (np.dtype(asked).name, "")


@pytest.mark.parametrize("asked", ["auto", "bfloat16"])
@pytest.mark.parametrize(
    ("arguments", "capability", "reason"),
    [
        (("cpu",), "90", CPU),
        (("cpu", "reference", True), "90", CPU),
        (("cuda", "reference"), "90", REFERENCE),
        (("cuda", "auto", True), "90", OWN),
        (("cuda",), "75", OLD),
        (("cuda",), "80", None),
        (("cuda",), "120", None),
    ],
)
def test_bfloat16_where_a_card_has_it_and_float32_elsewhere(card, asked, arguments, capability, reason):
    card.compute_capability = capability
    name, why = resolve(asked, *arguments)
    if reason is None:
        assert (name, why) == ("bfloat16", FASTEST if asked == "auto" else "")
    else:
        assert name == "float32" and reason in why


@pytest.mark.parametrize("asked", ["auto", "bfloat16"])
def test_without_ml_dtypes_it_is_float32_and_said_how_to_change_that(card, monkeypatch, asked):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    name, why = resolve(asked, "cuda")
    assert name == "float32" and MISSING in why


def test_ml_dtypes_is_imported_for_bfloat16_alone(tmp_path):
    code = (
        "import sys; from tinygpt import cli\n"
        f"assert cli.main({['train', *TINY, f'--out_dir={tmp_path}']!r}) == 0\n"
        "assert 'ml_dtypes' not in sys.modules\n"
        "from tinygpt.precision import dtype_of; assert dtype_of('bfloat16').name == 'bfloat16'\n"
        "assert 'ml_dtypes' in sys.modules"
    )
    ran = children.run("-c", code, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr


def test_every_name_has_a_dtype_and_a_kind():
    assert [dtype_of(name).name for name in PRECISIONS] == list(PRECISIONS)
    assert [dtype_of(name).itemsize for name in ("bfloat16", "float32", "float64")] == [2, 4, 8]
    assert {name: kind(name) for name in ("auto", *PRECISIONS)} == {
        "auto": "float32", "float32": "float32", "bfloat16": "float32", "float64": "float64",
    }  # fmt: skip


# What is refused


@pytest.mark.parametrize(
    ("dtype", "sentence"),
    [
        (
            "float16",
            "dtype is 'float16'; expected auto, float32, bfloat16 or float64; take bfloat16, as small and with",
        ),
        ("half", "dtype is 'half'; expected auto, float32, bfloat16 or float64"),
    ],
)
def test_other_names_are_one_sentence_everywhere(tmp_path, capsys, dtype, sentence):
    list(train(start(tiny(tmp_path / "run", max_iters=0))))
    there = f"--out_dir={tmp_path / 'run'}"
    for command in (
        ["train", *TINY, f"--dtype={dtype}", f"--out_dir={tmp_path / 'new'}"],
        ["train", "--init_from=resume", there, f"--dtype={dtype}"],
        ["sample", there, f"--dtype={dtype}"],
        ["eval", there, f"--dtype={dtype}"],
    ):
        status, _, err = outcome(capsys, *command)
        assert status == 1 and err.startswith(f"error: {sentence}") and err.count("\n") == 1
    assert not (tmp_path / "new" / "last").exists()
    with pytest.raises(UserError, match=f"dtype is '{dtype}'; expected float32, bfloat16 or float64"):
        GPT(CONFIG, dtype=dtype)


def test_a_model_that_cannot_compute_in_bfloat16_is_refused(card, monkeypatch):
    def refused(device="cuda", ops=None):
        with pytest.raises(UserError, match="dtype is 'bfloat16', but .*; give float32") as error:
            GPT(CONFIG, device, "bfloat16", ops=ops)
        return str(error.value)

    assert (
        GPT(CONFIG, "cuda", "bfloat16").dtype == GPT(CONFIG, "cuda", dtype_of("bfloat16")).dtype == dtype_of("bfloat16")
    )
    assert GPT(CONFIG, "cuda", "bfloat16", ops=build("auto", "cuda")).params.dtype == np.float32
    assert CPU in refused("cpu")
    for ops in (DEFINITIONS, DEFINITIONS.replace(gelu=gelu), build("reference", "cuda")):
        assert REFERENCE in refused(ops=ops)
    card.compute_capability = "75"
    assert OLD in refused()
    card.compute_capability = "80"
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    assert MISSING in refused()


# What is said


def test_a_run_on_a_cpu_says_why_it_is_float32(tmp_path, capsys):
    status, out, err = outcome(capsys, "train", *TINY, f"--out_dir={tmp_path / 'a'}")
    assert (status, err) == (0, "") and row(out, "dtype") == "float32 (auto: bfloat16 takes a CUDA card)"
    status, out, err = outcome(capsys, "train", *TINY, "--dtype=float64", f"--out_dir={tmp_path / 'b'}")
    assert (status, err) == (0, "") and row(out, "dtype") == "float64"


def test_bfloat16_on_a_cpu_is_a_note_and_float32(tmp_path, capsys):
    (tmp_path / "config.py").write_text("dtype = 'bfloat16'  # as nanoGPT's\n")
    there, note = f"--out_dir={tmp_path}", "note: bfloat16 takes a CUDA card, so this computes in float32\n"
    status, out, err = outcome(capsys, "train", tmp_path / "config.py", *TINY, there)
    assert (status, err) == (0, note) and row(out, "dtype") == "float32 (bfloat16 takes a CUDA card)"
    assert saved_dtype(tmp_path) == "bfloat16"
    for command in (["sample", "--start=a", "--seed=1"], ["eval"]):
        status, out, err = outcome(capsys, *command, there, "--device=cpu", "--dtype=bfloat16")
        assert (status, err) == (0, note)
        assert outcome(capsys, *command, there, "--device=cpu") == (0, out, "")
    with pytest.warns(Note, match=CPU):
        assert load_model(tmp_path, "cpu", "bfloat16")[0].dtype == np.float32
    assert load_model(tmp_path, "cpu", "auto")[0].dtype == load_model(tmp_path, "cpu")[0].dtype == np.float32


def test_a_run_on_a_card_says_what_it_computes_in(card, tmp_path, capsys):
    there = f"--out_dir={tmp_path}"
    status, out, err = outcome(capsys, "train", *ON_CUDA, there)
    assert (status, err) == (0, "") and row(out, "dtype") == f"bfloat16 (auto: {FASTEST})"
    assert "TFLOP/s of bfloat16 matrix products" in out
    for command in (["sample", "--start=a", "--seed=1"], ["eval"]):
        assert outcome(capsys, *command, there, "--device=cuda")[::2] == (0, "")
        assert outcome(capsys, *command, there, "--device=cuda", "--dtype=bfloat16")[::2] == (0, "")
    assert load_model(tmp_path, "cuda", "auto")[0].dtype == dtype_of("bfloat16")
    assert load_model(tmp_path, "cuda")[0].dtype == np.float32


@pytest.mark.parametrize(
    ("settings", "parts", "capability", "tf32", "reason"),
    [
        ({"kernels": "reference"}, Parts(), "90", True, REFERENCE),
        ({}, Parts(leaves={"gelu": gelu}), "90", True, OWN),
        ({}, Parts(), "75", False, OLD),
    ],
    ids=["reference", "own", "old card"],
)
def test_where_a_card_cannot_it_says_why(card, tmp_path, settings, parts, capability, tf32, reason):
    card.compute_capability = capability
    in_tf32 = " with products in TF32" * tf32
    state = start(tiny(tmp_path, device="cuda", **settings), parts)
    assert state.model.dtype == np.float32
    assert dtype_in_heading(state).startswith(f"float32{in_tf32} (auto: bfloat16 ") and reason in dtype_in_heading(
        state
    )
    with pytest.warns(Note, match=f"{reason}.*, so this computes in float32"):
        state = start(tiny(tmp_path, device="cuda", dtype="bfloat16", **settings), parts)
    assert state.model.dtype == np.float32 and dtype_in_heading(state).startswith(f"float32{in_tf32} (bfloat16 ")


# What goes on from what


@pytest.mark.filterwarnings("ignore::tinygpt.errors.Note")
def test_a_flag_within_the_kind_is_allowed_and_saved(tmp_path):
    list(train(start(tiny(tmp_path, max_iters=1, dtype="float32"))))  # as every run before there was another
    assert resume(tmp_path).config.dtype == saved_dtype(tmp_path) == "float32"
    for step, dtype in enumerate(("bfloat16", "auto", "float32"), 2):
        list(train(resume(tmp_path, {"dtype": dtype, "max_iters": step})))
        assert saved_dtype(tmp_path) == resume(tmp_path).config.dtype == dtype
    with pytest.raises(UserError, match="--dtype=float64 would be another model: the run in .* has dtype=float32"):
        resume(tmp_path, {"dtype": "float64"})


def test_float64_stays_apart(tmp_path):
    list(train(start(tiny(tmp_path, max_iters=1, dtype="float64"))))
    for dtype in ("auto", "bfloat16", "float32"):
        with pytest.raises(UserError, match=f"--dtype={dtype} would be another model: the run in .* has dtype=float64"):
            resume(tmp_path, {"dtype": dtype})
    assert resume(tmp_path, {"dtype": "float64"}).model.dtype == np.float64


@pytest.mark.filterwarnings("ignore::tinygpt.errors.Note")
def test_a_cpu_computes_the_same_bits_whichever_of_a_kind_was_asked_for(tmp_path):
    ends = []
    for dtype in ("auto", "float32", "bfloat16"):
        state = start(tiny(tmp_path / dtype, max_iters=3, dtype=dtype))
        list(train(state))
        ends.append(state.model.params.flat)
    np.testing.assert_array_equal(ends[0], ends[1])
    np.testing.assert_array_equal(ends[0], ends[2])


@pytest.mark.parametrize("first", [("cuda", "bfloat16"), ("cuda", "float32"), ("cpu", "float32")], ids="-".join)
@pytest.mark.parametrize("second", [("cuda", "bfloat16"), ("cuda", "float32"), ("cpu", "float32")], ids="-".join)
def test_a_checkpoint_is_float32_and_goes_on_in_either_on_either_device(card, tmp_path, first, second):
    (device, dtype), (other_device, other_dtype) = first, second
    state = start(tiny(tmp_path, device=device, dtype=dtype, max_iters=3))
    list(train(state))
    assert state.model.dtype == dtype_of(dtype)
    (folder,) = (tmp_path / "last").glob("step-*")
    for file in ("model.safetensors", "moments.safetensors"):
        assert {array.dtype.name for array in load_file(folder / file).values()} == {"float32"}
    changes = {"device": other_device, "dtype": other_dtype, "max_iters": 6}
    again = resume(tmp_path, changes)
    assert again.model.dtype == dtype_of(other_dtype)
    for one, other in ((state.model.params, again.model.params), (state.optimizer.m, again.optimizer.m)):
        for name, array in one.on_host().items():
            np.testing.assert_array_equal(array, other.on_host()[name])
    (*_, record) = train(again)
    assert isinstance(record, EvalRecord) and record.step == 6 and np.isfinite(record.val_loss)
    assert saved_dtype(tmp_path) == other_dtype


def test_auto_is_saved_as_asked_and_resolved_anew(card, tmp_path):
    list(train(start(tiny(tmp_path, device="cuda", max_iters=1))))
    assert saved_dtype(tmp_path) == "auto"
    state = resume(tmp_path, {"device": "cpu", "max_iters": 2})
    assert state.model.dtype == np.float32 and dtype_in_heading(state) == "float32 (auto: bfloat16 takes a CUDA card)"
    list(train(state))
    card.compute_capability = "75"
    assert OLD in dtype_in_heading(resume(tmp_path, {"device": "cuda"}))
    card.compute_capability = "90"
    state = resume(tmp_path, {"device": "cuda"})
    assert state.model.dtype == dtype_of("bfloat16") and dtype_in_heading(state) == f"bfloat16 (auto: {FASTEST})"
    assert saved_dtype(tmp_path) == "auto"
