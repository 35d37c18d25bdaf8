"""The room that the cache takes: nothing of ours piles up, and nothing of anyone else's is ever removed."""

import os
import shutil
import time
from pathlib import Path

import pytest

from tinygpt.data import load_corpus, token_cache


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def entries(cache):
    return sorted(path for path in (cache / "texts").iterdir() if path.is_dir())


def test_many_edits_of_a_text_leave_one_entry_for_each_tokenizer(cache, tmp_path):
    path = tmp_path / "t.txt"
    (tmp_path / "other.txt").write_text("another text, which is not edited")
    load_corpus(data=tmp_path / "other.txt")
    for edit in range(22):
        path.write_text(f"edit {edit} " * 300)
        load_corpus(data=path)
    load_corpus(data=path, tokenizer="bpe", vocab_size=258)
    load_corpus(data=path, tokenizer="bpe", vocab_size=257)
    assert len(entries(cache)) == 4  # this text's three, and the other's
    path.write_text("the last edit " * 300)
    load_corpus(data=path)
    assert len(entries(cache)) == 2


def test_what_was_longest_not_used_leaves_a_full_cache(cache, tmp_path, monkeypatch):
    paths = [tmp_path / f"{number}.txt" for number in range(5)]
    for path in paths:
        path.write_text(path.name * 1000)
    made = []
    real = token_cache._write_entry
    monkeypatch.setattr(token_cache, "_write_entry", lambda *a: (made.append(int(a[3][-5])), real(*a))[1])
    for number in range(4):
        load_corpus(data=paths[number])
        for entry in entries(cache):  # of an hour later than the next
            used = (entry / "checksums").stat().st_mtime - 3600
            os.utime(entry / "checksums", (used, used))
    mapped = load_corpus(data=paths[0])  # used again: 1 is now what was longest not used
    size = sum(file.stat().st_size for file in entry.iterdir())
    monkeypatch.setattr(token_cache, "CACHE_BYTES", int(4.5 * size))
    load_corpus(data=paths[4])
    assert len(entries(cache)) == 4 and made == [0, 1, 2, 3, 4]
    for number in (4, 0, 3, 2, 1):
        load_corpus(data=paths[number])
    assert made == [0, 1, 2, 3, 4, 1]
    monkeypatch.setattr(token_cache, "CACHE_BYTES", 0)  # even then the one just written stays
    paths[4].write_text("something else" * 1000)
    load_corpus(data=paths[4])
    assert len(entries(cache)) == 1
    if os.name == "posix":  # who has it mapped reads on
        assert mapped.tokenizer.decode(mapped.train[:10]) == "0.txt0.txt"


def aged(path, seconds=90_000):
    os.utime(path, (time.time() - seconds,) * 2)


def test_what_killed_processes_left_in_the_cache_goes_after_a_day(cache, tmp_path):
    (tmp_path / "t.txt").write_text("abc" * 100)
    for name in ("dead", "alive"):
        entry = cache / "texts" / f"{'0' * 32}.{name}"
        entry.mkdir(parents=True)
        (entry / "train.bin").write_bytes(b"half")
        (entry / f".tokenizer.json.{'0' * 32}.writing").write_bytes(b"half")
        aged(entry, 90_000 if name == "dead" else 10)
    load_corpus(data=tmp_path / "t.txt")
    assert [entry.suffix for entry in entries(cache)].count(".alive") == 1 and len(entries(cache)) == 2


def test_what_is_not_ours_stays_wherever_it_lies(cache, tmp_path, monkeypatch):
    """Folders named as entries are, as many hashes are, and files named as those that are being written."""
    (tmp_path / "linked" / "to").mkdir(parents=True)
    foreign = [cache / place / name for place in (".", "gpt2", "texts") for name in (".x.writing", "0" * 32)]
    for number, path in enumerate(foreign):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_bytes(b"mine")
            continue
        (path / "deeper").mkdir(parents=True)
        for name in ("train.bin", ".x.writing", "deeper/checksums", "deeper/.x.writing")[: 2 + number % 3]:
            (path / name).write_bytes(b"mine")
    for number, name in enumerate([".x.writing", ".train.bin.writing", "sizes.json", "Train.bin", "checksums.txt"]):
        (cache / "texts" / f"{number + 1:032x}").mkdir()
        (cache / "texts" / f"{number + 1:032x}" / name).write_bytes(b"mine")
    (cache / "texts" / ("a" * 31)).mkdir()
    (cache / "texts" / ("a" * 31) / "train.bin").write_bytes(b"mine")
    (tmp_path / "linked" / "train.bin").write_bytes(b"mine")
    (tmp_path / "linked" / "to").rmdir()
    (cache / "texts" / ("b" * 32)).symlink_to(tmp_path / "linked")
    before = sorted(path for folder in (cache, tmp_path / "linked") for path in folder.rglob("*"))
    for path in sorted(before, reverse=True):
        aged(path)
    monkeypatch.setattr(token_cache, "CACHE_BYTES", 0)
    for edit in ("one", "two"):
        (tmp_path / "t.txt").write_text(f"{edit} " * 300)
        load_corpus(data=tmp_path / "t.txt")
    ours = [
        path for entry in entries(cache) if (entry / "tokenizer.json").exists() for path in (entry, *entry.iterdir())
    ]
    assert len(ours) == 5  # the second edit's entry and its files
    after = {path for folder in (cache, tmp_path / "linked") for path in folder.rglob("*")}
    assert sorted(after - set(ours)) == before


def test_a_whole_entry_that_never_came_to_its_place_goes_too(cache, tmp_path):
    (tmp_path / "t.txt").write_text("abc" * 100)
    load_corpus(data=tmp_path / "t.txt")
    (entry,) = entries(cache)
    for suffix, seconds in (("dead", 90_000), ("alive", 10)):
        shutil.copytree(entry, entry.with_name(f"{entry.name}.{suffix}"))
        aged(entry.with_name(f"{entry.name}.{suffix}") / "checksums", seconds)
    (tmp_path / "t.txt").write_text("abd" * 100)
    load_corpus(data=tmp_path / "t.txt")
    assert sorted(path.suffix for path in entries(cache)) == ["", ".alive"]


def test_one_entry_that_cannot_be_removed_keeps_no_other(cache, tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name * 500)
        load_corpus(data=tmp_path / name)
    kept, real = entries(cache)[1], Path.rename
    monkeypatch.setattr(Path, "rename", lambda path, to: os.stat("/no such") if path == kept else real(path, to))
    monkeypatch.setattr(token_cache, "CACHE_BYTES", 0)
    (tmp_path / "d").write_text("d" * 500)
    load_corpus(data=tmp_path / "d")
    assert kept in entries(cache) and len(entries(cache)) == 2
