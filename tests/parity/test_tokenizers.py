"""A saved model carries its tokenizer: what transformers makes of a text, and of a prompt, is what tinygpt makes."""

import os

import numpy as np
import pytest
from hypothesis import given, settings

from tests import hard_texts
from tinygpt import GPT, GPTConfig
from tinygpt.tokenizer import GPT2Tokenizer, beside

from .comparison import NEEDS_TORCH, NEEDS_TRANSFORMERS, randomize

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported: nothing here may wait for a network
torch = pytest.importorskip("torch", reason=NEEDS_TORCH)
transformers = pytest.importorskip("transformers", reason=NEEDS_TRANSFORMERS)

ours = hard_texts.tokenizers()


@pytest.fixture(params=["char", "bpe", "gpt2"])
def tokenizer(request):
    if request.param == "gpt2":
        request.getfixturevalue("gpt2_files")
        return GPT2Tokenizer()
    return ours[request.param]


def saved(tokenizer, folder):
    """A model of random weights and its tokenizer, as a run saves them."""
    model = GPT(GPTConfig(64, tokenizer.vocab_size, 2, 2, 16), seed=1)
    randomize(model, np.random.default_rng(40))
    model.params["wpe.weight"] *= 10  # so that it does not write one token again and again
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder, bos_token_id=tokenizer.end_id, eos_token_id=tokenizer.end_id)
    return model


def test_auto_tokenizer_encodes_and_decodes_as_tinygpt_does(tokenizer, tmp_path):
    saved(tokenizer, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert len(theirs) == tokenizer.vocab_size
    for name, text in hard_texts.TEXTS.items():
        ids = tokenizer.encode(text).tolist()
        assert theirs.encode(text) == theirs(text)["input_ids"] == ids, name
        assert theirs.decode(ids) == text == tokenizer.decode(ids), name
    assert theirs.eos_token_id == theirs.bos_token_id == tokenizer.end_id


def test_auto_tokenizer_agrees_on_any_text(tokenizer, tmp_path):
    saved(tokenizer, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    known = set(hard_texts.ALL)

    @settings(deadline=None, max_examples=150)
    @given(hard_texts.DRAWN)
    def check(text):
        text = "".join(filter(known.__contains__, text)) if tokenizer.name == "char" else text
        ids = tokenizer.encode(text).tolist()
        assert theirs.encode(text) == ids and theirs.decode(ids) == text

    check()


def test_an_unknown_character_is_an_error_and_not_left_out(tmp_path):
    saved(ours["char"], tmp_path)
    with pytest.raises(Exception, match="Missing .* token from the vocabulary"):
        transformers.AutoTokenizer.from_pretrained(tmp_path).encode("\u2603")


def test_a_pipeline_writes_the_text_that_tinygpt_writes(tokenizer, tmp_path):
    model = saved(tokenizer, tmp_path)
    write = transformers.pipeline("text-generation", model=str(tmp_path), device="cpu")
    written = set()
    for prompt in ("the ", "def tokenizers() ->", "\n", "  two"):
        ids = model.generate(tokenizer.encode(prompt)[None], 24, temperature=0)[0]
        expected = tokenizer.decode(ids)
        assert write(prompt, max_new_tokens=24, do_sample=False)[0]["generated_text"] == expected
        assert expected.startswith(prompt)
        written.update(ids[-24:].tolist())
    assert len(written) > 9, "a model that writes one token would prove nothing"


def test_a_pipeline_that_is_told_nothing_ends_with_the_models_context(tokenizer, tmp_path):
    """Its own limit is 256 new tokens, for which most models made here have no positions."""
    model = saved(tokenizer, tmp_path)
    (written,) = transformers.pipeline("text-generation", model=str(tmp_path), device="cpu")("the ")
    ids = tokenizer.encode(written["generated_text"])
    assert written["generated_text"].startswith("the ") and 1 < len(ids) <= 2 * model.config.block_size


def test_the_ends_of_a_text_are_none_or_gpt2s(tokenizer, tmp_path):
    saved(tokenizer, tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    assert config.bos_token_id == config.eos_token_id == tokenizer.end_id
    assert tokenizer.end_id == (50256 if tokenizer.name == "gpt2" else None)


def test_what_transformers_saves_again_is_the_same_tokenizer_here(tokenizer, tmp_path):
    saved(tokenizer, tmp_path / "ours")
    transformers.AutoTokenizer.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    again = beside(tmp_path / "theirs", tokenizer.vocab_size)
    assert again.vocab_size == tokenizer.vocab_size and (again == tokenizer or tokenizer.name != "gpt2")
    for name, text in hard_texts.TEXTS.items():
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist(), name
        assert again.decode(again.encode(text)) == text, name
