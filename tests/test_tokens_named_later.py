"""Runs and evaluations in token files whose tokens nobody could name when the model was made."""

import numpy as np
import pytest

from tests.folders import PLAY, PROSE, SMALL, TRAINED, OutOfReach, StandIn, characters, folder_of
from tinygpt import GPT, GPTConfig, UserError, load_model
from tinygpt.cli import main
from tinygpt.data import evidence, load_corpus
from tinygpt.run import loop
from tinygpt.run.config import TrainConfig
from tinygpt.run.store import resume, start
from tinygpt.tokenizer import CharTokenizer


@pytest.fixture
def no_gpt2(monkeypatch):
    monkeypatch.setattr(evidence, "GPT2Tokenizer", OutOfReach)


def test_a_run_begun_without_gpt2s_encoding_goes_on_and_is_evaluated_with_it(tmp_path, monkeypatch, capsys):
    ids, out = TRAINED.encode(PROSE), tmp_path / "out"
    ids = ids[ids < 690]  # not all of the tokens, so that the model is smaller
    folder = folder_of(tmp_path / "n", ids)
    monkeypatch.setattr(evidence, "GPT2Tokenizer", OutOfReach)
    state = start(TrainConfig(data=str(folder), out_dir=str(out), **SMALL))
    assert state.model.config.vocab_size == ids.max() + 1 < 700
    list(loop.train(state))
    monkeypatch.setattr(evidence, "GPT2Tokenizer", StandIn)
    monkeypatch.setattr(evidence, "comes_back", lambda *_: True)
    known = resume(out)
    assert known.corpus.tokenizer is None and known.model.config.vocab_size == ids.max() + 1
    assert f"the 700 tokens of gpt2, and the model in {out}" in known.corpus.why_no_tokenizer
    assert start(
        TrainConfig(init_from=str(out), data=str(folder), out_dir=str(tmp_path / "b"), **SMALL)
    ).corpus.train.any()
    assert main(["eval", f"--out_dir={out}"]) == 0 and "nats per token" in capsys.readouterr().out


def test_a_run_in_unknown_tokens_is_told_whose_they_are_when_it_goes_on(tmp_path):
    tokenizer, out = CharTokenizer.train(PLAY), tmp_path / "out"
    folder = folder_of(tmp_path / "n", characters(PLAY))
    state = start(TrainConfig(data=str(folder), out_dir=str(out), **SMALL))
    assert state.corpus.why_no_tokenizer.endswith("name it with --tokenizer")
    list(loop.train(state))
    tokenizer.save(tmp_path / "theirs.json")
    state = resume(out, {"tokenizer": str(tmp_path / "theirs.json"), "max_iters": 4})
    assert state.corpus.tokenizer == tokenizer
    list(loop.train(state))
    assert load_model(out)[1] == resume(out).corpus.tokenizer == tokenizer
    with pytest.raises(UserError, match="--tokenizer=bpe would be another model"):
        resume(out, {"tokenizer": "bpe"})


def test_a_model_without_a_tokenizer_is_evaluated_on_what_it_may_be_trained_on(tmp_path, capsys):
    tokens = folder_of(tmp_path / "n", characters(PLAY), text=PLAY)
    for vocab_size, status in ((len(set(PLAY)) + 10, 0), (5000, 1)):
        model = tmp_path / str(vocab_size)
        GPT(GPTConfig(8, vocab_size, 1, 1, 8)).save_pretrained(model)
        assert main(["eval", f"--out_dir={model}", f"--data={tokens}"]) == status
        out, err = capsys.readouterr()
        assert "bits per character" in out if status == 0 else "nothing beside it says which" in err


def test_a_val_of_other_tokens_than_train_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "GPT2Tokenizer", StandIn)
    folder = folder_of(tmp_path / "n", TRAINED.encode(PROSE))
    assert load_corpus(data=folder).tokenizer == StandIn()
    np.random.default_rng(0).integers(700, size=5000).astype("uint16").tofile(folder / "val.bin")
    with pytest.raises(UserError, match="holds GPT-2's tokens to train on .*, but others to validate on"):
        load_corpus(data=folder)
    assert load_corpus(data=folder, tokenizer=StandIn(), explicit=True).tokenizer == StandIn()  # who insists


@pytest.mark.parametrize("meta", [None, {"vocab_size": 3_000}])
def test_a_padded_gpt2_learns_neither_characters_nor_other_tokens(tmp_path, meta, no_gpt2):
    """nanoGPT#169, where nothing tells but the ids, or their number."""
    ids = characters(PLAY) if meta is None else np.arange(2_900)
    GPT(GPTConfig(8, 50_304, 1, 1, 8)).save_pretrained(tmp_path / "model")
    config = TrainConfig(
        data=str(folder_of(tmp_path / "n", ids, meta=meta)), init_from=str(tmp_path / "model"), **SMALL
    )
    with pytest.raises(UserError, match="n is in the .* tokens of .*, but the model in .* knows 50,304 tokens"):
        start(config)
