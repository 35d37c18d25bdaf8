"""`sample` and `eval` take nanoGPT's configuration files and a run's own flags: what they have too counts."""

import pytest

from tests.test_cli import outcome
from tests.test_nanogpt_files import FINETUNE, TEXT, TINY
from tinygpt.cli import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("trained") / "out"
    assert main(["train", *TINY, f"--out_dir={out_dir}"]) == 0
    return out_dir


@pytest.fixture
def file(tmp_path):
    """Writes a configuration file, and returns its path."""
    return lambda content: (tmp_path / "c.py").write_text(content) and str(tmp_path / "c.py")


def test_sample_takes_the_file_that_trained_the_model_and_trains_flags(file, trained, capsys):
    config = file(f"out_dir = {str(trained)!r}\nn_layer = 1\nmax_iters = 2e3\nwandb_log = False\nseed = 5\n")
    sampling = ["--max_new_tokens=20", "--start=A"]
    status, expected, err = outcome(capsys, "sample", f"--out_dir={trained}", "--seed=5", *sampling)
    assert (status, err) == (0, "")
    status, out, err = outcome(capsys, "sample", config, *sampling)
    assert (status, out) == (0, expected)
    assert err == f"note: {config}: left alone: wandb_log, n_layer, max_iters\n"
    flags = [*TINY, "--learning_rate=1", "--compile=False", f"--out_dir={trained}", "--seed=5", "--tokenizer=char"]
    status, out, err = outcome(capsys, "sample", *flags, *sampling)
    assert (status, out) == (0, expected) and err.startswith("note: left alone, since they are for training: --data, ")
    assert err.count("\n") == 1 and "--compile" in err
    assert outcome(capsys, "sample", config, *sampling, "--seed=6")[1] != expected  # a flag wins
    status, _, err = outcome(capsys, "sample", "--n_layrs=3")
    assert status == 2 and "unknown flag --n_layrs; did you mean --n_layer?" in err


def test_what_a_file_reads_without_setting_it_is_what_the_flags_say(file, trained, capsys):
    config = file(f"out_dir = {str(trained)!r} if n_layer == 1 else f'out-{{n_layer}}'\n")
    assert "there is no folder out-4" in outcome(capsys, "sample", config)[2]
    assert outcome(capsys, "sample", config, "--n_layer=1", "--max_new_tokens=1")[0] == 0


def test_sample_takes_a_file_of_nanogpts_sample(file, trained, tmp_path, capsys):
    (tmp_path / "prompt.txt").write_text("What is")
    config = file(
        f"out_dir = {str(trained)!r}\nstart = 'FILE:{(tmp_path / 'prompt.txt').as_posix()}'\nnum_samples = 2\n"
        "max_new_tokens = 2e1\ntemperature = 1\ntop_k = None\ndtype = 'float16'\ncompile = False\nseed = 1337\n"
    )
    status, out, err = outcome(capsys, "sample", config, "--device=cpu")
    assert status == 0 and out.count("What is") == 2 and out.count("---------------") == 1
    assert "left alone: compile" in err and "dtype is auto" in err
    assert outcome(capsys, "sample", config, "--num_samples=1", "--device=cpu")[1] in out
    status, _, err = outcome(capsys, "sample", file("num_samples = 0\n"), f"--out_dir={trained}")
    assert status == 1 and "c.py: num_samples: 0 is less than 1" in err


@pytest.mark.parametrize("command", ["sample", "eval"])
def test_resume_is_the_run_in_out_dir_in_either_order(command, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # where no out/ is
    more = ["--seed=1", "--max_new_tokens=20"] if command == "sample" else []
    expected = outcome(capsys, command, f"--out_dir={trained}", *more)
    assert expected[0] == 0
    for flags in (
        [f"--out_dir={trained}", "--init_from=resume"],
        ["--init_from=resume", f"--out_dir={trained}"],
        [f"--init_from={trained}"],
    ):
        assert outcome(capsys, command, *flags, *more) == expected
    status, out, err = outcome(capsys, command, f"--init_from={trained}", "--out_dir=Y", *more)
    assert (status, out) == expected[:2]
    assert err == f"note: --out_dir=Y is left alone: --init_from={trained} says which model\n"
    status, _, err = outcome(capsys, command, "--init_from=resume")
    assert status == 1 and "there is no folder out" in err


def test_a_file_that_fine_tunes_samples_what_it_made(file, trained, tmp_path, monkeypatch, capsys):
    config = file(FINETUNE.replace("out-shakespeare", "tuned").replace("gpt2-xl", "nowhere"))
    monkeypatch.chdir(tmp_path)
    status, _, err = outcome(capsys, "sample", config)
    assert status == 1 and "there is no folder nowhere" in err
    status, out, err = outcome(capsys, "sample", config, f"--out_dir={trained}", "--max_new_tokens=3")
    assert status == 0 and "says which model" not in err
    (tmp_path / "tuned").symlink_to(trained)
    status, out, err = outcome(capsys, "sample", config, "--max_new_tokens=3")
    assert status == 0 and "starts from nowhere and trains it in tuned; this is what is in tuned" in err


def test_eval_takes_the_text_that_a_file_trains_on_as_its_validation_part(file, trained, capsys):
    expected = outcome(capsys, "eval", f"--out_dir={trained}")
    assert "(val)" in expected[1]
    config = file(f"out_dir = {str(trained)!r}\ndata = {str(TEXT)!r}\nbatch_size = 4\neval_only = True\n")
    status, out, err = outcome(capsys, "eval", config)
    assert (status, out) == expected[:2] and "left alone: eval_only" in err
    assert "(train and val)" in outcome(capsys, "eval", config, f"--data={TEXT}")[1]
    status, _, err = outcome(capsys, "eval", f"--out_dir={trained}", f"--data={TEXT}", "--dataset=stdlib")
    assert status == 1 and "--data and --dataset were both given" in err


def test_a_tokenizer_that_is_not_the_models_is_refused_and_a_files_is_left_alone(file, trained, capsys):
    status, _, err = outcome(capsys, "sample", f"--out_dir={trained}", "--tokenizer=bpe")
    assert status == 1 and f"--tokenizer=bpe, but that of the model in {trained} is char; leave the flag out" in err
    config = file("tokenizer = 'bpe'\n")
    status, _, err = outcome(capsys, "sample", config, f"--out_dir={trained}", "--max_new_tokens=1")
    assert status == 0 and "left alone: tokenizer" in err


def test_a_preset_is_trains_too_and_what_a_file_reads(file, trained, capsys):
    config = file(f"out_dir = {str(trained)!r} if n_layer == 6 else 'nowhere'\n")
    assert "there is no folder nowhere" in outcome(capsys, "sample", config)[2]
    status, _, err = outcome(capsys, "sample", config, "--preset=baby", "--max_new_tokens=1")
    assert status == 0 and "left alone, since they are for training: --preset" in err


def test_a_model_that_a_file_names_and_a_flag_does_not_is_said(file, trained, capsys):
    """nanoGPT's config/eval_gpt2.py, with a folder of one's own."""
    config = file("eval_only = True\ninit_from = 'gpt2'\n")
    status, _, err = outcome(capsys, "eval", config, f"--out_dir={trained}")
    assert status == 0 and f"says init_from=gpt2; this is what is in {trained}, as --out_dir says" in err
