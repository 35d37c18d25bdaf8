"""Token files that other programs write to while they are mapped: a sentence, no crash, and no other tokens."""

import errno
import gc
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests import children
from tinygpt.data import load_corpus, token_cache
from tinygpt.data.token_cache import MIB
from tinygpt.errors import UserError
from tinygpt.run.folder import load_meta


def token_files(folder):
    """A folder with nanoGPT's two files, of three MiB and of 2,000 bytes."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("train", 3 * MIB // 2), ("val", 1000)):
        rng.integers(40, size=size).astype(np.uint16).tofile(folder / f"{name}.bin")
    return folder


def text(path):
    """A text of four MiB of tokens, not all of the last, no two alike."""
    letters = list("abcdefghijklmnopqrstuvwxyz \n")
    path.write_text("".join(np.random.default_rng(0).choice(letters, 2_000_000)), newline="")
    return path


@pytest.fixture(params=["cache", "nanogpt"])
def data(request, tmp_path, monkeypatch):
    """(what --data takes, function that gives the folder with its token files), of both kinds."""
    if request.param == "nanogpt":
        folder = token_files(tmp_path / "tokens")
        return folder, lambda: folder
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "cache"))
    return text(tmp_path / "text.txt"), lambda: next((tmp_path / "cache" / "texts").iterdir())


@pytest.fixture
def mapped(data):
    """(corpus, folder with its token files)."""
    path, folder = data
    return load_corpus(data=path), folder()


def read(corpus, split="train"):
    return corpus.batch(split, 4, 16, np.random.default_rng(0))


@pytest.mark.skipif(os.name == "nt", reason="Windows does not cut a file that is mapped")
@pytest.mark.parametrize("rest", [0, 5000])
def test_a_file_cut_short_under_a_run_is_a_sentence_and_no_crash(mapped, rest):
    corpus, folder = mapped
    read(corpus)
    size = (folder / "train.bin").stat().st_size
    os.truncate(folder / "train.bin", rest)
    for _ in range(2):
        with pytest.raises(UserError) as raised:
            read(corpus)
        said = f"{folder / 'train.bin'} was cut short meanwhile, from {size:,} bytes to {rest:,}; start again"
        assert said in str(raised.value) and "--init_from=resume" in str(raised.value)
    with pytest.raises(UserError, match="cut short"):
        corpus.train  # noqa: B018
    read(corpus, "val")


CUT_SHORT_AT_THE_SEVENTH_BATCH = """
import os, sys
from tinygpt.cli import main
from tinygpt.data import Corpus
real, count = Corpus.batch, 0
def batch(self, *arguments):
    global count
    count += 1
    if count == 7:
        os.truncate(self.checks["train"].__self__.path, 0)
    return real(self, *arguments)
Corpus.batch = batch
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows does not cut a file that is mapped")
def test_a_command_ends_with_a_sentence_when_its_tokens_are_cut_short(data, tmp_path):
    path, _ = data
    small = "--n_layer=1 --n_embd=16 --n_head=2 --block_size=16 --batch_size=4 --eval_iters=1 --max_iters=9 --advice=0"
    arguments = f"--data={path}", f"--out_dir={tmp_path / 'out'}", *small.split(), "--device=cpu", "--threads=1"
    root = Path(__file__).resolve().parents[1]
    ended = children.run("-c", CUT_SHORT_AT_THE_SEVENTH_BATCH, "train", *arguments, cwd=root)
    assert ended.returncode == 1 and "train.bin was cut short meanwhile" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert load_meta(tmp_path / "out")[0]["step"] > 0  # what it had learned since the evaluation


@pytest.mark.skipif(os.name == "nt", reason="Windows does not cut a file that is mapped")
@pytest.mark.parametrize(("place", "name", "rest"), [("file", "read", 100), ("module", "hashed", 3 * MIB)])
def test_what_is_cut_short_while_it_is_compared_is_a_sentence(tmp_path, monkeypatch, place, name, rest):
    """Before a MiB is read, of which there is too little then; and after it, when it is as it was."""
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "cache"))
    corpus = load_corpus(data=text(tmp_path / "text.txt"))
    file = corpus.checks["train"].__self__
    owner = {"file": file, "module": token_cache}[place]
    real = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *arguments: (os.truncate(file.path, rest), real(*arguments))[1])
    with pytest.raises(UserError, match=f"cut short meanwhile, from 3,600,000 bytes to {rest:,}; start again"):
        read(corpus)


def test_other_tokens_in_a_file_under_a_run_are_a_sentence(mapped):
    corpus, folder = mapped
    read(corpus)
    content = (folder / "train.bin").read_bytes()
    with (folder / "train.bin").open("r+b") as file:
        file.write(content[::-1])
    os.utime(folder / "train.bin", ns=(1, 1))  # however coarse the clock of the disk
    with pytest.raises(
        UserError, match=r"train.bin (was rewritten, or only touched, meanwhile|is damaged in).*start again"
    ):
        read(corpus)
    with (folder / "val.bin").open("ab") as file:
        file.write(b"\1\0")
    if folder.name == "tokens":
        with pytest.raises(UserError, match=r"val.bin has grown meanwhile, to 2,002 bytes; start again"):
            read(corpus, "val")
    else:  # the checksums say that what was mapped is still there
        read(corpus, "val")


def test_touched_files_of_the_cache_are_compared_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "cache"))
    corpus = load_corpus(data=text(tmp_path / "text.txt"))
    expected = read(corpus)
    file = corpus.checks["train"].__self__
    file.unread[:] = False
    os.utime(file.path, ns=(1, 1))
    assert all(np.array_equal(a, b) for a, b in zip(read(corpus), expected, strict=True))
    assert 0 < file.unread.sum() < 4  # each again as it is read
    file.unread[:] = False
    read(corpus)
    assert not file.unread.any()  # and once


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace a file that is mapped")
def test_files_that_are_replaced_or_removed_are_read_on(mapped, tmp_path):
    corpus, folder = mapped
    expected = read(corpus)
    (tmp_path / "other").write_bytes(b"\0\0")
    os.replace(tmp_path / "other", folder / "train.bin")
    assert all(np.array_equal(a, b) for a, b in zip(read(corpus), expected, strict=True))
    shutil.rmtree(folder)
    assert all(np.array_equal(a, b) for a, b in zip(read(corpus), expected, strict=True))


@pytest.mark.parametrize("call", ["fstat", "read"])
def test_a_disk_that_fails_meanwhile_is_a_sentence(tmp_path, monkeypatch, call):
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "cache"))
    corpus = load_corpus(data=text(tmp_path / "text.txt"))
    file = corpus.checks["train"].__self__

    class Fails:
        def __getattr__(self, name):
            if name == call or (name, call) == ("fileno", "fstat"):
                raise OSError(errno.EIO, "Input/output error")
            return getattr(real, name)

    real, file.file = file.file, Fails()
    with pytest.raises(UserError, match=r"train.bin can no longer be read \(Input/output error\); start again"):
        read(corpus)


def test_a_corpus_that_is_no_longer_used_leaves_no_file_open(tmp_path):
    corpus = load_corpus(data=token_files(tmp_path / "tokens"))
    handles = [check.__self__.file.fileno() for check in corpus.checks.values()]
    assert [os.fstat(handle).st_size for handle in handles] == [3 * MIB, 2000]
    del corpus
    gc.collect()
    for handle in handles:
        with pytest.raises(OSError):
            os.fstat(handle)
