"""The cache of token files: damage is said when it is read, and what cannot be written or replaced says why."""

import errno
import json
import os
import re
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests import children
from tests.damage import damage
from tinygpt.cli import main
from tinygpt.data import load_corpus, token_cache
from tinygpt.errors import Note, UserError
from tinygpt.run.folder import load_state
from tinygpt.tokenizer import CharTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz \n"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def text_file(tmp_path):
    """A text of 3 MiB in uint16 tokens and a part of a fourth, no two MiBs alike."""
    path = tmp_path / "text.txt"
    path.write_text("".join(np.random.default_rng(0).choice(list(LETTERS), 1_800_000)), newline="")
    return path


def entries(cache):
    return sorted(path for path in (cache / "texts").iterdir() if path.is_dir())


def train(path, out, *flags):
    small = "--n_layer=1 --n_embd=16 --n_head=2 --block_size=16 --batch_size=4 --eval_interval=4 --eval_iters=1"
    small += " --max_iters=8 --sample_length=0 --device=cpu --threads=1 --warmup_iters=2"
    return main(["train", f"--data={path}", f"--out_dir={out}", *small.split(), *flags])


# damage


def test_damage_anywhere_in_an_entry_is_said_before_a_token_of_it_is_read(cache, text_file, tmp_path):
    load_corpus(data=text_file)
    (entry,) = entries(cache)
    shutil.copytree(entry, tmp_path / "whole")
    text, rng = text_file.read_text(), np.random.default_rng(1)
    for _ in range(60):
        what = damage(entry / rng.choice(sorted(os.listdir(tmp_path / "whole"))), rng)
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            try:
                corpus = load_corpus(data=text_file)
                assert corpus.tokenizer.decode([*corpus.train[:9], *corpus.val[-9:]]) == text[:9] + text[-9:], what
                said = [str(note.message) for note in notes if note.category is Note]
            except UserError as error:
                said = [str(error)]
        assert len(said) == 1 and "damaged" in said[0] and str(entry) in said[0], what
        shutil.rmtree(entry)
        shutil.copytree(tmp_path / "whole", entry)


def test_a_whole_file_of_another_text_is_said(cache, tmp_path):
    """Of the same size, so that only what it holds tells it apart."""
    for name in ("ab", "ba"):
        (tmp_path / name).write_text(name * 500)
        load_corpus(data=tmp_path / name)
    one, other = entries(cache)
    shutil.copy(one / "train.bin", other / "train.bin")
    with pytest.raises(UserError, match="train.bin is damaged in its MiB 1 of 1"):
        for name in ("ab", "ba"):
            load_corpus(data=tmp_path / name).batch("train", 1, 8, np.random.default_rng(0))


def test_an_entry_in_anothers_place_is_made_anew(cache, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"{name} text of {name} " * 100)
        load_corpus(data=tmp_path / name)
    one, other = entries(cache)
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)
    for name in ("a", "b"):
        with pytest.warns(Note, match="made anew"):
            corpus = load_corpus(data=tmp_path / name)
        assert corpus.tokenizer.decode(corpus.train[:9]) == f"{name} text of"


def test_only_what_is_read_is_compared_and_only_once(cache, text_file, monkeypatch):
    load_corpus(data=text_file)
    hashed = []
    real = token_cache.hashed
    monkeypatch.setattr(token_cache, "hashed", lambda content: (hashed.append(len(content)), real(content))[1])
    corpus = load_corpus(data=text_file)
    assert max(hashed) < token_cache.MIB or hashed.count(1_800_000) == 1  # the text itself, and small files
    check, mib = corpus.checks["train"], token_cache.MIB // 2  # in tokens
    for starts, length, expected in [
        ([5, 900], 100, 1),  # in the first MiB
        ([mib - 50, 7], 50, 0),  # up to the last token of it
        ([mib - 50], 51, 1),  # the first token of the second
        ([0], 3 * mib + 1, 2),  # all of them, the third and fourth anew
        ([0, mib, 3 * mib], 100, 0),
    ]:
        hashed.clear()
        check(np.array(starts), length)
        assert len(hashed) == expected
    assert len(corpus.checks["train"].__self__.checksums) == 4


def test_a_damaged_mib_is_said_when_a_row_reaches_it_and_the_next_start_is_whole(cache, text_file):
    load_corpus(data=text_file)
    (entry,) = entries(cache)
    content = bytearray((entry / "train.bin").read_bytes())
    content[2 * token_cache.MIB + 5000] ^= 16
    (entry / "train.bin").write_bytes(content)
    corpus = load_corpus(data=text_file)
    assert corpus.batch("val", 2, 8, np.random.default_rng(0))[0].shape == (2, 8)
    with pytest.raises(UserError, match=r"train.bin is damaged in its MiB 3 of 4; start again, and the text is encod"):
        for seed in range(100):
            corpus.batch("train", 2, 8, np.random.default_rng(seed))
    with pytest.raises(UserError, match="damaged"):
        corpus.train  # noqa: B018
    with pytest.warns(Note, match="were damaged, and are made anew"):
        again = load_corpus(data=text_file)
    assert again.tokenizer.decode(again.train) == text_file.read_text()[:1_620_000]


def test_a_readers_own_cut_gets_the_mapped_array_checked(cache, text_file):
    corpus = load_corpus(data=text_file)
    seen = []

    def cut(tokens, starts, block_size):
        seen.append(type(tokens))
        mib = token_cache.MIB // 2
        unread = corpus.checks["train"].__self__.unread
        assert not unread[starts // mib].any() and not unread[(starts + block_size) // mib].any()
        return tokens[starts[:, None] + np.arange(block_size)], None

    corpus.cut = cut
    corpus.batch("train", 4, 8, np.random.default_rng(0))
    assert seen == [np.memmap]


def test_a_run_that_meets_damage_says_so_keeps_its_save_and_goes_on_when_started_again(cache, tmp_path, capsys):
    path = tmp_path / "small.txt"
    path.write_text("to be or not to be, that is the question\n" * 200)
    again = "--init_from=resume", "--max_iters=12"
    assert train(path, tmp_path / "out") == 0
    assert train(path, tmp_path / "out", "--init_from=resume", "--max_iters=10") == 0
    for entry in entries(cache):  # the first run's, and the resumed one's, whose tokenizer was made before
        content = bytearray((entry / "val.bin").read_bytes())
        content[100:200] = bytes(100)
        (entry / "val.bin").write_bytes(content)
    before = load_state(tmp_path / "out")[0]
    capsys.readouterr()
    assert train(path, tmp_path / "out", *again) == 1
    assert "val.bin is damaged in its MiB 1 of 1; start again" in capsys.readouterr().err
    assert load_state(tmp_path / "out")[0] == before
    assert train(path, tmp_path / "out", *again) == 0
    assert "note: the token files in" in capsys.readouterr().err
    for entry in entries(cache):
        (entry / "train.bin").write_bytes(bytes((entry / "train.bin").stat().st_size))
    assert main(["eval", f"--out_dir={tmp_path / 'out'}", f"--data={path}", "--device=cpu"]) == 1
    assert "train.bin is damaged" in capsys.readouterr().err


# power loss


def test_an_entry_is_on_the_disk_before_it_is_in_its_place(cache, tmp_path, monkeypatch):
    (tmp_path / "t.txt").write_text("abc" * 100)
    events = []
    for name in ("fsync", "replace", "rename"):
        function = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, f=function: (events.append(n), f(*a)))
    load_corpus(data=tmp_path / "t.txt")
    # the entries' own folder; both token files; tokenizer and checksums, each with its folder; the entry's move, and
    # the list of entries
    assert events == ["fsync", "fsync", "fsync", *["fsync", "replace", "fsync"] * 2, "rename", "fsync"]


# entries that cannot be written


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, ": the disk is full or a limit is reached; make room, or set TINYGPT_CACHE to another folder"),
        (errno.EDQUOT, ": the disk is full or a limit is reached; make room, or set TINYGPT_CACHE to another folder"),
        (errno.EIO, "; set TINYGPT_CACHE to another folder"),
    ],
)
@pytest.mark.parametrize("place", ["write_bytes", "mkdtemp", "fsync", "replace"])
def test_an_entry_that_cannot_be_written_says_why_and_what_to_do(cache, tmp_path, monkeypatch, place, number, says):
    (tmp_path / "t.txt").write_text("abc" * 100)

    def fails(*_, **__):
        raise OSError(number, os.strerror(number))

    owner = {"write_bytes": Path, "mkdtemp": tempfile}.get(place, os)
    cache.mkdir()
    (cache / "texts").mkdir()
    with monkeypatch.context() as patch, pytest.raises(UserError) as raised:
        patch.setattr(owner, place, fails)
        load_corpus(data=tmp_path / "t.txt")
    assert str(raised.value) == f"Token files cannot be written in {cache / 'texts'} ({os.strerror(number)}){says}"
    assert entries(cache) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of a file")
def test_a_limit_on_files_is_said_as_what_it_is(cache, tmp_path):
    (tmp_path / "t.txt").write_text("abcd" * 10_000)
    code = (
        "import resource, sys; from tinygpt.data import load_corpus;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (15_360, 15_360)); load_corpus(data=sys.argv[1])"
    )
    root = Path(__file__).resolve().parents[1]
    said = children.run("-c", code, tmp_path / "t.txt", cwd=root).stderr
    assert "(File too large): the disk is full or a limit is reached; make room, or set TINYGPT_CACHE" in said
    assert entries(cache) == []


def in_the_way(entry, what):
    shutil.rmtree(entry)
    if what == "a file":
        entry.write_text("a file where a folder belongs")
    else:
        entry.mkdir()
        (entry / "notes.txt").write_text("mine")


@pytest.mark.parametrize("what", ["a file", "a folder"])
def test_what_is_in_an_entrys_place_and_not_ours_stays_and_is_named(cache, tmp_path, what):
    (tmp_path / "t.txt").write_text("abc" * 100)
    load_corpus(data=tmp_path / "t.txt")
    (entry,) = entries(cache)
    in_the_way(entry, what)
    with warnings.catch_warnings(record=True) as notes, pytest.raises(UserError) as raised:
        warnings.simplefilter("always")
        load_corpus(data=tmp_path / "t.txt")
    assert notes == []  # nothing was made anew
    reason = "Not a directory|File exists|Directory not empty"
    assert re.search(rf"{entry} cannot be replaced \(({reason})\); remove it, or set TINYGPT", str(raised.value))
    assert entry.is_file() or (entry / "notes.txt").read_text() == "mine"
    assert list(entry.parent.iterdir()) == [entry]


def test_a_damaged_entry_that_may_not_be_replaced_says_why_once(cache, tmp_path, monkeypatch):
    (tmp_path / "t.txt").write_text("abc" * 100)
    load_corpus(data=tmp_path / "t.txt")
    (entry,) = entries(cache)
    (entry / "checksums").write_bytes(b"")

    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    encoded, encode = [], CharTokenizer.encode
    monkeypatch.setattr(CharTokenizer, "encode", lambda self, text: (encoded.append(text), encode(self, text))[1])
    monkeypatch.setattr(os, "rename", refused)
    monkeypatch.setattr(Path, "rename", refused)
    with warnings.catch_warnings(record=True) as notes, pytest.raises(UserError) as raised:
        warnings.simplefilter("always")
        load_corpus(data=tmp_path / "t.txt")
    assert notes == [] and len(encoded) == 2  # each part once
    assert str(raised.value) == (
        f"{entry} cannot be replaced (Permission denied); remove it, or set TINYGPT_CACHE to another folder"
    )


# checksums that fit themselves and say nothing


def odd_checksums(good):
    """What JSON may be in the place of an entry's checksums, by what it is."""
    odd = None, 3, True, "", "x", [], {}, [None], {"0": "x"}, 1e308, [good["train"]]
    found = {json.dumps(value)[:40]: value for value in odd}
    for key in good:
        found[f"no {key}"] = {name: value for name, value in good.items() if name != key}
        found |= {f"{key}: {json.dumps(value)[:40]}": good | {key: value} for value in odd if value != good[key]}
    for key in ("train", "val"):
        for value in ([*good[key], *good[key]], [5] * len(good[key]), [None] * len(good[key]), good[key][0]):
            found[f"{key}: {json.dumps(value)[:20]}, {len(value)}"] = good | {key: value}
    return found


def test_whatever_fits_its_own_digest_is_read_or_made_anew(cache, tmp_path):
    (tmp_path / "t.txt").write_text("abc" * 100)
    (tmp_path / "other.txt").write_text("abd" * 100)
    load_corpus(data=tmp_path / "t.txt")
    (entry,) = entries(cache)
    good = json.loads((entry / "checksums").read_bytes().partition(b"\n")[2])
    for what, content in odd_checksums(good).items():
        text = json.dumps(content).encode()
        (entry / "checksums").write_bytes(token_cache.hashed(text).encode() + b"\n" + text)
        (tmp_path / "other.txt").write_text(what)
        load_corpus(data=tmp_path / "other.txt")  # whose entry takes room beside it
        harmless = what.startswith(("source", "text")) and isinstance(content[what.partition(":")[0]], str)
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            corpus = load_corpus(data=tmp_path / "t.txt")
            assert corpus.tokenizer.decode([*corpus.train, *corpus.val]) == "abc" * 100, what
        assert len(notes) == (0 if harmless else 1), what
        assert all(len(corpus.checks[part].__self__.checksums) == 1 for part in ("train", "val")), what


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("name", ["train.bin", "tokenizer.json", "checksums"])
def test_a_pipe_in_an_entry_is_not_waited_for(cache, tmp_path, name):
    (tmp_path / "t.txt").write_text("abc" * 100)
    load_corpus(data=tmp_path / "t.txt")
    (entry,) = entries(cache)
    (entry / name).unlink()
    os.mkfifo(entry / name)
    root = Path(__file__).resolve().parents[1]
    code = "import sys; from tinygpt.data import load_corpus; load_corpus(data=sys.argv[1])"
    said = children.run("-c", code, tmp_path / "t.txt", cwd=root, seconds=60).stderr
    assert f"{entry} cannot be replaced" in said
