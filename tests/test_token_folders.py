"""Folders of token files: whose tokens they are, how wide, and what is said where that cannot be known."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.folders import (
    OTHER,
    PLAY,
    SMALL,
    TRAINED,
    OutOfReach,
    StandIn,
    characters,
    folder_of,
    nanogpts_meta,
    said,
    token_folder,
)  # fmt: skip
from tinygpt.cli import main
from tinygpt.data import evidence, load_corpus
from tinygpt.errors import UserError
from tinygpt.run.store import resume
from tinygpt.tokenizer import BPETokenizer, CharTokenizer, GPT2Tokenizer


@pytest.fixture
def gpt2(monkeypatch):
    monkeypatch.setattr(evidence, "GPT2Tokenizer", StandIn)
    return StandIn()


@pytest.fixture
def no_gpt2(monkeypatch):
    monkeypatch.setattr(evidence, "GPT2Tokenizer", OutOfReach)


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """GPT-2's encoding is not looked for anywhere, unless a test says where."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "none"))
    monkeypatch.setattr("requests.get", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))


# What lies where


def test_a_token_folder_is_read_where_it_lies(tmp_path):
    folder = token_folder(tmp_path / "tokens", [5, 6, 7], [8, 9])
    for corpus in (load_corpus(data=folder), load_corpus(str(folder))):
        assert corpus.name == "tokens"
        assert corpus.train.tolist() == [5, 6, 7] and corpus.val.tolist() == [8, 9]
        assert Path(corpus.train.filename) == folder / "train.bin"
        assert (corpus.tokenizer, corpus.vocab_size, corpus.bits_per_character(1.0)) == (None, 10, None)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("missing", ["train.bin", "val.bin"])
def test_a_folder_without_token_files_is_refused(tmp_path, missing):
    folder = token_folder(tmp_path / "t", [0, 1], [2])
    (folder / missing).unlink()
    with pytest.raises(UserError, match=f"has no {missing}; --data takes a text, a folder of .txt files, or one with"):
        load_corpus(data=folder)


def test_a_token_file_of_half_a_token_is_refused(tmp_path):
    folder = token_folder(tmp_path / "t", [0, 1], [2])
    (folder / "val.bin").write_bytes(b"\0\0\0")
    with pytest.raises(UserError, match="val.bin has an odd number of bytes"):
        load_corpus(data=folder)


def test_an_empty_token_file_is_a_short_split(tmp_path):
    corpus = load_corpus(data=token_folder(tmp_path / "t", [1, 2], []))
    with pytest.raises(UserError, match="val part of t has 0 tokens"):
        corpus.batch("val", 1, 1, np.random.default_rng(0))


def test_a_folder_of_token_files_is_found_where_nanogpt_keeps_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "shakespeare_char"
    folder.mkdir(parents=True)
    for part in ("train", "val"):
        np.arange(20, dtype=np.uint16).tofile(folder / f"{part}.bin")
    corpus = load_corpus("shakespeare_char")  # a name of ours too; what lies here goes first
    assert corpus.vocab_size == 20 and len(corpus.train) == 20


def test_an_id_far_behind_the_others_counts_too(tmp_path):
    """Today's files have many more tokens than anyone looks at before a run."""
    ids = np.zeros(12_000_000, np.uint16)
    ids[10_500_000] = 40
    folder = folder_of(tmp_path / "t", ids, meta=nanogpts_meta("abc"))
    with pytest.raises(UserError, match="holds token id 40, but its meta.pkl tells of only 3 tokens"):
        load_corpus(data=folder)


# Whose tokens: meta.pkl


def test_nanogpts_meta_gives_the_characters_without_the_text(tmp_path):
    """nanoGPT#273: no sample is shown, and nobody says why."""
    corpus, notes = said(
        lambda: load_corpus(data=folder_of(tmp_path / "n", characters(PLAY), meta=nanogpts_meta(PLAY)))
    )
    assert notes == [] and corpus.why_no_tokenizer == ""
    assert corpus.tokenizer == CharTokenizer.train(PLAY)
    assert corpus.tokenizer.decode([*corpus.train, *corpus.val]) == PLAY
    assert corpus.bits_per_character(np.log(2)) == pytest.approx(1)


def test_meta_goes_before_a_text_that_was_changed_since(tmp_path):
    folder = folder_of(tmp_path / "n", characters(PLAY), text="Another text", meta=nanogpts_meta(PLAY))
    assert load_corpus(data=folder).tokenizer == CharTokenizer.train(PLAY)


@pytest.mark.parametrize("meta", [{"vocab_size": 32_000}, {"vocab_size": 32_000, "kind": "sentencepiece"}])
def test_a_meta_of_32000_tokens_is_no_gpt2(tmp_path, gpt2, meta):
    """nanoGPT#422: ids of another tokenizer are taken for GPT-2's, because they are large."""
    ids = np.random.default_rng(0).integers(32_000, size=2000)
    corpus = load_corpus(data=folder_of(tmp_path / "n", ids, meta=meta))
    assert (corpus.tokenizer, corpus.vocab_size) == (None, 32_000)
    assert corpus.why_no_tokenizer == (
        f"which tokenizer the tokens in {tmp_path / 'n'} are of is not known (its meta.pkl says that there are 32,000, "
        "but not which), so no sample of text is shown; name it with --tokenizer"
    )


def test_a_meta_of_longer_tokens_does_not_tell_how_a_text_is_cut(tmp_path):
    meta = {"vocab_size": 3, "itos": {0: "a", 1: "b", 2: "ab"}, "stoi": {"a": 0, "b": 1, "ab": 2}}
    corpus = load_corpus(data=folder_of(tmp_path / "n", [0, 1, 2] * 30, meta=meta))
    assert (corpus.tokenizer, corpus.vocab_size) == (None, 3)
    assert "lists tokens of several characters, but not how a text is cut into them" in corpus.why_no_tokenizer


def test_ids_that_meta_does_not_allow_are_an_error(tmp_path):
    folder = folder_of(tmp_path / "n", [0, 1, 2, 3] * 20, meta=nanogpts_meta("abc"))
    with pytest.raises(UserError, match=r"holds token id 3, but its meta.pkl tells of only 3 tokens; .* take it away"):
        load_corpus(data=folder)


def test_a_meta_that_does_more_than_hold_data_is_left_alone_with_a_note(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "attacked"),)

    folder = folder_of(tmp_path / "n", characters(PLAY), text=PLAY, meta={"vocab_size": Attack()})
    corpus, notes = said(lambda: load_corpus(data=folder))
    assert not (tmp_path / "attacked").exists()
    assert corpus.tokenizer == CharTokenizer.train(PLAY)  # which the text tells
    assert len(notes) == 1 and "meta.pkl is left alone: it holds more than dicts, strings and numbers" in notes[0]


def test_a_meta_that_is_a_folder_is_left_alone(tmp_path):
    folder = folder_of(tmp_path / "n", characters(PLAY), text=PLAY)
    (folder / "meta.pkl").mkdir()
    corpus, notes = said(lambda: load_corpus(data=folder))
    assert corpus.tokenizer == CharTokenizer.train(PLAY) and "it is a folder, not a file" in notes[0]


# Whose tokens: the text


@pytest.mark.parametrize("text", [PLAY, PLAY.replace("\n", "\r\n")])
def test_a_text_beside_gives_the_characters(tmp_path, text):
    """With newlines as nanoGPT reads them, and as they are."""
    for ids in (characters(text), characters(text.replace("\r\n", "\n"))):
        folder = folder_of(tmp_path / "n", ids, text=text)
        corpus = load_corpus(data=folder)
        assert corpus.tokenizer.decode([*corpus.train, *corpus.val]).replace("\r", "") == text.replace("\r", "")
        assert corpus.why_no_tokenizer == ""


def test_a_text_that_does_not_give_the_tokens_is_not_believed(tmp_path):
    folder = folder_of(tmp_path / "n", characters("abc" * 50), text="cab" * 50)
    corpus = load_corpus(data=folder)
    assert (corpus.tokenizer, corpus.vocab_size) == (None, 3)
    assert "(its input.txt gives other ids)" in corpus.why_no_tokenizer
    (folder / "input.txt").write_bytes(b"ab\xff" * 50)
    assert load_corpus(data=folder).tokenizer is None


def test_a_text_beside_tells_gpt2s_tokens(tmp_path, gpt2):
    corpus = load_corpus(data=folder_of(tmp_path / "n", gpt2.encode(OTHER[:3000]), text=OTHER[:3000]))
    assert corpus.tokenizer == gpt2 and corpus.vocab_size == gpt2.vocab_size


def test_a_text_beside_tells_the_tokens_of_the_tokenizer_that_was_asked_for(tmp_path, gpt2):
    own = BPETokenizer.train(OTHER, 500)
    folder = folder_of(tmp_path / "n", own.encode(OTHER[:3000]), text=OTHER[:3000])
    assert load_corpus(data=folder).tokenizer is None
    assert load_corpus(data=folder, tokenizer=own).tokenizer == own


# Whose tokens: the ids themselves


def test_gpt2s_ids_come_back_when_they_are_decoded_and_encoded_again(tmp_path, gpt2):
    corpus = load_corpus(data=folder_of(tmp_path / "n", gpt2.encode(OTHER)))
    assert corpus.tokenizer == gpt2 and corpus.vocab_size == gpt2.vocab_size


def other_ids():
    rng = np.random.default_rng(0)
    own = BPETokenizer.train(OTHER[::-1], 690)
    return {
        "another text's byte pairs": own.encode(OTHER[::-1]),
        "random": rng.integers(700, size=5000),
        "random, as often as words are": np.minimum(rng.zipf(1.3, 5000), 700) - 1,
        "in no order": rng.permutation(TRAINED.encode(OTHER)),
    }


@pytest.mark.parametrize("kind", other_ids())
def test_other_ids_do_not(tmp_path, gpt2, kind):
    corpus = load_corpus(data=folder_of(tmp_path / "n", other_ids()[kind]))
    assert corpus.tokenizer is None and corpus.vocab_size == max(corpus.train.max(), corpus.val.max()) + 1
    assert "they are not GPT-2's, which would come back" in corpus.why_no_tokenizer


def test_few_ids_tell_nothing(tmp_path, gpt2):
    corpus = load_corpus(data=folder_of(tmp_path / "n", gpt2.encode("import os and sys")))
    assert corpus.tokenizer is None and "neither a meta.pkl nor an input.txt" in corpus.why_no_tokenizer


def test_few_ids_tell_where_the_last_of_gpt2s_is_among_them(tmp_path, gpt2):
    """50256, which ends each text in nanoGPT's data/openwebtext."""
    ids = gpt2.encode("import os and sys")
    assert load_corpus(data=token_folder(tmp_path / "n", ids, [gpt2.vocab_size - 1])).tokenizer == gpt2
    other = ids[::-1]  # which stand for a text, and not as it would be cut
    assert load_corpus(data=token_folder(tmp_path / "o", other, [gpt2.vocab_size - 1])).tokenizer is None


def test_cuts_within_a_character_are_no_difference(gpt2):
    ids = gpt2.encode("日本語のテキスト。\n" * 200)  # whose bytes are tokens of their own
    assert all(evidence.comes_back(gpt2, ids[start:]) for start in range(4))


def test_without_gpt2s_encoding_its_tokens_are_not_guessed(tmp_path, no_gpt2):
    corpus = load_corpus(data=folder_of(tmp_path / "n", TRAINED.encode(OTHER)))
    assert corpus.tokenizer is None
    assert "they may be GPT-2's, which only its encoding would show: GPT-2's encoding is not on" in (
        corpus.why_no_tokenizer
    )


@pytest.mark.parametrize("largest", [10_000, 31_999, 50_256, 50_257, 65_535])
def test_the_size_of_ids_tells_nothing(tmp_path, no_gpt2, largest):
    corpus = load_corpus(data=token_folder(tmp_path / "t", [15496, 995] * 5, [largest]))
    assert corpus.tokenizer is None and corpus.vocab_size == max(largest, 15496) + 1
    assert corpus.why_no_tokenizer.endswith("so no sample of text is shown; name it with --tokenizer")


def test_gpt2_itself(tmp_path, monkeypatch):
    files = Path(__file__).resolve().parents[2] / "shared" / "tiktoken"
    if not files.is_dir():
        pytest.skip("GPT-2's two encoding files are not beside this checkout, and tests stay off the network")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(files))
    tokenizer = GPT2Tokenizer()
    ids = np.concatenate([tokenizer.encode(OTHER + PLAY), [50256]])
    assert load_corpus(data=folder_of(tmp_path / "n", ids)).tokenizer == tokenizer
    corpus = load_corpus(data=folder_of(tmp_path / "o", BPETokenizer.train(OTHER, 2000).encode(OTHER)))
    assert (corpus.tokenizer, corpus.vocab_size) == (None, max(corpus.train.max(), corpus.val.max()) + 1)
    with pytest.raises(UserError, match="holds characters, .* but the model's own are GPT-2's tokens"):
        load_corpus(data=folder_of(tmp_path / "c", characters(PLAY), text=PLAY), tokenizer=tokenizer)


# A tokenizer that the user names, or that a model has


def test_a_tokenizer_that_is_given_goes_with_the_token_folder(tmp_path):
    folder = token_folder(tmp_path / "t", [0, 1], [2])
    assert load_corpus(data=folder, tokenizer=CharTokenizer("xyz")).tokenizer.decode([2]) == "z"
    assert load_corpus(data=folder, tokenizer="gpt2").vocab_size == 50257
    with pytest.raises(UserError, match="holds token id 2, but the char vocabulary has only 2 tokens"):
        load_corpus(data=folder, tokenizer=CharTokenizer("xy"))
    with pytest.raises(UserError, match="holds tokens already, so --tokenizer=bpe is too late"):
        load_corpus(data=folder, tokenizer="bpe")


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("beside", [{"text": PLAY}, {"meta": nanogpts_meta(PLAY)}])
def test_characters_are_not_learned_with_gpt2(tmp_path, gpt2, beside, explicit):
    """nanoGPT#169"""
    folder = folder_of(tmp_path / "n", characters(PLAY), **beside)
    whose = "--tokenizer names" if explicit else "the model's own are"
    with pytest.raises(UserError, match=f"holds characters, .* but {whose} GPT-2's tokens; .*with --tokenizer=char"):
        load_corpus(data=folder, tokenizer=gpt2, explicit=explicit)


def test_gpt2s_tokens_are_not_learned_with_other_byte_pairs(tmp_path, gpt2):
    own = BPETokenizer.train(OTHER, 700)
    folder = folder_of(tmp_path / "n", gpt2.encode(OTHER[:3000]), text=OTHER[:3000])
    with pytest.raises(UserError, match=r"holds GPT-2's tokens \(its input.txt gives these ids\), but the model's own"):
        load_corpus(data=folder, tokenizer=own)


@pytest.mark.parametrize("kind", ["another text's byte pairs", "random"])
def test_other_ids_are_not_learned_with_gpt2_unless_the_user_insists(tmp_path, gpt2, kind):
    folder = folder_of(tmp_path / "n", other_ids()[kind])
    with pytest.raises(
        UserError, match="seems to hold other tokens .* are right all the same, say so with --tokenizer=gpt2"
    ):
        load_corpus(data=folder, tokenizer=gpt2)
    corpus, notes = said(lambda: load_corpus(data=folder, tokenizer=gpt2, explicit=True))
    assert corpus.tokenizer == gpt2
    assert len(notes) == 1 and "but --tokenizer names GPT-2's tokens, so these are taken" in notes[0]


def test_characters_without_a_text_are_told_from_gpt2s_by_being_so_few(tmp_path, no_gpt2):
    folder = folder_of(tmp_path / "n", characters(PLAY))
    with pytest.raises(UserError, match="none of 756 ids is above 16, as of characters"):
        load_corpus(data=folder, tokenizer=OutOfReach())


@pytest.mark.filterwarnings("ignore::tinygpt.errors.Note")
def test_ids_that_come_back_are_likely_and_a_model_of_other_byte_pairs_needs_a_word(tmp_path, gpt2):
    own, ids = BPETokenizer.train(OTHER, 700), gpt2.encode(OTHER)
    with pytest.raises(
        UserError, match="seems to hold GPT-2's .*own are 700 tokens .bpe.; .* with --tokenizer=FILE, the"
    ):
        load_corpus(data=folder_of(tmp_path / "n", ids), tokenizer=own)
    assert load_corpus(data=tmp_path / "n", tokenizer=own, explicit=True).tokenizer == own
    small = BPETokenizer.train(OTHER, 500)  # which has no such ids
    with pytest.raises(UserError, match="own are 500 tokens .bpe.; give files in those tokens, or train a new"):
        load_corpus(data=tmp_path / "n", tokenizer=small)


def test_a_meta_of_another_size_contradicts_a_model(tmp_path, gpt2):
    folder = folder_of(tmp_path / "n", characters(PLAY), meta={"vocab_size": 32_000})
    for tokenizer in (gpt2, "gpt2", CharTokenizer.train(PLAY)):
        with pytest.raises(UserError, match="its meta.pkl says that there are 32,000, but not which"):
            load_corpus(data=folder, tokenizer=tokenizer)


def test_a_meta_of_a_padded_vocabulary_contradicts_nothing(tmp_path, gpt2):
    folder = folder_of(tmp_path / "n", gpt2.encode(OTHER), meta={"vocab_size": 704})
    assert load_corpus(data=folder).tokenizer == gpt2
    assert load_corpus(data=folder, tokenizer=gpt2).tokenizer == gpt2


def test_characters_in_another_order_are_other_tokens(tmp_path):
    folder = folder_of(tmp_path / "n", characters(PLAY), text=PLAY)
    more = CharTokenizer("".join(sorted(set(PLAY))) + "XYZ")  # the same ids, and some that do not occur
    assert load_corpus(data=folder, tokenizer=more).tokenizer == more
    with pytest.raises(UserError, match="holds characters, 17 of them .*, but the model's own are characters, 17 of"):
        load_corpus(data=folder, tokenizer=CharTokenizer("".join(sorted(set(PLAY), reverse=True))))


def test_where_nothing_tells_a_model_is_taken_at_its_word(tmp_path, no_gpt2):
    folder = folder_of(tmp_path / "n", TRAINED.encode(OTHER))
    model = OutOfReach()
    assert load_corpus(data=folder, tokenizer=model).tokenizer is model


@pytest.mark.filterwarnings("ignore::tinygpt.errors.Note")
def test_a_run_that_insisted_goes_on_and_is_evaluated_without_insisting_again(tmp_path, capsys):
    (tmp_path / "text.txt").write_text(OTHER, encoding="utf-8")
    flags = [f"--{name}={value}" for name, value in SMALL.items()]
    model = [
        "--tokenizer=bpe",
        "--vocab_size=700",
        f"--data={tmp_path / 'text.txt'}",
        f"--out_dir={tmp_path / 'model'}",
    ]
    assert main(["train", *flags, *model]) == 0
    folder = folder_of(tmp_path / "n", other_ids()["random"])
    tuned = [*flags, f"--init_from={tmp_path / 'model' / 'best'}", f"--data={folder}", f"--out_dir={tmp_path / 'out'}"]
    assert main(["train", *tuned]) == 1
    shown = " ".join(capsys.readouterr().err.split())
    assert "n seems to hold other tokens (decoded and encoded again, its ids are others)" in shown
    assert "but the model's own are 700 tokens (bpe); if they are right all the same, say so with --tokenizer" in shown
    assert main(["train", *tuned, "--tokenizer=bpe"]) == 0
    assert "so these are taken" in capsys.readouterr().err
    assert main(["eval", f"--out_dir={tmp_path / 'out'}", "--device=cpu", "--threads=1"]) == 0
    assert resume(tmp_path / "out").corpus.tokenizer.name == "bpe"


def test_a_run_says_why_it_shows_no_sample(tmp_path, capsys):
    """nanoGPT#273"""
    folder = folder_of(tmp_path / "n", np.arange(400) % 40)
    flags = [f"--{name}={value}" for name, value in (SMALL | {"data": folder, "out_dir": tmp_path / "out"}).items()]
    assert main(["train", *flags]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "note: which tokenizer the tokens in" in shown and "so no sample of text is shown; name it with" in shown
