"""How wide the tokens in a file are: recognised, or as the user says; and what is no tokens that are read."""

import numpy as np
import pytest

from tests.folders import OTHER, PLAY, SMALL, TRAINED, characters, folder_of, said
from tinygpt.cli import main
from tinygpt.data import load_corpus
from tinygpt.data.token_dtype import seen_dtype
from tinygpt.errors import UserError
from tinygpt.run.store import resume


@pytest.mark.parametrize("vocab_size", [40, 700, 50_257, 65_537, 100_277, 128_256, 200_019])
@pytest.mark.parametrize("size", [30, 100, 20_000, 400_000])
def test_uint32_tokens_are_recognised_and_said(tmp_path, vocab_size, size):
    rng = np.random.default_rng(0)
    ids = (rng.zipf(1.2, size) + rng.integers(4, 60, size)) % vocab_size
    ids[-1] = vocab_size - 1
    corpus = load_corpus(data=folder_of(tmp_path / "n", ids, np.uint32))
    assert corpus.train.dtype == np.uint32 and corpus.vocab_size == vocab_size
    assert np.array_equal(np.concatenate([corpus.train, corpus.val]), ids)
    assert (
        corpus.describe() == f"n: {size * 9 // 10:,} uint32 tokens to train on, {size - size * 9 // 10:,} to validate"
    )


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("text", ["if x:\n        return 1\n" * 90, "0 1 0 1 0 0 1\n" * 90])
def test_characters_that_are_mostly_spaces_are_recognised_too(dtype, text):
    assert seen_dtype([characters(text).astype(dtype).tobytes()]) == np.dtype(dtype).name


def uint16_texts():
    rng = np.random.default_rng(1)
    return {
        "characters": characters(PLAY),
        "three characters": rng.integers(3, size=4000),
        "four characters, and rarely more": np.where(rng.random(4000) < 0.01, 50, rng.integers(4, size=4000)),
        "byte pairs": TRAINED.encode(OTHER),
        "up to 65,535": rng.integers(65_536, size=4000),
        "two values by turns": np.tile([7, 0], 2000),
        "all the same": np.full(4000, 9),
        "zeros": np.zeros(4000, int),
        "few, with zeros between": np.array([5, 0, 7, 0]),
        "counting": np.arange(4000),
        "a space at every first place": np.stack([np.zeros(2000, int), rng.integers(1, 60, 2000)], 1).ravel(),
        "bytes": rng.integers(256, size=4000),
    }


@pytest.mark.parametrize("kind", uint16_texts())
def test_uint16_tokens_are_taken_for_nothing_else(tmp_path, kind):
    ids = uint16_texts()[kind]
    corpus = load_corpus(data=folder_of(tmp_path / "n", ids))
    assert corpus.train.dtype == np.uint16 and "uint" not in corpus.describe()
    assert np.array_equal(np.concatenate([corpus.train, corpus.val]), ids)


def test_zeros_at_every_second_place_are_tokens_where_the_text_says_so(tmp_path):
    text = " ".join(np.random.default_rng(0).choice(list("abcdefgh"), 2000)) + " "
    corpus = load_corpus(data=folder_of(tmp_path / "n", characters(text), text=text))
    assert corpus.train.dtype == np.uint16 and corpus.tokenizer.decode(corpus.train) == text[: len(corpus.train)]


def test_token_dtype_goes_before_what_is_seen(tmp_path):
    ids = np.arange(4, 404)
    folder = folder_of(tmp_path / "n", ids, np.uint32)
    corpus, notes = said(lambda: load_corpus(data=folder, token_dtype="uint16"))
    assert corpus.train[:4].tolist() == [4, 0, 5, 0] and "--token_dtype=uint16 says otherwise" in notes[0]
    corpus, notes = said(lambda: load_corpus(data=folder, token_dtype="uint32"))
    assert corpus.train[:4].tolist() == [4, 5, 6, 7] and notes == []
    with pytest.raises(
        UserError, match=r"train.bin, read as uint32, holds token id [\d,]+, and no vocabulary has more"
    ):
        load_corpus(data=folder_of(tmp_path / "o", ids), token_dtype="uint32")
    with pytest.raises(UserError, match="There is no token_dtype 'uint8' .*; choose from auto, uint16, uint32"):
        load_corpus(data=folder, token_dtype="uint8")
    (tmp_path / "t.txt").write_text(PLAY)
    with pytest.raises(UserError, match="--token_dtype=uint32 goes with a folder of token files"):
        load_corpus(data=tmp_path / "t.txt", token_dtype="uint32")


@pytest.mark.filterwarnings("ignore::tinygpt.errors.Note")
def test_token_dtype_is_a_runs_own(tmp_path, capsys):
    folder = folder_of(tmp_path / "n", np.tile([9, 0, 8, 0, 7, 0], 200))  # which look like uint32
    flags = [f"--{name}={value}" for name, value in (SMALL | {"data": folder, "out_dir": tmp_path / "out"}).items()]
    assert main(["train", *flags, "--token_dtype=uint16"]) == 0
    assert "1,080 tokens to train on" in capsys.readouterr().out
    assert len(resume(tmp_path / "out").corpus.train) == 1080
    assert main(["eval", f"--out_dir={tmp_path / 'out'}", "--device=cpu", "--threads=1"]) == 0
    assert "119 tokens predicted" in capsys.readouterr().out


def test_files_of_different_widths_are_refused(tmp_path):
    folder = folder_of(tmp_path / "n", np.arange(4, 404))
    np.arange(4, 404, dtype=np.uint32).tofile(folder / "val.bin")
    with pytest.raises(UserError, match="train.bin seems to hold uint16 tokens and val.bin uint32; write both alike"):
        load_corpus(data=folder)


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        (np.int64, "int64 tokens"),
        (np.uint8, "one-byte tokens"),
        (np.float32, "tokens as float32"),
        (np.float64, "tokens as float64"),
        (">u2", "tokens with the high byte first"),
        (">u4", "uint32 tokens with the high byte first"),
    ],
)
def test_other_widths_are_named_with_the_line_that_converts_them(tmp_path, monkeypatch, dtype, said):
    folder = folder_of(tmp_path / "n", characters(PLAY), dtype)
    for part in ("train", "val"):
        with pytest.raises(UserError, match=f"{part}.bin seems to hold {said}; write it again: python -c") as raised:
            load_corpus(data=folder)
        line = str(raised.value).partition('python -c "')[2].rstrip('"')
        monkeypatch.chdir(folder)
        exec(line)  # noqa: S102
    corpus = load_corpus(data=folder)
    assert np.array_equal(np.concatenate([corpus.train, corpus.val]), characters(PLAY))


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64", ">u2", ">u4"])
@pytest.mark.parametrize("vocab_size", [50_257, 151_936])
def test_other_widths_of_large_vocabularies_are_named_too(dtype, vocab_size):
    if dtype == ">u2" and vocab_size > 65_536:
        return
    rng = np.random.default_rng(0)
    ids = np.concatenate([rng.zipf(1.2, 9_000) + 3, rng.integers(vocab_size, size=1_000)]) % vocab_size
    ids[0] = vocab_size - 1
    assert seen_dtype([rng.permutation(ids).astype(dtype).tobytes()]) == dtype


def test_megatrons_pair_is_read_as_the_int32_tokens_that_it_holds(tmp_path):
    folder = folder_of(tmp_path / "n", TRAINED.encode(OTHER), np.int32)
    (folder / "train.idx").write_bytes(b"MMIDIDX\0\0" + bytes(50))
    assert np.array_equal(load_corpus(data=folder).train, TRAINED.encode(OTHER)[: len(TRAINED.encode(OTHER)) * 9 // 10])


def test_a_negative_id_is_none(tmp_path):
    """-100, which others write for what is not to be learned."""
    ids = np.arange(4, 404)
    ids[100] = -100
    with pytest.raises(UserError, match="read as uint32, holds token id 4,294,967,196 .-100 if it was int32."):
        load_corpus(data=folder_of(tmp_path / "n", ids, np.int32))


def test_a_text_in_the_place_of_tokens_is_said(tmp_path):
    folder = folder_of(tmp_path / "n", [1, 2, 3])
    (folder / "train.bin").write_text(PLAY)
    with pytest.raises(UserError, match="train.bin is a text, not tokens; give it as it is, --data="):
        load_corpus(data=folder)


def test_too_few_bytes_tell_no_width():
    assert [seen_dtype([b"\1\0" * n]) for n in (0, 1, 15)] == ["", "", ""]
