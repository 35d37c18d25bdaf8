"""Large texts become tokens in little memory, say how far they are, and go on where they were interrupted."""

import ctypes
import errno
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests import children
from tinygpt.data import encoding, load_corpus, texts, token_cache
from tinygpt.errors import UserError
from tinygpt.progress import heard_by
from tinygpt.tokenizer import BPETokenizer, CharTokenizer

ROOT = Path(__file__).resolve().parents[1]
SMALL_PIECES = {(texts, "PIECE"): 1000, (token_cache, "LASTING"): 5000, (encoding, "KEEP"): 3000}
TEXT = "".join(f"line {number} of a text, naïve and so on\n" for number in range(800))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder; and pieces so small that a short text is a large one."""
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "cache"))
    for (module, name), value in SMALL_PIECES.items():
        monkeypatch.setattr(module, name, value)
    return tmp_path / "cache" / "texts"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "t.txt").write_bytes(TEXT.encode())
    return tmp_path / "t.txt"


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def whole(path, tmp_path, cache, monkeypatch):
    """What each tokenizer's entry holds when nothing interrupts, by the tokenizer's name."""
    found = {}
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "undisturbed"))
    for name in ("char", "bpe"):
        load_corpus(data=path, tokenizer=name, vocab_size=300 if name == "bpe" else None)
        (entry,) = (tmp_path / "undisturbed" / "texts").iterdir()
        found[name] = files_of(entry)
        shutil.rmtree(tmp_path / "undisturbed")
    monkeypatch.setenv("TINYGPT_CACHE", str(cache.parent))
    assert found["char"]["checksums"] != found["bpe"]["checksums"]
    return found


def load(path, name="char"):
    return load_corpus(data=path, tokenizer=name, vocab_size=300 if name == "bpe" else None)


class Interrupts:
    """Stops encoding, by an exception, at the piece of this number; and counts the characters that are encoded."""

    def __init__(self, monkeypatch, kind, at, error=KeyboardInterrupt):
        self.at, self.pieces, self.characters = at, 0, 0
        encode = kind.encode

        def counted(tokenizer, text):
            self.pieces += 1
            if self.pieces == self.at:
                raise error
            self.characters += len(text)
            return encode(tokenizer, text)

        monkeypatch.setattr(kind, "encode", counted)


# small pieces, the same tokens


@pytest.mark.parametrize("name", ["char", "bpe"])
def test_a_text_in_pieces_has_the_tokens_of_the_whole(cache, path, name):
    corpus, split = load(path, name), int(len(TEXT) * 0.9)
    trained = {"char": lambda: CharTokenizer.train(TEXT), "bpe": lambda: BPETokenizer.train(TEXT[:split], 300)}[name]()
    assert corpus.tokenizer == trained
    assert np.array_equal(corpus.train, trained.encode(TEXT[:split]))
    assert np.array_equal(corpus.val, trained.encode(TEXT[split:]))
    (entry,) = cache.iterdir()
    assert sorted(files_of(entry)) == ["checksums", "tokenizer.json", "train.bin", "val.bin"]


def test_an_unknown_character_is_named_with_its_place_in_the_whole_text(cache, path):
    place = TEXT.rindex("7")
    path.write_text(TEXT[:place] + "🙂" + TEXT[place + 1 :], encoding="utf-8", newline="")
    with pytest.raises(UserError, match=rf"Character '🙂' \(U\+1F642\) at position {place:,} is not among the"):
        load_corpus(data=path, tokenizer=CharTokenizer.train(TEXT))
    assert list(cache.iterdir()) == []


def test_an_entry_larger_than_the_cache_may_be_is_used_and_used_again(cache, path, monkeypatch):
    monkeypatch.setattr(token_cache, "CACHE_BYTES", 1000)
    first = load(path)
    monkeypatch.setattr(token_cache, "_write_entry", None)
    assert np.array_equal(load(path).train, first.train)


# interruptions


@pytest.mark.parametrize("name", ["char", "bpe"])
def test_what_is_interrupted_anywhere_goes_on_from_there_to_the_same_bytes(cache, path, whole, name):
    kind = {"char": CharTokenizer, "bpe": BPETokenizer}[name]
    for at in (1, 2, 3, 17, 28, 30):  # the last in the part to validate on
        shutil.rmtree(cache, ignore_errors=True)
        with pytest.MonkeyPatch.context() as patch:
            stopped = Interrupts(patch, kind, at)
            with pytest.raises(KeyboardInterrupt):
                load(path, name)
        assert [entry.suffix for entry in cache.iterdir()] == [".part"]
        with pytest.MonkeyPatch.context() as patch:
            rest = Interrupts(patch, kind, 0)
            load(path, name)
        assert stopped.characters + rest.characters == len(TEXT)  # nothing is done twice
        (entry,) = cache.iterdir()
        assert files_of(entry) == whole[name]


@pytest.mark.parametrize("at", range(2, 14, 3))
def test_what_a_tokenizer_looks_back_at_is_kept_too(cache, path, at):
    """One like Llama's, which puts a letter before whatever it is given."""

    class LooksBack(CharTokenizer):
        context = 3

        def encode_after(self, before, text):
            seen.append(text)
            if len(seen) == at:
                raise KeyboardInterrupt
            return self.encode(text if before else "a" + text)

    seen = []
    tokenizer = LooksBack(CharTokenizer.train(TEXT).state["characters"])
    with pytest.raises(KeyboardInterrupt):
        load_corpus(data=path, tokenizer=tokenizer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "load", lambda path: tokenizer)
        corpus = load_corpus(data=path, tokenizer=tokenizer)
    split = int(len(TEXT) * 0.9)
    for part, text in (("train", TEXT[:split]), ("val", TEXT[split:])):
        assert corpus.tokenizer.decode(corpus.streams[part]) == "a" + text


def test_merges_are_not_learned_again(cache, path, whole, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Interrupts(patch, BPETokenizer, 1)
        load(path, "bpe")
    monkeypatch.setattr(token_cache, "learned", None)
    assert load(path, "bpe").vocab_size == 300


KILLED = """
import os, signal, sys
from tinygpt.data import encoding, load_corpus, texts, token_cache
from tinygpt.tokenizer import CharTokenizer
texts.PIECE, token_cache.LASTING, encoding.KEEP = 1000, 5000, 3000
encode, pieces = CharTokenizer.encode, []
def killed(tokenizer, text):
    pieces.append(text)
    if len(pieces) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(tokenizer, text)
CharTokenizer.encode = killed
load_corpus(data=sys.argv[1])
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("at", [2, 20])
def test_what_is_killed_goes_on_from_what_was_written_down(cache, path, whole, at):
    done = children.run("-c", KILLED, path, at, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [entry.suffix for entry in cache.iterdir()] == [".part"]
    with pytest.MonkeyPatch.context() as patch:
        rest = Interrupts(patch, CharTokenizer, 0)
        load(path)
    assert len(TEXT) - 1100 * (at - 1) <= rest.characters < len(TEXT) - 1000 * (at - 1) + 6000
    (entry,) = cache.iterdir()
    assert files_of(entry) == whole["char"]


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "tokenizer.json", "progress"])
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_what_is_damaged_meanwhile_is_not_gone_on_with(cache, path, whole, name, damage):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Interrupts(patch, CharTokenizer, 30)
        load(path)
    (part,) = cache.iterdir()
    content = bytearray((part / name).read_bytes())
    content[len(content) // 2] ^= 16
    (part / name).unlink()
    if damage != "missing":
        (part / name).write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    with pytest.MonkeyPatch.context() as patch:
        again = Interrupts(patch, CharTokenizer, 0)
        load(path)
    assert again.characters == len(TEXT)
    (entry,) = cache.iterdir()
    assert files_of(entry) == whole["char"]


def test_another_text_or_tokenizer_does_not_go_on_with_it(cache, path, whole):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Interrupts(patch, CharTokenizer, 9)
        load(path)
    load(path, "bpe")
    path.write_bytes(TEXT.replace("naïve", "naive").encode())
    corpus = load(path)
    assert corpus.tokenizer.decode([*corpus.train, *corpus.val]) == TEXT.replace("naïve", "naive")
    path.write_bytes(TEXT.encode())
    with pytest.MonkeyPatch.context() as patch:
        rest = Interrupts(patch, CharTokenizer, 0)
        load(path)
    assert rest.characters < len(TEXT) - 7000  # which is still there to go on with


def test_what_nobody_went_on_with_goes_after_a_day(cache, path, tmp_path):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Interrupts(patch, CharTokenizer, 9)
        load(path)
    (part,) = cache.iterdir()
    (tmp_path / "other.txt").write_text("another text")
    for age, left in ((10, 2), (90_000, 2)):
        os.utime(part, (time.time() - age,) * 2)
        (tmp_path / "other.txt").write_text(f"another text {age}")
        load_corpus(data=tmp_path / "other.txt")
        assert part.exists() == (age == 10) and len(list(cache.iterdir())) == left - (age != 10)


def test_two_at_once_both_end_well(cache, path, whole):
    """The second comes while the first is in the middle of it."""
    real, inside = CharTokenizer.encode, []

    def encode(tokenizer, text):
        inside.append(text)
        if len(inside) == 9:
            load(path)
        return real(tokenizer, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CharTokenizer, "encode", encode)
        load(path)
    (entry,) = cache.iterdir()
    assert files_of(entry) == whole["char"]


def test_a_full_disk_is_said_and_what_there_was_is_gone_on_with(cache, path, whole):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError) as raised:
        Interrupts(patch, CharTokenizer, 30, full)
        load(path)
    assert "(No space left on device): the disk is full or a limit is reached; make room, or" in str(raised.value)
    with pytest.MonkeyPatch.context() as patch:
        rest = Interrupts(patch, CharTokenizer, 0)
        load(path)
    assert rest.characters < len(TEXT) / 3
    (entry,) = cache.iterdir()
    assert files_of(entry) == whole["char"]


def test_what_is_in_the_place_of_a_part_and_not_ours_stays(cache, path, whole, tmp_path):
    load(path)
    (entry,) = cache.iterdir()
    shutil.rmtree(entry)
    (tmp_path / "elsewhere").mkdir()
    for in_the_way in (
        lambda part: part.write_text("mine"),
        lambda part: (part.mkdir(), (part / "notes.txt").write_text("mine")),
        lambda part: part.symlink_to(tmp_path / "elsewhere"),
    ):
        part = entry.with_name(f"{entry.name}.part")
        in_the_way(part)
        load(path)
        assert files_of(entry) == whole["char"] and os.path.lexists(part)
        assert list((tmp_path / "elsewhere").iterdir()) == []
        shutil.rmtree(entry)
        shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()


# how far it is


@pytest.mark.parametrize("name", ["char", "bpe"])
def test_how_far_it_is_is_told_from_reading_to_encoding(cache, path, name):
    told = []
    with heard_by(told.append):
        load(path, name)
    kinds = list(dict.fromkeys(progress.what for progress in told))
    more = ["counting the pieces of t.txt", "learning merges"] if name == "bpe" else []
    assert kinds == ["reading t.txt", "looking through t.txt", *more, "encoding t.txt"]
    for kind in kinds:
        steps = [progress for progress in told if progress.what == kind]
        assert steps[-1].done == steps[-1].total and len(steps) > 20
        assert all(a.done <= b.done <= b.total and a.kept <= b.kept for a, b in zip(steps, steps[1:], strict=False))
    told.clear()
    load(path, name)  # outside the block nobody hears of it, and it does not matter
    assert told == []


INTERRUPTED = """
import os, signal, sys
from tinygpt.cli import main
from tinygpt.data import encoding, texts, token_cache
from tinygpt.tokenizer import CharTokenizer
texts.PIECE, token_cache.LASTING = 1000, 5000
encode, pieces = CharTokenizer.encode, []
def interrupted(tokenizer, text):
    pieces.append(text)
    if len(pieces) == 20 and sys.argv[1] == "stop":
        os.kill(os.getpid(), signal.SIGINT)
    return encode(tokenizer, text)
CharTokenizer.encode = interrupted
status = main(sys.argv[2:])
print(len(pieces), "pieces")
sys.exit(status)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_while_a_text_is_encoded_says_that_it_goes_on_and_it_does(cache, path, tmp_path):
    small = "--n_layer=1 --n_embd=16 --n_head=2 --block_size=16 --batch_size=4 --eval_iters=1 --max_iters=2"
    flags = ["train", f"--data={path}", f"--out_dir={tmp_path / 'out'}", *small.split(), "--device=cpu", "--threads=1"]
    done = children.run("-c", INTERRUPTED, "stop", *flags, cwd=ROOT)
    assert (done.returncode, done.stderr) == (130, "")
    assert re.search(r"stopped while encoding t.txt; 6\d% of it is kept, and the next start goes on from", done.stdout)
    done = children.run("-c", INTERRUPTED, "on", *flags, cwd=ROOT)
    assert done.returncode == 0 and int(re.search(r"(\d+) pieces", done.stdout)[1]) < 20, done.stderr


# memory


PEAK = """
import resource, sys, numpy as np
from tinygpt.data import load_corpus
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
corpus = load_corpus(data=sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, len(corpus.streams["train"]))
"""


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname != "Linux", reason="counted in KiB on Linux")
def test_a_text_of_60_mb_takes_no_more_than_60_mb_to_encode(tmp_path, monkeypatch):
    """Read whole, it takes ten times that."""
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "t.txt").write_bytes(b"Sixty characters of a text that is longer than it is rich.\n" * 1_000_000)
    done = children.run("-c", PEAK, tmp_path / "t.txt", cwd=ROOT)
    kib, tokens = map(int, done.stdout.split())
    assert tokens == 53_100_000 and kib < 60_000, done.stderr


MAPPED = """
import ctypes
import numpy as np
from tinygpt.device import freed_pages_returned

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks mapped a b c d e".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info

def is_mapped(mib):
    before = libc.mallinfo2().mapped
    held = np.empty(mib << 20, np.uint8)
    return libc.mallinfo2().mapped > before

np.empty(24 << 20, np.uint8)  # freed at once: from here on glibc takes from the heap what is smaller
print(is_mapped(1))
with freed_pages_returned():
    print(is_mapped(2))  # more than the heap now has free
print(is_mapped(3))
"""


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc 2.33 tells what it has mapped"
)
def test_what_is_freed_while_a_text_is_encoded_leaves_no_holes_in_the_heap():
    ended = children.run("-c", MAPPED)
    assert (ended.stdout.split(), ended.stderr) == (["False", "True", "False"], "")
