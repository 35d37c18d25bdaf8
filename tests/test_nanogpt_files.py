"""nanoGPT's configuration files: a run trains with what they say, or does not begin; nothing in them is executed."""

import ast
import json
import warnings
from pathlib import Path

import pytest

from tests.test_cli import outcome
from tinygpt import UserError, checkpoint
from tinygpt.run.config import PRESETS, TrainConfig
from tinygpt.run.expressions import NotEvaluated, evaluate
from tinygpt.run.nanogpt import read_nanogpt_config
from tinygpt.run.nanogpt_defaults import NANOGPTS, OF_SAMPLE, others_than_nanogpts

TEXT = Path(__file__).with_name("memorised.txt")
SHAPE = ["--n_layer=1", "--n_head=2", "--n_embd=16", "--block_size=8", "--bias=False"]
TINY = [
    f"--data={TEXT}", *SHAPE, "--batch_size=4", "--max_iters=2", "--eval_interval=2", "--eval_iters=1",
    "--sample_length=0", "--device=cpu", "--gradient_accumulation_steps=1",
]  # fmt: skip
FINETUNE = """import time

out_dir = 'out-shakespeare'
eval_interval = 5
eval_iters = 40
wandb_log = False
wandb_project = 'shakespeare'
wandb_run_name = 'ft-' + str(time.time())
dataset = 'shakespeare'
init_from = 'gpt2-xl'
always_save_checkpoint = False
batch_size = 1
gradient_accumulation_steps = 32
max_iters = 20
learning_rate = 3e-5
decay_lr = False
"""


@pytest.fixture
def file(tmp_path):
    """Writes a configuration file, and returns its path."""

    def write(content: str, name: str = "c.py") -> str:
        (tmp_path / name).write_text(content, encoding="utf-8")
        return str(tmp_path / name)

    return write


# What is evaluated


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        ("max_iters = 5000\nlr_decay_iters = max_iters", {"max_iters": 5000, "lr_decay_iters": 5000}),
        ("learning_rate = 1e-3\nmin_lr = learning_rate / 10", {"learning_rate": 1e-3, "min_lr": 1e-4}),
        ("dropout = 0.2 if batch_size > 6 else 0.1", {"dropout": 0.2}),
        ("out_dir = 'a' if True else 'b'", {"out_dir": "a"}),
        ("n_layer = 2**3", {"n_layer": 8}),
        ("max_iters = 2e3", {"max_iters": 2000}),
        ("batch_size = 2 * 2; block_size = -(-100 // 8)", {"batch_size": 4, "block_size": 13}),
        ("n_embd = 1 << 8", {"n_embd": 256}),
        ("out_dir = f'out-{batch_size}-{7:03d}-{1e-3:.0e}' + '-' + 'b' * 2", {"out_dir": "out-12-007-1e-03-bb"}),
        ("out_dir = 'out-%d' % 3", {"out_dir": "out-3"}),
        ("n_layer: int = 2", {"n_layer": 2}),
        ("n_layer: int", {}),
        ("batch_size = 8\nbatch_size += 1\nbatch_size *= 2", {"batch_size": 18}),
        ("n_layer, n_head = 6, 3", {"n_layer": 6, "n_head": 3}),
        ("[n_layer, (n_head, n_embd)] = 6, (3, 12)", {"n_layer": 6, "n_head": 3, "n_embd": 12}),
        ("n_layer, n_head = 6, 3\nn_layer, n_head = n_head, n_layer", {"n_layer": 3, "n_head": 6}),
        ("n_layer = n_head = 3", {"n_layer": 3, "n_head": 3}),
        ("betas = (0.8, 0.9)\nbeta1, beta2 = betas", {"beta1": 0.8, "beta2": 0.9}),
        ("betas = [0.8, 0.9]\nbeta1 = betas[-1]", {"beta1": 0.9}),
        ("tokens = 32_768\nbatch_size = tokens // 1024", {"batch_size": 32}),
        ("if 6 > 5 and not False:\n    n_layer = 3\nelse:\n    n_layer = 4", {"n_layer": 3}),
        ("if 2 == 1:\n    n_layer = 3\nelif 2 in (2, 3):\n    n_layer = 4\nelse:\n    n_layer = 5", {"n_layer": 4}),
        ("if __name__ == '__main__':\n    n_layer = 3", {"n_layer": 3}),
        ("block_size = None\nlr_decay_iters = None", {"block_size": None, "lr_decay_iters": None}),
        ("bias = not True; eval_only = 1 < 2 < 3", {"bias": False, "eval_only": True}),
        ("n_layer = int(7 / 2); n_head = max(1, 2)", {"n_layer": 3, "n_head": 2}),
        ("dropout = round(0.26, 1)", {"dropout": 0.3}),
        ("weight_decay = 1\ngrad_clip = float('0.5')", {"weight_decay": 1.0, "grad_clip": 0.5}),
        ("\ufeffn_layer = 2\r\nn_head = 2", {"n_layer": 2, "n_head": 2}),
        ("assert 8 % 2 == 0\npass\n'words'\nn_layer = 2", {"n_layer": 2}),
        ("_width = 3\nn_layer = 2", {"n_layer": 2}),
        ("dtype = 'float32'; device = 'cuda:0'", {"dtype": "float32", "device": "cuda"}),
    ],
)  # fmt: skip
def test_what_nanogpts_python_would_make_of_a_file_is_what_a_run_has(file, content, settings):
    assert read_nanogpt_config(file(content)) == (settings, [])
    names: dict = {"batch_size": 12, "__name__": "__main__"}
    exec(content.removeprefix("\ufeff"), names)  # as nanoGPT reads it
    for name in settings.keys() - {"device"}:
        assert names[name] == settings[name]


def test_values_have_the_types_of_their_settings(file):
    settings, _ = read_nanogpt_config(file("max_iters = 2e3\ndropout = 0\nbias = 1 == 1\nn_layer = 8 // 2"))
    assert [type(value) for value in settings.values()] == [int, float, bool, int]


def test_a_setting_that_a_file_reads_before_it_sets_it_is_the_runs_own_and_that_is_said(file):
    settings, notes = read_nanogpt_config(file("lr_decay_iters = max_iters"))
    assert settings == {"lr_decay_iters": 3000}
    assert notes[0].endswith("c.py reads max_iters without setting it: max_iters=3000 here, 600000 in nanoGPT")
    here = vars(TrainConfig(**PRESETS["gpt2"]))
    assert read_nanogpt_config(file("lr_decay_iters = max_iters"), here) == ({"lr_decay_iters": 600_000}, [])


def test_what_has_no_meaning_here_is_left_alone_even_where_it_cannot_be_evaluated(file):
    content = (
        "import time\nfrom datetime import datetime\nimport os\nn_layer = 2\ncompile = False\nwandb_log = False\n"
        "now = datetime.now()\nwandb_run_name = 'run' + str(time.time()) + now.strftime('%H')\n"
        "wandb_project = os.environ.get('PROJECT', 'owt')\nos.environ['WANDB_MODE'] = 'offline'\nprint(n_layer)\n"
        "import torch\ntorch.backends.cuda.matmul.allow_tf32 = True\n"
    )
    settings, (note,) = read_nanogpt_config(file(content))
    assert settings == {"n_layer": 2}
    for left in (
        "import time",
        "compile, wandb_log, wandb_run_name",
        "os.environ['WANDB_MODE'] =",
        "print(n_layer)",
        "torch.backends",
    ):
        assert left in note


def test_python_has_nothing_to_say_of_a_files_backslashes(file, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_nanogpt_config(file("out_dir = 'a\\d'"))[0] == {"out_dir": "a\\d"}


def test_nanogpts_dtypes_are_those_of_here_with_a_note(file):
    assert read_nanogpt_config(file("dtype = 'bfloat16'")) == ({"dtype": "bfloat16"}, [])
    settings, (note,) = read_nanogpt_config(file("dtype = 'float16'"))
    assert settings == {"dtype": "auto"}
    assert note.endswith(
        "dtype is auto, since float16 needs its gradients scaled: bfloat16 on a card that has it, else float32"
    )


@pytest.mark.parametrize(
    ("content", "settings", "words"),
    [
        (
            "dtype = 'bfloat16' if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else 'float16'",
            {"dtype": "auto"},
            "line 1: dtype is auto: bfloat16 on a card that has it, else float32",
        ),
        (
            "import torch\ndevice = 'cuda' if torch.cuda.is_available() else 'cpu'",
            {"device": "auto"},
            "line 2: device is auto: cuda where there is a card, else cpu",
        ),
        (
            'device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"',
            {"device": "auto"},
            "line 1: device is auto",
        ),
    ],
)
def test_what_pytorch_would_say_of_the_machine_is_auto_with_a_note(file, content, settings, words):
    read, notes = read_nanogpt_config(file(content))
    assert read == settings and words in notes[-1]


def test_what_nanogpts_train_py_has_imported_need_not_be_imported(file):
    """Its files are executed among its own names."""
    settings, (note,) = read_nanogpt_config(file("n_layer = 2\nwandb_run_name = 'ft-' + str(time.time())\n"))
    assert settings == {"n_layer": 2} and note.endswith("left alone: wandb_run_name")


def test_a_file_in_another_encoding_is_said_with_its_line(tmp_path):
    for content, sentence in (
        (b"n_layer = 2\n# caf\xe9\n", "c.py, line 2 is not UTF-8"),
        ("n_layer = 2\r\n".encode("utf-16"), "c.py is text in UTF-16, as Windows may write it; save it as UTF-8"),
    ):
        (tmp_path / "c.py").write_bytes(content)
        with pytest.raises(UserError, match=sentence):
            read_nanogpt_config(str(tmp_path / "c.py"))


def test_a_macbooks_device_is_the_cpu_with_a_note(file):
    settings, (note,) = read_nanogpt_config(file("device = 'mps'\n"))
    assert settings == {"device": "cpu"}
    assert note.endswith("c.py: device is cpu, since Apple's cards are not computed on here")


# What is refused


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("n_layers = 3", "line 1: unknown setting n_layers; did you mean n_layer?"),
        ("n_layers += 3", "line 1: unknown setting n_layers; did you mean n_layer?"),
        ("base = 6e-4\n\nbase *= 2", "line 1: unknown setting base"),
        ("n_layers = 3\nprint(n_layers)", "line 1: unknown setting n_layers"),
        ("min_lr = learning_rat / 10", "learning_rat is not set above .did you mean learning_rate"),
        ("n_layer = 'six'", "line 1: n_layer = 'six'; expected a whole number"),
        ("n_layer = 7 / 2", "n_layer = 7 / 2; expected a whole number, and it is 3.5"),
        ("n_layer = open('x')", r"n_layer = open\('x'\); expected a whole number, but open\(...\) is not called"),
        (
            "import os\n\nn_layer = int(os.environ.get('N', 3))",
            "line 3: .* but os.environ.get.*; write the value itself",
        ),
        ("n_layer = 4 // 0", "4 // 0; expected a whole number"),
        ("n_layer =", "not a configuration file"),
        ("bias = 1", "bias = 1; expected True or False, and it is 1"),
        ("n_layer = {[1]: 2}", "expected a whole number, but a dict is not evaluated"),
        ("n_layer = None", "expected a whole number, and it is None"),
        ("learning_rate = 1" + "0" * 400, "expected a number"),
        ("n_layer = 10**10", r"n_layer = 10\*\*10; expected a whole number of at least 1 and at most 10,000"),
        ("dropout = 1.5", "line 1: dropout = 1.5; expected a probability"),
        ("\nlearning_rate = -1", "line 2: --learning_rate is -1.0; expected at least 0"),
        ("seed = 2**70", "line 1: --seed is 1180591620717411303424; expected at most 18,446,744,073,709,551,615"),
        ("import torch\ndevice = 'cpu' if torch.cuda.is_available() else 'cuda'", "such as 'auto', or leave the line"),
        ("device = 'mps' if torch.backends.mps.is_available() else 'cpu'", "such as 'auto', or leave the line out"),
        ("device = 'cuda' if torch.cuda.is_available() else open('x')", "such as 'auto', or leave the line out"),
        ("n_layer = torch.cuda.device_count()", "line 1: .*torch.cuda.device_count.* is not called"),
        ("n_layer = time", "line 1: n_layer = time; .*but time has no value without executing"),
        ("out_dir = 'a'\nn_layer=3\n\tn_head=3", "assignments such as `n_layer = 6` .line 3: unexpected indent"),
        ("import torch\nif torch.cuda.is_available():\n    n_layer = 3", "line 2: .*whether this is so cannot be told"),
        ("import time\nn = time.time()\nn_layer = n", "line 3: .*but n, from line 2, has no value"),
        ("for i in range(3):\n    n_layer = i", "line 1: for .*: for is not evaluated, and could change a setting"),
        ("while False:\n    n_layer = 3", "while is not evaluated"),
        ("def f():\n    pass", "function def is not evaluated"),
        ("class C:\n    n_layer = 3", "class def is not evaluated"),
        ("with open('x'):\n    n_layer = 3", "with is not evaluated"),
        ("try:\n    n_layer = 3\nfinally:\n    pass", "try is not evaluated"),
        ("match 3:\n    case n_layer:\n        pass", "match is not evaluated"),
        ("del n_layer", "delete is not evaluated"),
        (
            "exec('n_layer = 3')",
            "line 1: exec.*cannot be told, since nothing in the file is executed; write the settings",
        ),
        ("eval('exec(\"n_layer = 3\")')", "cannot be told"),
        ("print(exec('n_layer = 3'))", "cannot be told"),
        ("sorted(['n_layer = 3'], key=exec)", "cannot be told"),
        ("globals()['n_layer'] = 3", "what it changes cannot be told"),
        ("globals().update(n_layer=3)", "cannot be told"),
        ("wandb_run_name = globals().update(n_layer=3)", "whether it changes a setting cannot be told"),
        ("import sys\nsys.modules['__main__'].n_layer = 3", "what it changes cannot be told"),
        ("import sys\nwandb_log = setattr(sys.modules['__main__'], 'n_layer', 3)", "cannot be told"),
        ("import os\nos.sys.modules['m'].__dict__.update(n_layer=3)", "cannot be told"),
        ("wandb_run_name = (n_layer := 3)", "an assignment within an expression is not evaluated"),
        ("print(n_layer := 3)", "cannot be told"),
        ("n_layer, *rest = 3, 4", "which name gets which value cannot be told"),
        ("n_layer, n_head = 3", "which name gets which value cannot be told"),
        ("n_layer: exec('n_head = 3') = 2", "its annotation is not evaluated"),
        ("from base import *", "what it brings is not read, and could be a setting"),
        ("from base import n_layer", "what it brings is not read, and could be a setting"),
        ("sizes = [1]\nsizes.append(6)\nn_layer = sizes[-1]", "line 2: sizes.append"),
        ("sizes = [1]\nsizes += [6]\nn_layer = sizes[-1]", "line 2: .*a list that is changed is not followed"),
        ("a = [1]; b = a\nb += [2]\nn_layer = len(a)\nwandb_run_name = str(b)", "line 2: b .*is not followed"),
        ("torch = 3\ndevice = 'cuda' if torch.cuda.is_available() else 'cpu'", "such as 'auto', or leave the line out"),
        ("assert n_layer > 100", "line 1: assert n_layer > 100: this does not hold"),
        ("int = 3\nn_layer = int(2.5)", r"int\(...\) is not called"),
        ("mine = 'lessons/work'", "mine makes a run execute files"),
        ("data = 'x'\nmine_unchecked: bool = True", "line 2: mine_unchecked makes a run execute files"),
    ],
)
def test_what_cannot_be_evaluated_and_could_change_a_run_is_an_error_with_its_line(file, content, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        read_nanogpt_config(file(content))
    assert len(str(error.value)) < 400 and "c.py" in str(error.value)


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9", "2**10**10", "1 << 10**9", "'a' * 10**9", "10**9 * 'a'", "(1,) * 10**9", "[1] * 2000",
        "f'{1:>1000000000}'", "f'{1:{10**9}}'", "f'{1.0:.1000000}'", "'%1000000000d' % 1", "'%*d' % (10**9, 1)",
        "round(5, -10**9)", "int('9' * 5000)", "((1, 2), 3)", "b'x'", "1j", "(-8) ** 0.5", "10 ** -400 / 0",
        "1 is 1", "lambda: 1", "[i for i in 'ab']", "{1}", "x.y", "'a'.join('b')", "'abc'[0:2]", "...",
    ],
)  # fmt: skip
def test_nothing_that_an_expression_asks_for_grows_large(expression):
    with pytest.raises(NotEvaluated):
        evaluate(ast.parse(expression, mode="eval").body, lambda name: name)


# What a run has other than nanoGPT


def test_nanogpts_settings_are_settings_here():
    assert NANOGPTS.keys() <= vars(TrainConfig()).keys() and not OF_SAMPLE.keys() & vars(TrainConfig()).keys()
    TrainConfig(**NANOGPTS | {"dtype": "bfloat16"})


def test_all_that_is_other_than_in_nanogpt_and_that_nobody_set_is_listed():
    assert others_than_nanogpts(TrainConfig(), set()) == [
        "eval_interval=250 (2000)", "log_interval=10 (1)", "eval_iters=20 (200)",
        "always_save_checkpoint=False (True)", "dataset=stdlib (openwebtext)", "gradient_accumulation_steps=1 (40)",
        "block_size=64 (1024)", "n_layer=4 (12)", "n_head=4 (12)", "n_embd=128 (768)",
        "activation_function=gelu_new (gelu)", "learning_rate=0.003 (0.0006)", "max_iters=3000 (600000)",
        "beta2=0.99 (0.95)", "warmup_iters=100 (2000)", "lr_decay_iters=3000 (600000)", "min_lr=0.0003 (6e-05)",
        "device=auto (cuda)", "dtype=auto (bfloat16 or float16)",
    ]  # fmt: skip


def test_what_is_set_or_comes_out_equal_or_comes_from_a_model_is_not_listed():
    def listed(*named, **settings):
        lines = others_than_nanogpts(TrainConfig(**settings), {*settings, *named})
        return {line.partition("=")[0] for line in lines}

    assert not listed() & {"batch_size", "dropout", "weight_decay", "out_dir", "init_from", "bias", "eval_only"}
    assert not listed("n_layer", "device") & {"n_layer", "device"}
    assert "min_lr" not in listed(learning_rate=6e-4) and "lr_decay_iters" not in listed(max_iters=600_000)
    assert "dataset" not in listed(data="my.txt")
    shape = {"n_layer", "n_head", "n_embd", "block_size", "activation_function"}
    assert shape <= listed() and not shape & listed(init_from="gpt2") and not shape & listed(init_from="some/folder")
    assert listed(init_from="resume") == set()


def note_of(out: str, begins: str) -> str:
    return next((line for line in out.splitlines() if line.startswith(f"note: {begins}")), "")


def test_a_run_says_in_one_note_what_neither_its_file_nor_a_flag_set(file, tmp_path, capsys):
    config = file("n_layer = 1\nlearning_rate = 1e-2\nbeta2 = 0.95\n")
    flags = [f"--out_dir={tmp_path / 'out'}", "--dtype=float32"]
    status, out, err = outcome(capsys, "train", config, *TINY, *flags)
    assert status == 0, err
    note = note_of(out, "not set by")
    assert note == (
        f"note: not set by {config}, and other here than in nanoGPT (its value in brackets): log_interval=10 (1), "
        "always_save_checkpoint=False (True), activation_function=gelu_new (gelu), warmup_iters=100 (2000), "
        "lr_decay_iters=2 (600000), min_lr=0.001 (6e-05)"
    )
    out = outcome(capsys, "train", config, "--preset=baby", *TINY, *flags)[1]
    assert note_of(out, f"set by neither {config} nor --preset=baby, and other").count(" (") == 7
    resumed = file("max_iters = 4\n")
    out = outcome(capsys, "train", resumed, "--init_from=resume", *flags[:1])[1]
    assert "resumed at step 2" in out and "other here than" not in out


def test_a_config_file_of_nanogpts_is_read_and_flags_override_it(file, tmp_path, capsys):
    config = file(
        '"""A tiny run."""\nimport time\n\nn_layer = 2  # blocks\nn_head = n_embd = 8\nbatch_size = 2 * 2\n'
        "learning_rate = 1\nwandb_log = False\nwandb_run_name = 'run' + str(time.time())\ndropout = 0.0\n"
    )
    flags = ["--n_embd=16", f"--out_dir={tmp_path}", "--compile=False"]
    status, out, err = outcome(capsys, "train", config, *TINY, *flags)
    assert status == 0, err
    assert err == "" and "left alone: import time, wandb_log, wandb_run_name" in out
    assert "--compile has no meaning here" in out
    saved = json.loads(next((tmp_path / "last").glob("*/state.json")).read_text())["config"]
    assert saved["n_embd"] == 16 and saved["n_layer"] == 1 and saved["dropout"] == 0.0
    settings, _ = read_nanogpt_config(config)
    assert settings == {"n_layer": 2, "n_head": 8, "n_embd": 8, "batch_size": 4, "learning_rate": 1.0, "dropout": 0.0}


def test_a_flag_that_says_what_the_text_is_goes_before_the_files(file, tmp_path, capsys):
    config = file("data = 'nowhere.txt'\n")
    assert "nowhere.txt" in outcome(capsys, "train", config, *TINY[1:], f"--out_dir={tmp_path / 'a'}")[2]
    flags = ["--dataset=addition", "--block_size=16", f"--out_dir={tmp_path / 'b'}"]
    assert outcome(capsys, "train", config, *TINY[1:], *flags)[0] == 0


def test_a_text_that_is_not_there_is_said_before_a_model_is_fetched_for_it(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoint, "download", lambda *_: pytest.fail("six gigabytes are fetched"))
    status, _, err = outcome(capsys, "train", file(FINETUNE))
    assert status == 1 and "There is no dataset 'shakespeare' (did you mean shakespeare_char?)" in err
    status, _, err = outcome(capsys, "train", "--init_from=gpt2-xl", "--data=nowhere.txt")
    assert status == 1 and "There is no file nowhere.txt" in err


def test_nanogpts_fine_tuning_reads_as_it_stands(file):
    settings, (note,) = read_nanogpt_config(file(FINETUNE))
    assert settings["init_from"] == "gpt2-xl" and settings["gradient_accumulation_steps"] == 32
    assert note.endswith("left alone: import time, wandb_log, wandb_project, wandb_run_name")
    listed = others_than_nanogpts(TrainConfig(**settings), set(settings))
    assert not any(line.startswith(("n_layer", "init_from", "dataset", "out_dir")) for line in listed)
