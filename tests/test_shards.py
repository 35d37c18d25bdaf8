"""Token files in shards: read as one, whatever a window spans; watched one by one; and llm.c's headers."""

import os

import numpy as np
import pytest

from tinygpt.cli import main
from tinygpt.data import load_corpus, windows_at
from tinygpt.data.shards import JoinedTokens
from tinygpt.errors import UserError
from tinygpt.own_layers.functions.windows_at import MISTAKES

RNG = np.random.default_rng(0)
PARTS = [RNG.integers(60_000, size=n).astype(np.uint16) for n in (5, 1, 0, 40, 7)]
WHOLE = np.concatenate(PARTS)
JOINED = JoinedTokens(PARTS)
SMALL = ["--n_layer=1", "--n_head=1", "--n_embd=8", "--block_size=8", "--batch_size=2", "--eval_iters=1",
         "--max_iters=2", "--device=cpu", "--threads=1", "--sample_length=0"]  # fmt: skip


def header(count, magic=20240520, version=1):
    numbers = np.zeros(256, np.int32)
    numbers[:3] = magic, version, count
    return numbers.tobytes()


def shard(path, ids, dtype=np.uint16, **headed):
    ids = np.asarray(ids).astype(dtype)
    path.write_bytes((header(len(ids), **headed) if headed else b"") + ids.tobytes())


def fineweb(folder, sizes=(300, 200, 250), n_val=100, **headed):
    """(folder, all tokens) as llm.c's dev/data/fineweb.py leaves it: the first shard is the one to validate on."""
    folder.mkdir()
    ids = RNG.integers(50_257, size=sum(sizes) + n_val)
    ids[0] = 50_256
    shard(folder / "fineweb_val_000000.bin", ids[:n_val], **(headed or {"magic": 20240520}))
    for number, piece in enumerate(np.split(ids[n_val:], np.cumsum(sizes)[:-1]), start=1):
        shard(folder / f"fineweb_train_{number:06}.bin", piece, **(headed or {"magic": 20240520}))
    return folder, ids


def plain(folder, sizes=(30, 20, 25), n_val=40):
    folder.mkdir()
    ids = np.arange(sum(sizes) + n_val) % 60
    for number, piece in enumerate(np.split(ids[n_val:], np.cumsum(sizes)[:-1])):
        shard(folder / f"train_{number:03}.bin", piece)
    shard(folder / "val_000.bin", ids[:n_val])
    return folder, ids


# One array


@pytest.mark.parametrize(
    "key",
    [
        0, -1, 52, np.int64(7), slice(None), slice(3, 8), slice(0, 5), slice(5, 6), slice(6, 6), slice(-9, None),
        slice(40, 4, -3), slice(None, None, 7), slice(50, 1000), slice(9, 2), [0, 5, 6, 52], [],
        np.array([[4, 5], [6, -53]]),
        np.zeros((2, 0), int), np.arange(53)[::-1], np.array([1, 2], np.uint16), WHOLE > 30_000,
    ],
    ids=str,
)  # fmt: skip
def test_what_numpy_gives_joined_tokens_give(key):
    expected = WHOLE[np.array(key, int) if isinstance(key, list) else key]
    found = JOINED[key]
    assert np.array_equal(found, expected) and found.dtype == np.uint16 and np.shape(found) == np.shape(expected)


@pytest.mark.parametrize("key", [53, -54, [0, 53], np.array([-54]), 1.0, "a", None, np.array([0.0]), np.ones(52, bool)])
def test_what_numpy_refuses_is_refused(key):
    with pytest.raises(IndexError):
        JOINED[key]


def test_joined_tokens_are_described_as_an_array_is():
    assert len(JOINED) == JOINED.size == 53 and JOINED.shape == (53,) and JOINED.ndim == 1
    assert JOINED.nbytes == WHOLE.nbytes and JOINED.itemsize == 2 and JOINED.dtype == np.uint16
    assert np.array_equal(np.asarray(JOINED), WHOLE) and np.array_equal(np.concatenate([JOINED, JOINED])[53:], WHOLE)
    assert np.array_equal(np.array(list(JOINED)), WHOLE)


def test_a_slice_within_a_shard_is_no_copy():
    assert np.shares_memory(JOINED[10:20], PARTS[3])


def test_windows_that_span_shards_are_those_of_the_whole():
    starts = np.arange(len(WHOLE) - 9)
    for joined, whole in zip(windows_at(JOINED, starts, 8), windows_at(WHOLE, starts, 8), strict=True):
        assert np.array_equal(joined, whole) and joined.dtype == np.int64


def test_a_readers_own_windows_at_works_on_shards():
    """As they are written in lesson 1: with slices, row by row, and with tables of places."""

    def by_slices(tokens, starts, block_size):
        idx = np.stack([tokens[s : s + block_size] for s in starts]).astype(np.int64)
        return idx, np.stack([tokens[s + 1 : s + block_size + 1] for s in starts]).astype(np.int64)

    def by_tokens(tokens, starts, block_size):
        rows = [[int(tokens[s + t]) for t in range(block_size + 1)] for s in starts]
        return np.array(rows)[:, :-1], np.array(rows)[:, 1:]

    def by_take(tokens, starts, block_size):
        rows = np.take(tokens, starts[:, None] + np.arange(block_size + 1)).astype(np.int64)
        return rows[:, :-1], rows[:, 1:]

    starts = np.array([0, 3, 44, 5, 44])
    expected = windows_at(WHOLE, starts, 8)
    for own in (by_slices, by_tokens, by_take):
        assert all(np.array_equal(a, b) for a, b in zip(own(JOINED, starts, 8), expected, strict=True))
    assert len(MISTAKES) > 10  # and what is taught about it has not gone


# A folder of them


def test_fineweb_is_read_as_one_text_in_gpt2s_tokens(tmp_path):
    folder, ids = fineweb(tmp_path / "fineweb10B")
    corpus = load_corpus(data=folder)
    assert np.array_equal(np.asarray(corpus.train), ids[100:]) and np.array_equal(np.asarray(corpus.val), ids[:100])
    assert (corpus.tokenizer.name, corpus.vocab_size) == ("gpt2", 50_257)
    assert corpus.describe() == "fineweb10B: 750 tokens to train on, 100 to validate, in 4 files"
    rng = np.random.default_rng(0)
    for _ in range(20):
        idx, targets = corpus.batch("train", 8, 120, rng)
        places = [int(np.flatnonzero((np.lib.stride_tricks.sliding_window_view(ids[100:], 120) == row).all(1))[0])
                  for row in idx]  # fmt: skip
        assert np.array_equal(targets, [ids[101 + p : 221 + p] for p in places])
    assert np.array_equal(np.concatenate([t[t >= 0] for _, t in corpus.windows(corpus.train, 2, 70)]), ids[101:])


def test_plain_shards_and_a_single_file_are_read_alike(tmp_path):
    folder, ids = plain(tmp_path / "n")
    (folder / "val_000.bin").rename(folder / "val.bin")
    corpus = load_corpus(data=folder)
    assert np.array_equal(np.asarray(corpus.train), ids[40:]) and np.array_equal(corpus.val, ids[:40])
    assert corpus.vocab_size == 60


def test_shards_of_llama_3_are_uint32_and_their_tokenizer_is_not_ours(tmp_path):
    folder, ids = fineweb(tmp_path / "n", magic=20240801, version=7, **{})
    for path in folder.iterdir():
        content = path.read_bytes()
        path.write_bytes(content[:1024] + np.frombuffer(content[1024:], np.uint16).astype(np.uint32).tobytes())
    corpus = load_corpus(data=folder)
    assert corpus.train.dtype == np.uint32 and np.array_equal(np.asarray(corpus.train), ids[100:])
    assert (corpus.tokenizer, corpus.vocab_size) == (None, 128_256)
    assert "llm.c's, says Llama 3's" in corpus.why_no_tokenizer and "uint32 tokens" in corpus.describe()
    with pytest.raises(UserError, match="holds other tokens .*llm.c's, says Llama 3's.* but --tokenizer names GPT-2's"):
        load_corpus(data=folder, tokenizer="gpt2")


def test_order_is_that_of_the_numbers_and_names_may_say_how_many(tmp_path):
    (tmp_path / "n").mkdir()
    for number in range(12):
        shard(tmp_path / "n" / f"train-{number}-of-12.bin", [number] * 20)
    shard(tmp_path / "n" / "val-0-of-1.bin", [0] * 20)
    assert np.array_equal(np.asarray(load_corpus(data=tmp_path / "n").train), np.arange(12).repeat(20))
    (tmp_path / "n" / "train-11-of-12.bin").unlink()
    with pytest.raises(UserError, match="n has 11 of the 12 shards that train-10-of-12.bin tells of; fetch the rest"):
        load_corpus(data=tmp_path / "n")


def test_the_folder_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    folder, ids = plain(tmp_path / "data" / "mine")
    assert len(load_corpus("mine").train) == 75


def test_a_run_on_shards_trains_resumes_and_is_evaluated(tmp_path, capsys):
    folder, _ = plain(tmp_path / "n")
    out = f"--out_dir={tmp_path / 'out'}"
    assert main(["train", *SMALL, f"--data={folder}", out]) == 0
    assert "75 tokens to train on, 40 to validate, in 4 files" in capsys.readouterr().out
    assert main(["train", "--init_from=resume", "--max_iters=4", out]) == 0
    assert main(["eval", out, "--device=cpu", "--threads=1"]) == 0
    assert "39 tokens predicted" in capsys.readouterr().out
    assert main(["eval", out, f"--data={folder}", "--device=cpu", "--threads=1"]) == 0
    assert "114 tokens predicted" in capsys.readouterr().out


def test_the_fingerprint_is_of_every_shard(tmp_path):
    folder, ids = plain(tmp_path / "n")
    first = load_corpus(data=folder).fingerprint
    assert load_corpus(data=folder).fingerprint == first
    shard(folder / "train_001.bin", ids[70:90][::-1])
    assert load_corpus(data=folder).fingerprint != first


# What is wrong with one


def test_a_gap_in_the_numbers_is_said(tmp_path):
    folder, _ = fineweb(tmp_path / "n")
    (folder / "fineweb_train_000002.bin").unlink()
    with pytest.raises(UserError, match="n: 1 of the shards before fineweb_train_000003.bin is missing; .* gaps"):
        load_corpus(data=folder)


def test_two_shards_with_a_number_are_refused(tmp_path):
    folder, _ = plain(tmp_path / "n")
    shard(folder / "train_01.bin", [1] * 9)
    with pytest.raises(UserError, match="n: another shard with the number of train_0+1.bin is there too"):
        load_corpus(data=folder)


def test_no_shard_to_validate_on_is_said_with_what_to_rename(tmp_path):
    folder, _ = fineweb(tmp_path / "n")
    (folder / "fineweb_val_000000.bin").unlink()
    with pytest.raises(UserError) as raised:
        load_corpus(data=folder)
    assert str(raised.value).endswith(
        "has 3 shards to train on, up to fineweb_train_000003.bin, and no val.bin or shard of it to validate on; keep "
        "one back: rename fineweb_train_000003.bin to fineweb_val_000003.bin"
    )
    (folder / "fineweb_train_000003.bin").rename(folder / "fineweb_val_000003.bin")
    assert len(load_corpus(data=folder).val) == 250


def test_shards_of_two_texts_in_a_folder_are_refused(tmp_path):
    folder, _ = fineweb(tmp_path / "n")
    shard(folder / "wiki_train_000001.bin", [1, 2, 3], magic=20240520)
    with pytest.raises(UserError, match="holds token files of several texts, fineweb_train and wiki_train; keep those"):
        load_corpus(data=folder)


def test_a_single_file_goes_before_shards_and_says_so(tmp_path):
    folder, _ = plain(tmp_path / "n")
    shard(folder / "train.bin", [1] * 50)
    with pytest.warns(UserWarning, match="train.bin is the text, and train_000.bin beside it is left alone"):
        assert len(load_corpus(data=folder).train) == 50


def test_shards_with_and_without_a_header_do_not_go_together(tmp_path):
    folder, ids = fineweb(tmp_path / "n")
    shard(folder / "fineweb_train_000002.bin", ids[400:600])
    with pytest.raises(UserError, match="fineweb_train_000001.bin and fineweb_train_000002.bin have different headers"):
        load_corpus(data=folder)


@pytest.mark.parametrize(
    ("count", "magic", "version", "message"),
    [
        (101, 20240520, 1, "is damaged: its header tells of 101 uint16 tokens, but there are 100; fetch or write it"),
        (99, 20240520, 1, "is damaged: its header tells of 99 uint16 tokens, but there are 100"),
        (-1, 20240520, 1, "is damaged: its header tells of -1 uint16 tokens"),
        (100, 20240520, 2, "has version 2 of llm.c's header 20240520; expected 1"),
        (100, 20240801, 7, "is damaged: its header tells of 100 uint32 tokens, but there are 50"),
        (100, 20240522, 1, "holds llm.c's questions for an evaluation, not a text's tokens"),
        (100, 20240326, 3, "holds a model's weights, of llm.c, not a text's tokens"),
    ],
)
def test_a_header_that_is_not_true_is_said(tmp_path, count, magic, version, message):
    folder, ids = fineweb(tmp_path / "n")
    path = folder / "fineweb_val_000000.bin"
    path.write_bytes(header(count, magic, version) + ids[:100].astype(np.uint16).tobytes())
    with pytest.raises(UserError, match=f"fineweb_val_000000.bin {message}"):
        load_corpus(data=folder)


def test_a_header_goes_before_token_dtype(tmp_path):
    folder, _ = fineweb(tmp_path / "n")
    assert load_corpus(data=folder, token_dtype="uint16").train.dtype == np.uint16
    with pytest.raises(UserError, match="--token_dtype=uint32 contradicts the header of .*train_000001.bin"):
        load_corpus(data=folder, token_dtype="uint32")


# Written to under a run


def read(corpus, starts, length=16):
    starts = np.array(starts)
    return corpus.cut(corpus._read("train", starts, length + 1), starts, length)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not cut a file that is mapped")
@pytest.mark.parametrize("rest", [0, 1024, 1300])
def test_a_shard_that_is_cut_short_is_a_sentence_where_it_is_read(tmp_path, rest):
    folder, ids = fineweb(tmp_path / "n")
    corpus = load_corpus(data=folder)
    path = folder / "fineweb_train_000002.bin"  # the tokens from 300 to 500
    size = path.stat().st_size
    os.truncate(path, rest)
    assert np.array_equal(read(corpus, [0, 283, 500, 700])[0][1], ids[383:399])
    for starts in ([300], [284], [499], [0, 400]):
        with pytest.raises(UserError, match=f"02.bin was cut short meanwhile, from {size:,} bytes to {rest:,}; start"):
            read(corpus, starts)
    with pytest.raises(UserError, match="cut short"):
        read(corpus, [0], 700)
    with pytest.raises(UserError, match="cut short"):
        corpus.train  # noqa: B018
    assert len(corpus.val) == 100


def test_a_shard_that_is_rewritten_or_grows_is_a_sentence(tmp_path):
    folder, _ = fineweb(tmp_path / "n")
    corpus = load_corpus(data=folder)
    os.utime(folder / "fineweb_train_000003.bin", ns=(1, 1))
    read(corpus, [0])
    with pytest.raises(UserError, match="000003.bin was rewritten, or only touched, meanwhile"):
        read(corpus, [600])
    with (folder / "fineweb_train_000001.bin").open("ab") as file:
        file.write(b"\1\0")
    with pytest.raises(UserError, match=r"000001.bin has grown meanwhile, to 1,626 bytes; start again"):
        read(corpus, [0])
