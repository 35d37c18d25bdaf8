"""A reader's own parts in a run: each in its place, and named as theirs where it was used."""

import ast
import hashlib
import inspect
import json

import numpy as np
import pytest

from lessons.exercises import Exercise
from tests.own_parts import PROJECT, PYTHON, TEXT, fill, loaded, run, spoil
from tinygpt.cli import main
from tinygpt.data import load_corpus
from tinygpt.errors import UserError
from tinygpt.gradcheck.edits import edited
from tinygpt.gradcheck.mutants import mutants
from tinygpt.ops import build
from tinygpt.own_layers import PARTS, load_own_layers
from tinygpt.own_layers.places import STEPS, before
from tinygpt.tokenizer import BPETokenizer
from tinygpt.train import resume

LAYER_MUTANTS = [  # of some layers; that each is named is shown where the diagnosis is
    next(mutant for mutant in mutants(name) if mutant.family != "forward")
    for name in ("linear", "layernorm", "embedding", "cross_entropy", "attention")
]


def test_a_run_with_every_part_of_the_readers_own_is_the_reference_run(tmp_path, monkeypatch):
    fill(tmp_path)
    settings = {"tokenizer": "bpe", "vocab_size": 290}
    mine, _, own = run(tmp_path, monkeypatch, mine=str(tmp_path), **settings)
    reference, *_ = run(tmp_path, monkeypatch, kernels="reference", **settings)
    assert set(own.used) == set(PYTHON)
    assert len(mine) == 20 and mine[-1] < mine[0] - 0.3
    np.testing.assert_allclose(mine, reference, rtol=0, atol=1e-10)


def test_every_part_is_really_used(tmp_path, monkeypatch):
    """Each file leaves a file when it is called: all are, in one run and a sample from it, or in the others' checks."""
    fill(tmp_path)
    for name, part in PYTHON.items():
        path = tmp_path / f"{name}.py"
        path.write_text(path.read_text(encoding="utf-8") + NOISY.format(part=part.functions), encoding="utf-8")
    checked = load_own_layers(tmp_path, names=("numerical_gradient", "gelu"))
    assert (tmp_path / "numerical_gradient.numerical_gradient").exists() and checked.asked
    assert checked.summary() == "numerical_gradient in the checks"
    digests = {name: hashlib.sha256((tmp_path / f"{name}.py").read_bytes()).hexdigest() for name in PYTHON}
    own = load_own_layers(tmp_path, known=digests)
    for said in tmp_path.glob("*.*"):
        if said.suffix != ".py":
            said.unlink()
    _, state, _ = run(tmp_path, monkeypatch, own, max_iters=2, tokenizer="bpe", vocab_size=270)
    state.model.generate(np.array([[1, 2, 3]]), 4, top_p=0.9, seed=1)
    quiet = {name: {f for f in PARTS[name].functions if not (tmp_path / f"{name}.{f}").exists()} for name in own.used}
    assert {name for name in quiet if quiet[name]} == {"numerical_gradient", "ring_step", "softmax", *STEPS}
    assert quiet["softmax"] == {"backward"}  # it serves in sampling alone
    called = own.called()
    assert {name: set(PARTS[name].functions) - called.get(name, {}).keys() for name in own.used} == quiet
    assert own.summary() == ", ".join(called)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_stands_in_the_place_of_what_it_leads_to(name, tmp_path, monkeypatch):
    fill(tmp_path, name, *before(name))
    own = loaded(tmp_path)
    for other in before(name):
        run(tmp_path, monkeypatch, own, max_iters=1)
        assert name not in own.called() and other in own.called()
        own.calls.clear()
        del own.used[other]
    mine, _, _ = run(tmp_path, monkeypatch, own, max_iters=4, dropout=0.0, kernels="reference")
    reference, *_ = run(tmp_path, monkeypatch, max_iters=4, dropout=0.0, kernels="reference")
    assert list(own.called()) == [name] and len(mine) == 4
    np.testing.assert_allclose(mine, reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["head", "causal_head", "multi_head"])
def test_where_weights_are_dropped_a_step_is_not_used_and_not_named(name, tmp_path, monkeypatch):
    own = loaded(fill(tmp_path, name))
    mine, state, _ = run(tmp_path, monkeypatch, own, max_iters=2, eval_only=False, kernels="reference")
    reference, *_ = run(tmp_path, monkeypatch, max_iters=2, kernels="reference")
    assert mine == reference and "backward" not in own.called()[name]  # evaluation drops nothing


@pytest.mark.parametrize(
    "name, changes",
    [
        ("dropout", {"dropout": 0.0}),
        ("merge", {}),
        ("draw", {}),
        ("attention_decode", {}),
        ("cosine_schedule", {"decay_lr": False}),
    ],
)
def test_what_a_run_has_no_use_for_is_not_named(name, changes, tmp_path, monkeypatch):
    own = loaded(fill(tmp_path, name))
    run(tmp_path, monkeypatch, own, max_iters=1, **changes)
    assert own.summary() == "nothing: the run had no use for it" and list(own.used) == [name]


NOISY = """
import pathlib

def _noisy(name, function):
    def noisy(*arguments, **options):
        pathlib.Path(__file__).with_suffix("." + name).touch()
        return function(*arguments, **options)
    return noisy

for _name in {part}:
    globals()[_name] = _noisy(_name, globals()[_name])
"""


@pytest.mark.parametrize("mutant", LAYER_MUTANTS, ids=lambda mutant: f"{mutant.layer}-{mutant.name}")
def test_a_wrong_layer_among_right_ones_is_named_and_left_out(mutant, tmp_path):
    fill(tmp_path, "linear", mutant.layer)
    path = tmp_path / f"{mutant.layer}.py"
    path.write_text(ast.unparse(edited(path.read_text(encoding="utf-8"), mutant.edits)), encoding="utf-8")
    mine = loaded(tmp_path)
    assert list(mine.left_out) == [mutant.layer] and mine.left_out[mutant.layer].endswith(mutant.says)
    assert set(mine.used) == {"linear"} - {mutant.layer}


def test_a_wrong_layer_that_is_asked_for_all_the_same_is_taken_in(tmp_path):
    fill(tmp_path, "linear", "layernorm")
    spoil(tmp_path, "layernorm", "- xhat * along)", ")")
    own = loaded(tmp_path, unchecked=True)
    assert set(own.used) == {"linear", "layernorm"} and set(own.unchecked) == {"layernorm"}


def test_the_command_names_yours_leaves_out_the_wrong_and_takes_it_in_when_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(PROJECT)
    fill(tmp_path, "gelu", "attention", "layernorm")
    spoil(tmp_path, "layernorm", "- xhat * along)", ")")
    (tmp_path / "attention.py").write_text(Exercise("attention", 0).blank(), encoding="utf-8")
    flags = (
        f"--data={TEXT} --n_layer=1 --n_head=2 --n_embd=16 --block_size=8 --batch_size=4 --max_iters=2 --eval_iters=1 "
        f"--log_interval=1 --sample_length=20 --device=cpu --threads=1 --mine={tmp_path} --out_dir={tmp_path / 'out'}"
    ).split()
    assert main(["train", *flags]) == 0
    out = capsys.readouterr().out
    assert f"loaded      gelu, from {tmp_path}\n" in out and "used of yours: gelu\n" in out
    assert "layernorm.py does not pass its check and is left out: dx lacks the term through the variance" in out
    assert f"not written yet in {tmp_path}: attention" in out
    assert main(["train", *flags, "--mine-unchecked"]) == 0
    out = capsys.readouterr().out
    assert "used of yours: layernorm, gelu\n" in out and "is taken in all the same: dx lacks the term" in out
    losses = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1]["val_loss"] > 0
    assert main(["sample", f"--mine={tmp_path}", f"--out_dir={tmp_path / 'out'}", "--max_new_tokens=5"]) == 0
    err = capsys.readouterr().err
    assert "layernorm.py does not pass its check and is left out" in err and "note: used of yours: gelu\n" in err


def test_a_resumed_run_goes_on_with_the_readers_parts_only_if_they_are_asked_for_again(tmp_path, monkeypatch, capsys):
    """A folder that somebody gives you may say anything: what it says never makes code run."""
    fill(tmp_path, "adamw_update")
    _, state, own = run(tmp_path, monkeypatch, mine=str(tmp_path), max_iters=2)
    assert list(own.used) == ["adamw_update"]
    assert inspect.getfile(inspect.unwrap(state.optimizer.update)) == str(tmp_path / "adamw_update.py")
    out_dir = state.config.out_dir
    ran = tmp_path / "ran"
    with (tmp_path / "adamw_update.py").open("a", encoding="utf-8") as file:
        file.write(f"\nopen({str(ran)!r}, 'w').close()\n")
    more = ["train", "--init_from=resume", f"--out_dir={out_dir}", "--max_iters=4"]
    assert main(more) == 1
    says = capsys.readouterr().err
    assert (
        f"the run in {out_dir} used parts of yours from {tmp_path}" in says and f"give --mine={tmp_path} again" in says
    )
    assert says.count("\n") == 1 and not ran.exists()
    assert main([*more, f"--mine={tmp_path}"]) == 0
    assert "used of yours: adamw_update\n" in capsys.readouterr().out and ran.exists()
    with pytest.raises(UserError, match="is for the command line; from Python give the parts themselves"):
        resume(out_dir, {"max_iters": 6})
    assert resume(out_dir, {"max_iters": 6}, own.parts).step == 4
    ran.unlink()
    assert main([*more[:-1], "--max_iters=6", "--mine="]) == 0
    assert "yours" not in capsys.readouterr().out and not ran.exists()


def test_a_configuration_file_cannot_ask_for_code_to_be_run(tmp_path, capsys):
    config = tmp_path / "config.py"
    config.write_text(f"mine = {str(tmp_path)!r}\n", encoding="utf-8")
    assert main(["train", str(config), f"--out_dir={tmp_path / 'out'}"]) == 1
    assert "line 1: mine makes a run execute files, which is for you to say" in capsys.readouterr().err


def test_what_a_readers_layer_raises_in_training_is_one_sentence_with_its_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(PROJECT)
    fill(tmp_path, "gelu")
    spoil(
        tmp_path, "gelu", "    return x * phi, (x, phi, approximate)",
        "    if x.shape[-1] == 64:\n        x.no_such_thing\n    return x * phi, (x, phi, approximate)",
    )  # fmt: skip
    flags = f"--data={TEXT} --n_layer=1 --n_head=2 --n_embd=16 --block_size=8 --max_iters=1 --device=cpu".split()
    assert main(["train", *flags, f"--mine={tmp_path}", f"--out_dir={tmp_path / 'out'}"]) == 1
    err = capsys.readouterr().err
    assert f"error: {tmp_path / 'gelu.py'}, line " in err and "raised AttributeError" in err and "Traceback" not in err


def test_what_the_readers_rules_raise_while_text_is_shown_is_one_sentence_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(PROJECT)
    fill(tmp_path, "draw")
    spoil(tmp_path, "draw", "    cumulative = ", "    assert probs.shape[1] != 49, 'of the text'\n    cumulative = ")
    flags = f"--data={TEXT} --n_layer=1 --n_head=2 --n_embd=16 --block_size=8 --max_iters=1 --device=cpu".split()
    assert main(["train", *flags, f"--mine={tmp_path}", f"--out_dir={tmp_path / 'out'}"]) == 1
    err = capsys.readouterr().err
    assert f"error: {tmp_path / 'draw.py'}, line " in err and "AssertionError: of the text" in err


def test_a_misspelt_file_and_a_flag_alone_are_one_sentence_each(tmp_path, capsys):
    fill(tmp_path, "gelu")
    (tmp_path / "gellu.py").write_text("", encoding="utf-8")
    mine = load_own_layers(tmp_path)
    assert mine.unknown == {"gellu.py": "gelu.py"} and list(mine.remarks()) == [
        f"{tmp_path / 'gellu.py'} is no part of the engine; did you mean gelu.py?"
    ]
    assert main(["train", "--mine_unchecked"]) == 1
    assert "--mine_unchecked goes with --mine=FOLDER" in capsys.readouterr().err


def test_a_folder_without_parts_is_one_sentence(tmp_path, capsys):
    with pytest.raises(UserError, match="holds no part of the engine; expected files such as layernorm.py"):
        load_own_layers(tmp_path)
    assert main(["train", f"--mine={tmp_path / 'nothing'}", f"--out_dir={tmp_path / 'out'}"]) == 1
    assert "is no folder" in capsys.readouterr().err


def test_the_readers_cross_entropy_goes_before_the_fast_loss(tmp_path):
    fill(tmp_path, "cross_entropy")
    ops = build().replace(**loaded(tmp_path).parts.leaves)
    assert build().fused("lm_head_loss") and ops.fused("lm_head_loss") is None and ops.attention is build().attention


def test_a_readers_merge_trains_the_tokenizer_and_nothing_of_it_stays_in_the_cache(tmp_path, monkeypatch):
    calls = []

    def own(ids, pair, new_id):
        calls.append(new_id)
        return [i for i in ids if i not in pair]  # wrong, and it shows

    path = tmp_path / "text.txt"
    path.write_text("the cat and the hat and the rat " * 40, encoding="utf-8")
    first = load_corpus(data=path, tokenizer="bpe", vocab_size=260)
    wrong = load_corpus(data=path, tokenizer="bpe", vocab_size=260, merge=own)
    again = load_corpus(data=path, tokenizer="bpe", vocab_size=260)
    assert set(calls) == {256, 257, 258, 259} and wrong.tokenizer != first.tokenizer == again.tokenizer
    assert isinstance(first.tokenizer, BPETokenizer)
