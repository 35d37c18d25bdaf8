import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import children
from tinygpt import GPT, GPTConfig, cli
from tinygpt.cli import main
from tinygpt.run import screens
from tinygpt.run.metrics import plot

ROOT = Path(__file__).parents[1]
TEXT = Path(__file__).with_name("memorised.txt")
TINY = [
    f"--data={TEXT}", "--n_layer=1", "--n_head=2", "--n_embd=16", "--block_size=8", "--batch_size=4", "--max_iters=6",
    "--eval_interval=3", "--eval_iters=2", "--log_interval=2", "--sample_length=20", "--device=cpu",
]  # fmt: skip


NEEDS_DEV_ZERO = pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no endless device")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("trained")
    assert main(["train", *TINY, f"--out_dir={out_dir}"]) == 0
    return out_dir


def outcome(capsys, *arguments) -> tuple[int, str, str]:
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as exit:
        status = exit.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


# train


def test_a_run_shows_what_it_does_and_writes_it_down(tmp_path, capsys):
    status, out, err = outcome(capsys, "train", *TINY, "--out_dir", tmp_path, "--seed", 3)
    assert status == 0 and err == ""
    for expected in (
        "corpus      memorised.txt: 2,380 characters",
        "vocabulary  ",
        "1 layer, 2 heads, 16 channels",
        "32 tokens (4 sequences of 8)",
        "writes to",
        "step      0  train loss",
        "best so far",
        "tokens/s",
        " left",
        "best val loss",
        "tinygpt sample",
        "--init_from=resume",
        "--preset=baby",
    ):
        assert expected in out, expected
    assert "\x1b" not in out and "\r" not in out  # not a terminal: no control characters
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 6, 6]
    assert {path.name for path in tmp_path.iterdir()} >= {"best", "last", "metrics.jsonl"}
    model = {"config.json", "generation_config.json", "model.safetensors"}
    tokens = {"tokenizer.tinygpt.json", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in (tmp_path / "best").iterdir()} == model | tokens


def test_flags_take_both_forms_and_override_the_preset(tmp_path, capsys):
    flags = ["--bias", "False", "--bias=True", "--dropout", "0.1", "--learning_rate=5e-3"]
    assert outcome(capsys, "train", "--preset", "baby", *TINY, *flags, "--out_dir", tmp_path)[0] == 0
    config = json.loads(next((tmp_path / "last").glob("*/state.json")).read_text())["config"]
    assert config["bias"] is True and config["dropout"] == 0.1 and config["learning_rate"] == 5e-3
    assert config["n_layer"] == 1 and config["beta2"] == 0.99


def test_a_second_run_sets_the_first_aside_and_resuming_continues_it(tmp_path, capsys):
    for _ in range(2):
        status, out, _ = outcome(capsys, "train", *TINY, "--out_dir", tmp_path)
    assert status == 0 and f"note: the earlier run in {tmp_path} is kept in {tmp_path / 'run-1'}" in out
    status, out, _ = outcome(
        capsys, "train", "--init_from=resume", "--out_dir", tmp_path, "--max_iters=8", "--sample_length=0"
    )
    assert status == 0 and "note: resumed at step 6" in out and "step      8" in out
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 6, 6, 7, 8, 8]


def test_what_a_killed_run_wrote_after_its_last_save_is_dropped_from_the_metrics(tmp_path, capsys):
    assert outcome(capsys, "train", *TINY, "--out_dir", tmp_path)[0] == 0
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(
            '5\n{"step": 6, "loss": 1.0, "kept": true}\n{"step": 8, "loss": 1.0}\n{"step": 9, "val_loss": 1.0, "train'
        )
    assert outcome(capsys, "train", "--init_from=resume", "--out_dir", tmp_path, "--max_iters=7")[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 6, 6, 6, 7, 7]


def test_a_finished_run_says_how_to_go_on(trained, capsys):
    status, _, err = outcome(capsys, "train", "--init_from=resume", "--out_dir", trained)
    assert status == 1 and re.fullmatch(r"error: .*has finished its 6 steps; to go on, give --max_iters more.*\n", err)


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["train", "--n_layers=3"], 2, "unknown flag --n_layers; did you mean --n_layer?"),
        (["train", "--n_layer=six"], 2, "n_layer"),
        (["train", "--bias=maybe"], 2, "'maybe' is neither True nor False"),
        (["train", "--n_layer"], 2, "expected one argument"),
        (["train", "--preset=huge"], 2, "'huge'"),
        (["train", "nowhere.py"], 1, "could not read the configuration file nowhere.py"),
        (["train", "--data=nowhere.txt"], 1, "nowhere.txt"),
        (["train", "--dataset=stdlb"], 1, "did you mean stdlib"),
        (["train", "--device=cuda"], 1, "cuda"),
        (["train", "--n_head=3"], 1, "n_embd is 128 and n_head is 3"),
        (["train", "--init_from=resume", "--out_dir=nowhere"], 1, "nowhere holds no run to resume"),
        (["sample", "--out_dir=nowhere"], 1, "there is no folder nowhere"),
        (["sample", "--temprature=1"], 2, "did you mean --temperature?"),
        (["sample", "--num_samples=0"], 2, "0 is less than 1"),
        (["sample", "--threads=1000000000"], 2, "1000000000 is more than 1,024"),
        (["sample", f"--seed={2**64}"], 2, "is more than 18,446,744,073,709,551,615"),
        (["eval", "--batch_size=1000000000"], 2, "1000000000 is more than 1,000,000"),
        (
            ["train", "--n_layer=1000000000"],
            1,
            "n_layer is 1000000000; expected a whole number of at least 1 and at most 10,000",
        ),
        (["train", "--gradient_accumulation_steps=1000000000"], 1, "expected at most 100,000"),
        (["sample", "--top_k=0"], 1, "top_k is 0"),
        (["eval", "--out_dir=nowhere"], 1, "there is no folder nowhere"),
        (["info", "--preset=gpt5"], 2, "'gpt5'"),
        (["train", "--out_dir="], 1, "--out_dir is empty"),
        (["train", "--data=a.txt", "--dataset=stdlib"], 1, "--data and --dataset were both given"),
        (["train", "--n_embd=4000000000"], 1, "parameters, more than any machine holds"),
        (["dance"], 2, "dance"),
        ([], 2, "required"),
    ],
)
def test_mistakes_get_one_sentence(arguments, status, sentence, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "cupy", None)
    actual, _, err = outcome(capsys, *arguments)
    assert actual == status and sentence in err, err
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
    assert not list(tmp_path.iterdir())  # and nothing was written


def test_a_mistake_overwrites_nothing(trained, capsys):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    for mistake in (
        ["--block_size=5000"],
        ["--n_head=3"],
        ["--data=nowhere.txt"],
        ["--init_from=resume", "--n_layer=7"],
        ["--device=tpu"],
    ):
        assert outcome(capsys, "train", *TINY, f"--out_dir={trained}", *mistake)[0] == 1
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


def test_a_damaged_checkpoint_is_named_and_left_alone(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    moments = next((tmp_path / "run" / "last").glob("*/moments.safetensors"))
    moments.write_bytes(moments.read_bytes()[:-10])
    weights = tmp_path / "run" / "best" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for command in (["train", "--init_from=resume", "--max_iters=9"], ["sample"], ["eval", f"--data={TEXT}"]):
        status, _, err = outcome(capsys, *command, f"--out_dir={tmp_path / 'run'}")
        assert status == 1 and "safetensors is damaged" in err and err.count("\n") == 1
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_model_flags_that_do_not_fit_the_model_started_from_are_refused(trained, tmp_path, capsys):
    arguments = [*TINY, f"--out_dir={tmp_path / 'new'}", f"--init_from={trained}"]
    status, _, err = outcome(capsys, "train", *arguments, "--n_layer=3")
    assert status == 1 and "--n_layer=3 does not fit the model in" in err and "which has n_layer=1" in err
    assert not (tmp_path / "new").exists()
    assert outcome(capsys, "train", *arguments)[0] == 0


def test_the_text_that_a_model_cannot_read_is_named(trained, tmp_path, capsys):
    arguments = ["train", f"--init_from={trained}", f"--out_dir={tmp_path / 'new'}"]
    status, _, err = outcome(capsys, *arguments)
    assert status == 1 and "stdlib cannot be used with the model in" in err and "choose the text with --data" in err


def test_hints_carry_the_runs_own_text_and_leave_out_what_is_no_bigger(tmp_path, capsys):
    out = outcome(capsys, "train", *TINY, f"--out_dir={tmp_path}", "--tokenizer=bpe", "--vocab_size=260")[1]
    assert (
        f"--preset=baby --data={screens.quoted(str(TEXT))} --tokenizer=bpe --vocab_size=260 --out_dir=out-baby" in out
    )


def test_help_names_every_flag_with_its_default(capsys):
    status, out, _ = outcome(capsys, "train", "--help")
    assert status == 0
    for flag in (
        "n_layer batch_size block_size max_iters learning_rate min_lr warmup_iters lr_decay_iters weight_decay beta1 "
        "beta2 grad_clip gradient_accumulation_steps dropout bias eval_interval eval_iters eval_only log_interval "
        "decay_lr always_save_checkpoint init_from out_dir device dtype seed threads kernels activation_function "
        "dataset data preset"
    ).split():
        assert f"--{flag} " in out, flag
    assert "(default: 0.003)" in out and "optimisation:" in out and "baby" in out


# sample, eval, info


def test_sampling_prints_the_prompt_and_what_follows(trained, capsys):
    arguments = ["sample", "--out_dir", trained, "--start=A model", "--max_new_tokens=30", "--seed=5"]
    status, out, _ = outcome(capsys, *arguments)
    assert status == 0 and out.startswith("A model") and len(out) == 7 + 30 + 1
    assert outcome(capsys, *arguments)[1] == out
    status, out, _ = outcome(capsys, *arguments, "--num_samples=3", "--temperature=1.2", "--top_p=0.9")
    assert out.count("\n---------------\n") == 2 and len(set(out.split("\n---------------\n"))) == 3


def test_a_prompt_comes_from_a_file_and_a_stop_text_ends_the_sample(trained, capsys, tmp_path):
    (tmp_path / "prompt.txt").write_text("How does")
    arguments = ["sample", "--out_dir", trained, f"--start=FILE:{tmp_path / 'prompt.txt'}", "--seed=1"]
    out = outcome(capsys, *arguments)[1]
    assert out.startswith("How does")
    stop = out[20:22]
    assert outcome(capsys, *arguments, f"--stop={stop}")[1] == "How does" + out[8:].split(stop)[0] + "\n"


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        ("é", "'é'"),
        ("", "the prompt is empty"),
        ("FILE:nowhere.txt", "could not read the prompt from nowhere.txt"),
        pytest.param("FILE:/dev/zero", "more than 16,777,216 bytes", marks=NEEDS_DEV_ZERO),
    ],
)
def test_prompts_that_cannot_be_are_explained(trained, capsys, start, sentence):
    status, _, err = outcome(capsys, "sample", "--out_dir", trained, f"--start={start}")
    assert status == 1 and sentence in err and err.count("\n") == 1


def test_eval_counts_every_token_of_a_text_once(trained, capsys, tmp_path):
    from tinygpt.train import load_model

    (tmp_path / "text.txt").write_text("What is the loss?")
    status, out, _ = outcome(capsys, "eval", "--out_dir", trained, "--data", tmp_path / "text.txt", "--batch_size=2")
    model, tokenizer = load_model(trained, "cpu")
    ids = tokenizer.encode("What is the loss?").astype(np.int64)
    pairs = [(ids[i : i + 8], ids[i + 1 : i + 9]) for i in range(0, len(ids) - 1, 8)]
    nats = sum(float(model.loss(x[None, : len(y)], y[None], 1, need_grad=False)[0]) for x, y in pairs)
    loss = nats / (len(ids) - 1)
    assert status == 0 and f"loss                {loss:.4f} nats per token" in out
    assert f"{np.exp(loss):.4f} per token" in out and f"bits per character  {loss / np.log(2):.4f}" in out


def test_eval_without_a_text_takes_the_runs_own_validation_part(trained, capsys):
    status, out, _ = outcome(capsys, "eval", "--out_dir", trained)
    assert status == 0 and "memorised.txt (val), 237 tokens predicted" in out
    status, _, err = outcome(capsys, "eval", "--out_dir", trained / "best")
    assert status == 1 and "does not say what it was trained on; give --data FILE" in err


def test_eval_of_a_model_without_a_tokenizer_on_a_text_is_refused(tmp_path, capsys):
    GPT(GPTConfig(8, 500, 1, 1, 8)).save_pretrained(tmp_path)
    status, _, err = outcome(capsys, "eval", "--out_dir", tmp_path, f"--data={TEXT}")
    assert status == 1 and "nothing beside it says which; give --tokenizer=" in err


def test_info_of_presets_and_of_a_checkpoint(trained, capsys):
    assert "124,439,808" in outcome(capsys, "info", "--preset=gpt2")[1]
    assert "1,557,611,200" in outcome(capsys, "info", "--preset=gpt2-xl")[1]
    assert "808,192" in outcome(capsys, "info")[1]
    assert "n_layer=1, n_head=2, n_embd=16" in outcome(capsys, "info", "--out_dir", trained)[1]


def test_control_characters_from_a_model_do_not_reach_the_terminal():
    assert screens.printable("a\x1b[2Jb\tc\n\x07é") == "a\ufffd[2Jb\tc\n\ufffdé"


def test_durations_are_said_as_people_say_them():
    assert [screens.duration(s) for s in (4.4, 125, 3720)] == ["4 s", "2 min 5 s", "1 h 2 min"]


# A real process: interrupts, terminals, pipes


WIDE = os.environ | {"COLUMNS": "100"}
LONG = [*TINY, "--max_iters=1000000", "--eval_interval=1000000", "--sample_length=0", "--eval_iters=1"]


def training(*arguments):
    return children.started(ROOT / "train.py", *arguments, env=WIDE)


def until(process, words):
    """Reads what a process says until a line has these words."""
    while words not in (line := process.stdout.readline()):
        assert line, f"it ended without saying {words!r}"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to another process")
def test_ctrl_c_saves_the_last_whole_step_and_says_how_to_resume(tmp_path):
    with training(*LONG, f"--out_dir={tmp_path}") as process:
        until(process, "tokens/s")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130 and err == ""
    stopped = re.search(r"stopped, saved at step ([\d,]+); go on with: python .*train.py --init_from=resume", out)
    step = int(stopped[1].replace(",", ""))
    meta = json.loads(next((tmp_path / "last").glob("*/state.json")).read_text())
    assert meta["step"] == step


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to another process")
@pytest.mark.parametrize("log_interval", [2, 1_000_000])  # the closed pipe is met by the next line, or by the last
def test_ctrl_c_saves_even_if_whoever_read_the_output_is_gone(tmp_path, log_interval):
    """As in `python train.py | tee log`, where the same Ctrl-C ends both."""
    with training(*LONG, f"--log_interval={log_interval}", f"--out_dir={tmp_path}") as process:
        until(process, "tokens/s")
        process.stdout.close()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130 and process.stderr.read() == ""
    assert not (tmp_path / "last" / "current").read_text().startswith("step-00000000")


def test_a_run_into_a_closed_pipe_stops_and_is_saved(tmp_path):
    with training(*LONG, f"--out_dir={tmp_path}") as process:
        assert process.stdout.readline()
        process.stdout.close()  # as `| head -1` does
        assert process.wait() == 1 and process.stderr.read() == ""
    assert (tmp_path / "last" / "current").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to another process")
def test_a_second_ctrl_c_leaves_at_once(tmp_path):
    slow = ["--n_embd=512", "--n_head=1", "--block_size=128", "--batch_size=64", "--n_layer=3"]  # seconds for a step
    with training(*LONG, *slow, f"--out_dir={tmp_path}") as process:
        until(process, "step      0  train loss")
        process.send_signal(signal.SIGINT)
        until(process, "stopping with the last whole step; Ctrl-C again leaves at once")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130 and "left at once; the last save is of step 0" in process.stdout.read()
    assert (tmp_path / "last" / "current").read_text().startswith("step-00000000.1")  # the last save is intact


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_on_a_terminal_a_progress_line_lives_below_the_evaluations(tmp_path):
    with children.Terminal(ROOT / "train.py", *TINY, f"--out_dir={tmp_path}", env=WIDE) as terminal:
        text = terminal.rest()
    assert terminal.status == 0
    assert "\x1b[" in text and "step 6 of 6" in text and "tokens/s" in text and "best val loss" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor comes back


def test_output_into_a_closed_pipe_is_no_traceback(trained):
    arguments = ["-m", "tinygpt", "sample", f"--out_dir={trained}", "--max_new_tokens=2000"]
    with children.started(*arguments, cwd=ROOT) as process:
        assert process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait() == 1


def test_a_redirected_stream_of_another_encoding_is_no_traceback(tmp_path):
    text = tmp_path / "greek.txt"
    text.write_text("\u03b1\u03b2\u03b3 \u03b4\u03b5\n" * 200, encoding="utf-8")
    encodings = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"}
    arguments = [ROOT / "train.py", *TINY, f"--data={text}", f"--out_dir={tmp_path / 'out'}"]
    done = children.run(*arguments, env=os.environ | encodings, encoding="cp1252")
    assert done.returncode == 0 and done.stderr == ""


def test_commands_to_type_quote_what_a_shell_would_cut():
    assert screens.out_dir_flag("out") == "" and screens.out_dir_flag("out-2") == " --out_dir=out-2"
    assert screens.out_dir_flag("my run") in (" --out_dir='my run'", ' --out_dir="my run"')


def test_the_loss_is_drawn_where_matplotlib_is_installed(trained):
    pytest.importorskip("matplotlib", reason="matplotlib, the `plot` extra, is not installed")
    content = (trained / "loss.png").read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) > 5000


def test_without_matplotlib_there_is_no_plot_and_no_complaint(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert plot(trained) is None


def test_every_command_is_reached_by_name():
    parser = cli._parser(None)
    assert {"train", "sample", "eval", "info"} <= set(parser._subparsers._group_actions[0].choices)
