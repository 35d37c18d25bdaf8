import hashlib
import http.client
import io
import os
import string
import tempfile
import threading
import time
import urllib.error
from pathlib import Path

import numpy as np
import pytest

from tests import children
from tinygpt.data import Corpus, load, load_corpus, token_cache
from tinygpt.errors import UserError
from tinygpt.files import cache_folder, download, write_atomically
from tinygpt.tokenizer import BPETokenizer, CharTokenizer

TEXT = "O naïve 🙂, wherefore art thou?\r\n\tDeny thy father\nand refuse thy name;\n" * 20


@pytest.fixture(autouse=True)
def away_from_the_network_and_the_real_cache(monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "play.txt"
    path.write_bytes(TEXT.encode())
    return path


def corpus_of(ids, n_val=20):
    ids = np.arange(ids, dtype=np.uint16)
    return Corpus("numbers", ids, ids[:n_val], None, len(ids))


def files_under(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


# batches


def test_batch_targets_are_the_tokens_one_place_on():
    idx, targets = corpus_of(1000).batch("train", 5, 7, np.random.default_rng(0))
    assert idx.shape == targets.shape == (5, 7)
    assert (targets == idx + 1).all()
    assert (np.diff(idx, axis=1) == 1).all()
    assert len(set(idx[:, 0])) == 5


def test_batch_is_contiguous_int64_that_the_caller_owns(text_file):
    for array in load_corpus(data=text_file).batch("train", 3, 8, np.random.default_rng(0)):
        assert type(array) is np.ndarray
        assert array.dtype == np.int64
        assert array.flags.c_contiguous and array.flags.owndata and array.flags.writeable


def test_batch_reaches_every_window_from_the_first_to_the_last():
    idx, targets = corpus_of(12).batch("train", 2000, 4, np.random.default_rng(0))
    starts, counts = np.unique(idx[:, 0], return_counts=True)
    assert starts.tolist() == list(range(8))
    assert targets.max() == 11
    assert counts.min() > 150  # 250 expected


def test_batch_depends_on_nothing_but_the_generator():
    corpus = corpus_of(1000)
    a, b = (corpus.batch("train", 4, 8, np.random.default_rng(3))[0] for _ in range(2))
    rng = np.random.default_rng(3)
    assert (a == b).all()
    assert (corpus.batch("train", 4, 8, rng)[0] == a).all()
    assert (corpus.batch("train", 4, 8, rng)[0] != a).any()


def test_batch_reads_the_split_that_is_asked_for():
    idx, targets = corpus_of(1000, n_val=20).batch("val", 100, 4, np.random.default_rng(0))
    assert targets.max() == 19


def test_batch_of_a_split_of_just_one_window():
    idx, targets = corpus_of(9).batch("train", 2, 8, np.random.default_rng(0))
    assert idx.tolist() == [list(range(8))] * 2 and targets.tolist() == [list(range(1, 9))] * 2


def test_batch_of_too_short_a_split_says_by_how_much():
    with pytest.raises(UserError, match="val part of numbers has 8 tokens, but --block_size=8 needs at least 9"):
        corpus_of(100, n_val=8).batch("val", 2, 8, np.random.default_rng(0))


# texts of the user's


def test_a_text_is_split_at_nine_tenths_of_its_characters(text_file):
    corpus = load_corpus(data=text_file)
    split = int(len(TEXT) * 0.9)
    assert corpus.name == "play.txt"
    assert corpus.tokenizer == CharTokenizer.train(TEXT)
    assert corpus.vocab_size == len(set(TEXT))
    assert corpus.tokenizer.decode(corpus.train) == TEXT[:split]
    assert corpus.tokenizer.decode(corpus.val) == TEXT[split:]
    assert (corpus.n_characters, corpus.val_characters) == (len(TEXT), len(TEXT) - split)


def test_tokens_are_memory_mapped_uint16_and_read_only(text_file):
    corpus = load_corpus(data=text_file)
    for tokens in (corpus.train, corpus.val):
        assert isinstance(tokens, np.memmap) and tokens.dtype == np.uint16 and tokens.ndim == 1
        assert not tokens.flags.writeable


@pytest.mark.parametrize("vocab_size, dtype", [(65_536, np.uint16), (65_537, np.uint32)])
def test_tokens_are_uint32_where_the_vocabulary_needs_it(tmp_path, vocab_size, dtype):
    every = [chr(code) for code in range(1, 0x11000) if not 0xD800 <= code < 0xE000]
    (tmp_path / "t.txt").write_bytes("".join(every[:vocab_size]).encode())
    corpus = load_corpus(data=tmp_path / "t.txt")
    assert corpus.vocab_size == vocab_size
    assert corpus.train.dtype == corpus.val.dtype == dtype
    assert corpus.val[-1] == vocab_size - 1


def test_line_ends_are_kept_and_a_byte_order_mark_is_not(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n" * 2)
    corpus = load_corpus(data=tmp_path / "t.txt")
    assert corpus.tokenizer.decode([*corpus.train, *corpus.val]) == "a\r\nb\rc\n\ufeffa\r\nb\rc\n"


def test_bpe_is_trained_on_the_train_part_only(text_file):
    corpus = load_corpus(data=text_file, tokenizer="bpe", vocab_size=300)
    split = int(len(TEXT) * 0.9)
    assert corpus.tokenizer == BPETokenizer.train(TEXT[:split], 300)
    assert corpus.vocab_size == 300
    assert corpus.tokenizer.decode(corpus.train) == TEXT[:split]
    assert corpus.tokenizer.decode(corpus.val) == TEXT[split:]


def test_bpe_has_1024_tokens_unless_told_otherwise(tmp_path):
    (tmp_path / "squares.txt").write_text(" ".join(str(i * i) for i in range(1500)))
    assert load_corpus(data=tmp_path / "squares.txt", tokenizer="bpe").vocab_size == 1024


def test_gpt2_tokens(text_file, gpt2_files):
    corpus = load_corpus(data=text_file, tokenizer="gpt2")
    assert (corpus.vocab_size, corpus.train.dtype) == (50257, np.uint16)
    assert corpus.tokenizer.decode([*corpus.train, *corpus.val]) == TEXT


def test_a_tokenizer_made_before_is_used_as_it_is(text_file):
    for tokenizer in (CharTokenizer("🙂" + "".join(sorted(set(TEXT) - {"🙂"}))), BPETokenizer([(104, 121)])):
        corpus = load_corpus(data=text_file, tokenizer=tokenizer)
        assert corpus.tokenizer == tokenizer and corpus.vocab_size == tokenizer.vocab_size
        assert corpus.train[:4].tolist() == tokenizer.encode("O na").tolist()


def test_a_tokenizer_made_before_that_lacks_a_character_says_so(text_file, tmp_path):
    with pytest.raises(UserError, match="Character '🙂'"):
        load_corpus(data=text_file, tokenizer=CharTokenizer.train(TEXT.replace("🙂", "")))
    assert files_under(tmp_path / "cache") == []


def test_bits_per_character_count_characters_whatever_the_tokens(text_file):
    char = load_corpus(data=text_file)
    assert char.bits_per_character(np.log(2)) == pytest.approx(1)
    bpe = load_corpus(data=text_file, tokenizer="bpe", vocab_size=300)
    assert bpe.bits_per_character(np.log(2)) == pytest.approx(len(bpe.val) / (len(TEXT) - int(len(TEXT) * 0.9)))
    assert bpe.bits_per_character(1.0) < char.bits_per_character(1.0)


def test_a_text_of_one_character_loads_and_then_says_that_it_is_short(tmp_path):
    (tmp_path / "t.txt").write_text("a")
    corpus = load_corpus(data=tmp_path / "t.txt")
    assert len(corpus.train) == 0 and len(corpus.val) == 1
    with pytest.raises(UserError, match="train part of t.txt has 0 tokens"):
        corpus.batch("train", 1, 1, np.random.default_rng(0))


def test_a_text_that_is_not_utf8_names_the_byte(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 noir")
    with pytest.raises(UserError, match="latin.txt is not UTF-8: byte 0xe9 at position 3"):
        load_corpus(data=tmp_path / "latin.txt")


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_an_empty_text_is_refused(tmp_path, content):
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(UserError, match="t.txt is empty"):
        load_corpus(data=tmp_path / "t.txt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="There is no file .*nowhere.txt; --data takes a UTF-8 text"):
        load_corpus(data=tmp_path / "nowhere.txt")


def test_a_file_that_cannot_be_read_is_a_sentence(text_file):
    with pytest.raises(UserError, match="cannot be read|There is no file"):
        load_corpus(data=text_file / "inside")


def test_bpe_of_a_text_with_too_few_pairs_says_how_many(tmp_path):
    (tmp_path / "t.txt").write_text("ab ab ab")  # 7 characters to train on; merges " a", "ab", " ab"
    with pytest.raises(UserError, match="vocab_size is 1,024, but this text allows only 3 merges"):
        load_corpus(data=tmp_path / "t.txt", tokenizer="bpe")


@pytest.mark.parametrize("tokenizer", ["char", "gpt2", CharTokenizer("a")])
def test_a_vocab_size_without_bpe_is_refused(text_file, tokenizer):
    with pytest.raises(UserError, match="--vocab_size=300 goes with --tokenizer=bpe"):
        load_corpus(data=text_file, tokenizer=tokenizer, vocab_size=300)


def test_a_vocab_size_of_zero_is_refused(text_file):
    with pytest.raises(UserError, match="vocab_size is 0"):
        load_corpus(data=text_file, tokenizer="bpe", vocab_size=0)


def test_unknown_names_are_answered_with_the_known_and_the_nearest():
    with pytest.raises(UserError, match=r"no dataset 'stdlb' \(did you mean stdlib\?\); choose from stdlib,"):
        load_corpus("stdlb")
    with pytest.raises(UserError, match="no dataset 'qqq'; choose from stdlib, shakespeare_char.*--data FILE"):
        load_corpus("qqq")
    with pytest.raises(UserError, match=r"no tokenizer 'gpt-2' \(did you mean gpt2\?\); choose from char, bpe, gpt2"):
        load_corpus(tokenizer="gpt-2")


# the cache of token files


def test_token_files_are_written_once_and_used_again(text_file, tmp_path, monkeypatch):
    first = load_corpus(data=text_file, tokenizer="bpe", vocab_size=300)
    written = files_under(tmp_path / "cache")
    assert [path.name for path in written] == ["checksums", "tokenizer.json", "train.bin", "val.bin"]
    monkeypatch.setattr(token_cache, "_write_entry", None)
    monkeypatch.setattr(BPETokenizer, "train", None)
    again = load_corpus(data=text_file, tokenizer="bpe", vocab_size=300)
    assert (again.train == first.train).all() and (again.val == first.val).all()
    assert again.tokenizer == first.tokenizer
    assert files_under(tmp_path / "cache") == written


def test_each_text_and_each_tokenizer_has_its_own_token_files(text_file, tmp_path):
    for n, arguments in enumerate(
        [
            {},
            {"tokenizer": "bpe", "vocab_size": 300},
            {"tokenizer": "bpe", "vocab_size": 299},
            {"tokenizer": CharTokenizer("".join(reversed(sorted(set(TEXT)))))},
        ],
        start=1,
    ):
        load_corpus(data=text_file, **arguments)
        assert len(list((tmp_path / "cache" / "texts").iterdir())) == n
    text_file.write_bytes(TEXT.replace("father", "fathom").encode())
    corpus = load_corpus(data=text_file)
    assert "fathom" in corpus.tokenizer.decode(corpus.train)


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "tokenizer.json", "checksums"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "longer"])
@pytest.mark.filterwarnings("ignore::tinygpt.errors.Note")
def test_a_damaged_entry_is_built_again(text_file, tmp_path, name, damage):
    load_corpus(data=text_file)
    (victim,) = (tmp_path / "cache" / "texts").glob(f"*/{name}")
    content = victim.read_bytes()
    victim.unlink()
    if damage != "missing":
        victim.write_bytes({"empty": b"", "cut": content[:-1], "longer": content + b"\1\1"}[damage])
    corpus = load_corpus(data=text_file)
    assert corpus.tokenizer.decode([*corpus.train, *corpus.val]) == TEXT
    (entry,) = (tmp_path / "cache" / "texts").iterdir()
    assert len(files_under(entry)) == 4


def test_a_write_that_fails_leaves_nothing_behind(text_file, tmp_path, monkeypatch):
    def disk_full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CharTokenizer, "save", lambda self, path: disk_full(path))
    with pytest.raises(
        UserError, match=r"cannot be written in .*\(No space left on device\): the disk is full or a limi"
    ):
        load_corpus(data=text_file)
    assert list((tmp_path / "cache" / "texts").iterdir()) == []


def test_many_at_once_all_end_well(text_file, tmp_path):
    start, results = threading.Barrier(8, timeout=60), []

    def work():
        start.wait()
        corpus = load_corpus(data=text_file, tokenizer="bpe", vocab_size=300)
        results.append(corpus.tokenizer.decode([*corpus.train, *corpus.val]) == TEXT)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [True] * 8
    assert len(list((tmp_path / "cache" / "texts").iterdir())) == 1


def test_two_processes_at_once_both_end_well(text_file, tmp_path):
    code = (
        "import sys; from tinygpt.data import load_corpus; corpus = load_corpus(data=sys.argv[1]);"
        "sys.stdout.buffer.write(corpus.tokenizer.decode_bytes([*corpus.train, *corpus.val]))"
    )
    root = Path(__file__).resolve().parents[1]
    one, other = (children.started("-c", code, text_file, cwd=root, text=False) for _ in range(2))
    with one as one, other as other:
        assert [process.communicate()[0] for process in (one, other)] == [TEXT.encode()] * 2
    assert len(list((tmp_path / "cache" / "texts").iterdir())) == 1


def test_losing_the_race_to_another_process_is_no_loss(text_file, tmp_path, monkeypatch):
    rename = os.rename

    def another_was_faster(source, target):
        monkeypatch.setattr("os.rename", rename)
        load_corpus(data=text_file)
        rename(source, target)

    monkeypatch.setattr("os.rename", another_was_faster)
    corpus = load_corpus(data=text_file)
    assert corpus.tokenizer.decode(corpus.train) == TEXT[: len(corpus.train)]
    assert len(list((tmp_path / "cache" / "texts").iterdir())) == 1


def test_cache_folder_follows_environment_and_system(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    assert cache_folder().is_dir()
    monkeypatch.delenv("TINYGPT_CACHE")
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    usual = {"darwin": "Library/Caches", "win32": "AppData/Local", "linux": ".cache"}
    for platform, folder in usual.items():
        monkeypatch.setattr("sys.platform", platform)
        assert cache_folder() == tmp_path / folder / "tinygpt"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "tinygpt"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "tinygpt"


def test_a_cache_folder_that_cannot_be_written_gives_way_to_a_temporary_one(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "file" / "cache"))
    folder = cache_folder()
    assert folder.parent == tmp_path / "temporary" and folder.name.startswith("tinygpt-")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(UserError, match="Neither .* nor the temporary folder can be written; set TINYGPT_CACHE"):
        cache_folder()


# the corpora with names


def test_stdlib_has_the_same_97_characters_everywhere():
    corpus = load_corpus()
    assert corpus.name == "stdlib"
    assert corpus.tokenizer.state["characters"] == "".join(sorted("\t\n " + string.printable[:94]))
    assert corpus.vocab_size == 97
    assert corpus.n_characters == len(corpus.train) + len(corpus.val) > 500_000
    text = corpus.tokenizer.decode(corpus.train)
    assert "\nimport " in text and "def __init__(self" in text


def fake_stdlib(monkeypatch, folder, modules):
    folder.mkdir(exist_ok=True)
    for name, content in modules.items():
        (folder / name).write_bytes(content)
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(folder)})


def test_stdlib_takes_top_level_modules_in_order_and_only_printable_ascii(tmp_path, monkeypatch):
    lib = tmp_path / "lib"
    (lib / "package").mkdir(parents=True)
    (lib / "package" / "inner.py").write_text("inner")
    modules = {
        "b.py": "é🙂\x0c\x00\x7f|\t~ é".encode() + b"\xff",
        "a.py": b"one\r\ntwo\rthree\n",
        "Z.py": b"x" * 500_000,
        "c.txt": b"no module",
    }
    fake_stdlib(monkeypatch, lib, modules)
    text, characters = load.TEXTS["stdlib"](tmp_path)
    assert text == b"x" * 500_000 + b"\none\ntwo\nthree\n\n" + b"?????|\t~ ??"
    assert set(text.decode()) <= set(characters)


def test_stdlib_without_sources_names_the_other_corpora(tmp_path, monkeypatch):
    fake_stdlib(monkeypatch, tmp_path / "lib", {"a.py": b"x" * 1000})
    with pytest.raises(
        UserError, match="only 1,000 bytes .* --dataset=shakespeare_char or --dataset=addition or --data FILE"
    ):
        load_corpus()


@pytest.fixture
def shakespeare(tmp_path, monkeypatch):
    """A small stand-in for tiny Shakespeare, served from a file."""
    text = b"First Citizen:\nBefore we proceed any further, hear me speak.\n" * 5
    server = tmp_path / "server.txt"
    server.write_bytes(text)
    monkeypatch.undo()
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(load, "SHAKESPEARE_URL", server.as_uri())
    monkeypatch.setattr(load, "SHAKESPEARE_SHA256", hashlib.sha256(text).hexdigest())
    return server


def test_shakespeare_is_fetched_once(shakespeare):
    text = shakespeare.read_text()
    corpus = load_corpus("shakespeare_char")
    assert corpus.tokenizer.decode([*corpus.train, *corpus.val]) == text
    shakespeare.unlink()
    assert load_corpus("shakespeare_char").n_characters == len(text)


def test_shakespeare_is_fetched_again_where_the_copy_is_damaged(shakespeare, tmp_path):
    load_corpus("shakespeare_char")
    copy = tmp_path / "cache" / "shakespeare_char.txt"
    for damaged in (b"", shakespeare.read_bytes()[:-1], shakespeare.read_bytes().swapcase()):
        copy.write_bytes(damaged)
        assert load_corpus("shakespeare_char").n_characters == len(shakespeare.read_text())
        assert copy.read_bytes() == shakespeare.read_bytes()


def test_shakespeare_that_comes_damaged_is_refused_and_not_kept(shakespeare, tmp_path):
    shakespeare.write_bytes(shakespeare.read_bytes().swapcase())
    with pytest.raises(UserError, match="is not the file expected.*--data FILE"):
        load_corpus("shakespeare_char")
    assert files_under(tmp_path / "cache") == []


@pytest.mark.parametrize("error", [urllib.error.URLError("no route"), TimeoutError(), http.client.IncompleteRead(b"")])
def test_shakespeare_without_a_network_names_the_ways_out(monkeypatch, error):
    def no_network(url, timeout):
        raise error

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(
        UserError, match="Could not fetch https://.*; use --dataset=stdlib or --dataset=addition or --data FILE"
    ):
        load_corpus("shakespeare_char")


def test_a_download_that_breaks_off_is_refused(tmp_path, monkeypatch):
    class Response(io.BytesIO):
        length = 996_000  # what http.client says is still to come

    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: Response(b"only the beginning"))
    with pytest.raises(UserError, match="broke off 996,000 bytes before the end.*; do this"):
        download("https://example.org/file", tmp_path / "file", "do this")
    assert not list(tmp_path.iterdir())


def test_leftovers_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path):
    for name, age in (("dead", 90_000), ("alive", 10)):
        leftover = tmp_path / f".file.{name}.writing"
        leftover.write_bytes(b"half")
        os.utime(leftover, (time.time() - age, time.time() - age))
    write_atomically(tmp_path / "file", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".file.alive.writing", "file"]


# addition


@pytest.fixture(scope="module")
def addition():
    return load_corpus("addition")


def test_a_line_is_the_sum_last_digit_first(addition):
    text = addition.tokenizer.decode(addition.lines(np.array([[123, 45], [999, 999], [0, 7]])).reshape(-1))
    assert text == "123+045=8610\n999+999=8991\n000+007=7000\n"


def test_a_tenth_of_all_pairs_is_held_out_whichever_comes_first(addition):
    a, b = np.divmod(np.arange(1_000_000), 1000)
    held = addition.held_out(a, b)
    assert abs(held.mean() - 0.1) < 0.002
    np.testing.assert_array_equal(held, addition.held_out(b, a))
    by_last_digits = [held[(a % 10 == i) & (b % 10 == j)].mean() for i in range(10) for j in range(10)]
    assert min(by_last_digits) > 0.05 and max(by_last_digits) < 0.15  # no column of digits is held out as a whole


@pytest.mark.parametrize(("split", "held_out"), [("train", False), ("val", True)])
@pytest.mark.parametrize("block_size", [12, 64, 100])
def test_rows_hold_sums_of_their_split_and_targets_only_answers(addition, split, held_out, block_size):
    idx, targets = addition.batch(split, 40, block_size, np.random.default_rng(1))
    assert idx.shape == targets.shape == (40, block_size) and idx.dtype == targets.dtype == np.int64
    for row, answers in zip(idx, targets, strict=True):
        text = addition.tokenizer.decode(row) + addition.tokenizer.decode(answers[-1:] if answers[-1] >= 0 else [])
        for line in text.split("\n"):
            if len(line) == 12:
                a, b, total = int(line[:3]), int(line[4:7]), int(line[8:][::-1])
                assert a + b == total and addition.held_out(np.array([a]), np.array([b]))[0] == held_out
        for place in range(block_size):
            expected = addition.tokenizer.encode(text)[place + 1] if (place + 1) % 13 >= 8 else -1
            if place + 1 < len(text):
                assert answers[place] == expected


def test_the_same_generator_gives_the_same_sums_and_another_others(addition):
    first, again, other = (addition.batch("train", 4, 64, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_accuracy_counts_exact_answers_to_unseen_sums(addition):
    assert addition.unseen.shape == (1000, 2) and addition.held_out(*addition.unseen.T).all()

    class Knows:
        def __init__(self, share):
            self.known = {
                tuple(line[:8]): line for line in addition.lines(addition.unseen[: int(1000 * share)]).tolist()
            }

        def generate(self, idx, count, temperature):
            return np.array([self.known.get(tuple(row), [*row, *[0] * count]) for row in idx.tolist()])

    assert addition.accuracy(Knows(1.0)) == 1.0 and addition.accuracy(Knows(0.25)) == 0.25


def test_accuracy_is_given_up_when_it_is_asked_to_stop(addition):
    asked = []

    class Stopped:
        def generate(self, idx, count, temperature):
            asked.append(len(idx))
            return np.zeros((len(idx), 13), np.int64)

    assert addition.accuracy(Stopped(), lambda: len(asked) == 3) is None and sum(asked) == 300


def test_a_sample_of_addition_shows_sums_as_people_write_them_and_what_is_wrong(addition):
    (a, b), (c, d) = addition.unseen[:2].tolist()

    class KnowsOne:
        def generate(self, idx, count, temperature):
            return np.stack([addition.lines(np.array([[a, b]]))[0], addition.lines(np.array([[c, d + 1]]))[0]])

    assert addition.sample(KnowsOne(), 80) == f"{a} + {b} = {a + b}\n{c} + {d} = {c + d + 1}  (wrong: {c + d})"


def test_windows_of_addition_predict_every_answer_once(addition):
    idx, targets = zip(*addition.windows(addition.val[: 7 * 13], 2, 64), strict=True)
    predicted = np.concatenate([t[t >= 0] for t in targets])
    answers = addition.val[: 7 * 13].reshape(7, 13)[:, -5:].reshape(-1)
    np.testing.assert_array_equal(predicted, answers)
    assert all(rows.shape[1] == 64 for rows in idx)


def test_addition_needs_room_for_a_sum(addition):
    with pytest.raises(UserError, match="--block_size is 11; addition needs at least 12"):
        addition.batch("train", 2, 11, np.random.default_rng(0))


def test_addition_has_its_own_characters():
    with pytest.raises(UserError, match="13 characters of its own"):
        load_corpus("addition", tokenizer="bpe")


# windows


@pytest.mark.parametrize("length", [2, 9, 10, 41, 100])
def test_windows_make_every_token_but_the_first_a_target_once(length):
    tokens = np.arange(length, dtype=np.uint16)
    corpus = Corpus("test", tokens, tokens, None, length)
    batches = list(corpus.windows(tokens, batch_size=2, block_size=10))
    for idx, targets in batches:
        assert idx.shape == targets.shape and idx.shape[1] == 10 and idx.shape[0] <= 2
        assert ((targets == idx + 1) | (targets == -1)).all()
    np.testing.assert_array_equal(np.concatenate([t[t >= 0] for _, t in batches]), np.arange(1, length))


def test_the_fingerprint_is_the_texts_own(tmp_path, text_file):
    first = load_corpus(data=text_file)
    assert load_corpus(data=text_file, tokenizer="bpe", vocab_size=260).fingerprint == first.fingerprint
    text_file.write_text(text_file.read_text(encoding="utf-8") + "!", encoding="utf-8")
    assert load_corpus(data=text_file).fingerprint != first.fingerprint
