"""The tokenizer.json that lies beside a saved model means to Hugging Face's library what the tokenizer means here."""

import json

import pytest
import tiktoken
from hypothesis import given, settings

from tests import hard_texts
from tinygpt.errors import Note, UserError
from tinygpt.tokenizer import CharTokenizer, GPT2Tokenizer, load

library = pytest.importorskip("tokenizers", reason="tokenizers is not installed; `pip install tokenizers` brings it")
KINDS = ["char", "bpe", "gpt2"]
ours = hard_texts.tokenizers()


def written(tokenizer, folder):
    """The tokenizer that was saved in `folder`, as the library reads it."""
    tokenizer.save_pretrained(folder)
    return library.Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(params=KINDS)
def tokenizer(request):
    if request.param == "gpt2":
        request.getfixturevalue("gpt2_files")
        return GPT2Tokenizer()
    return ours[request.param]


def test_ids_and_texts_are_the_same_both_ways(tokenizer, tmp_path):
    theirs = written(tokenizer, tmp_path)
    for name, text in hard_texts.TEXTS.items():
        ids = tokenizer.encode(text).tolist()
        assert theirs.encode(text).ids == ids, name
        assert theirs.decode(ids, skip_special_tokens=False) == text == tokenizer.decode(ids), name
    assert theirs.get_vocab_size() == tokenizer.vocab_size


def test_bpe_ids_are_the_same_for_any_text(tmp_path):
    theirs = written(ours["bpe"], tmp_path)

    @settings(deadline=None, max_examples=200)
    @given(hard_texts.DRAWN)
    def check(text):
        assert theirs.encode(text).ids == ours["bpe"].encode(text).tolist()
        assert theirs.decode(theirs.encode(text).ids) == text

    check()


def test_a_token_that_ends_inside_a_character_is_the_same_bytes(tmp_path):
    theirs = written(ours["bpe"], tmp_path)
    smile = list("\U0001f642".encode())
    assert theirs.decode(smile) == "\U0001f642" and theirs.decode(smile[:2]) == ours["bpe"].decode(smile[:2])


def test_an_unknown_character_is_an_error_there_and_not_dropped(tmp_path):
    theirs = written(CharTokenizer("abc"), tmp_path)
    with pytest.raises(Exception, match="Missing .* token from the vocabulary"):
        theirs.encode("abd")


def test_gpt2_has_its_end_of_text(gpt2_files, tmp_path):
    theirs = written(GPT2Tokenizer(), tmp_path)
    assert theirs.encode("a<|endoftext|>b").ids == [64, 50256, 65]
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert settings["eos_token"] == settings["bos_token"] == "<|endoftext|>"


def test_the_files_are_made_once_and_not_at_each_save(tokenizer, tmp_path, monkeypatch):
    tokenizer.save_pretrained(tmp_path / "first")
    monkeypatch.setattr(type(tokenizer), "to_pretrained", lambda self: pytest.fail("made again"))
    monkeypatch.setattr("json.dumps", lambda *_, **__: pytest.fail("written anew"))
    tokenizer.save_pretrained(tmp_path / "second")
    names = {"tokenizer.tinygpt.json", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in (tmp_path / "second").iterdir()} == names
    assert all((tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes() for name in names)
    assert load(tmp_path / "second" / "tokenizer.tinygpt.json") == tokenizer


def test_without_gpt2s_encoding_one_note_says_what_is_left_out(tmp_path, monkeypatch):
    def no_network(name):
        raise OSError("no route")

    monkeypatch.setattr(tiktoken, "get_encoding", no_network)
    tokenizer = GPT2Tokenizer()
    with pytest.warns(Note, match="no tokenizer.json is written beside the weights") as notes:
        for _ in range(3):
            tokenizer.save_pretrained(tmp_path)
    assert len(notes) == 1 and [path.name for path in tmp_path.iterdir()] == ["tokenizer.tinygpt.json"]


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="could not write .*tokenizer.tinygpt.json"):
        CharTokenizer("a").save_pretrained(tmp_path / "file")
