"""A text is one file, several, or a folder of them: what is read of it, in which order, and what is said of it."""

import errno
import os
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygpt.cli import main
from tinygpt.data import load_corpus, texts
from tinygpt.data.texts import Taken, Text, text_at
from tinygpt.errors import Note, UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "cache"))


def files(folder, **contents):
    """Files of these names, with .txt behind them, and these contents."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / f"{name}.txt").write_bytes(content)
    return folder


def whole(corpus):
    return corpus.tokenizer.decode([*corpus.train, *corpus.val])


def read(data, look=lambda *_: None):
    text, _ = text_at(data, look)
    text.fingerprint()
    return "".join(text.decoded())


# several


def test_files_follow_each_other_with_a_newline_where_one_has_none(tmp_path):
    files(tmp_path, a=b"one", b=b"two\n", c=b"", d="drei é".encode())
    corpus = load_corpus(data=",".join(str(tmp_path / f"{name}.txt") for name in "abcd"))
    assert whole(corpus) == "one\ntwo\ndrei é" and corpus.name == "a.txt and 3 others"
    (tmp_path / "joined.txt").write_text("one\ntwo\ndrei é", encoding="utf-8")
    assert load_corpus(data=tmp_path / "joined.txt").fingerprint == corpus.fingerprint


def test_a_byte_order_mark_is_left_out_at_the_beginning_of_each_file(tmp_path):
    files(tmp_path, a=b"\xef\xbb\xbfone\n", b=b"\xef\xbb\xbf", c=b"\xef\xbb\xbftwo")
    assert read(f"{tmp_path / 'a.txt'}, {tmp_path / 'b.txt'} ,{tmp_path / 'c.txt'},") == "one\ntwo"


def test_a_file_whose_name_has_a_comma_is_one_file(tmp_path):
    files(tmp_path, **{"one,two": b"a text", "one": b"another"})
    assert read(tmp_path / "one,two.txt") == "a text"


def test_a_folder_is_all_txt_files_in_it_and_below_in_order_of_path(tmp_path):
    folder = files(tmp_path / "books", b=b"B", a=b"A", **{".hidden": b"not this"})
    files(folder / "c", z=b"CZ", a=b"CA")
    files(folder / ".git", config=b"not this")
    (folder / "notes.md").write_text("not this")
    (folder / "D.TXT").write_text("D")
    with pytest.warns(Note, match=r"books has 1 file that is not .txt and is left out"):
        assert read(folder) == "D\nA\nB\nCA\nCZ"
    (folder / "notes.md").unlink()
    (folder / ".hidden.txt").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corpus = load_corpus(data=folder)
    assert corpus.name == "books" and whole(corpus) == "D\nA\nB\nCA\nCZ"
    (folder / "b.txt").write_text("changed")
    assert "changed" in whole(load_corpus(data=folder))
    assert len(list((tmp_path / "cache" / "texts").iterdir())) == 1  # what the folder held before has gone


def test_folders_and_files_can_be_joined(tmp_path):
    files(tmp_path / "one", b=b"2", a=b"1")
    files(tmp_path, three=b"3")
    assert read(f"{tmp_path / 'one'},{tmp_path / 'three.txt'}") == "1\n2\n3"


def test_a_folder_with_nothing_to_read_says_what_it_could_hold(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty has no train.bin; .* a folder of .txt files"):
        load_corpus(data=tmp_path / "empty")
    (files(tmp_path / "both", a=b"text") / "model.bin").write_bytes(b"\1\2\3\4" * 9)
    with pytest.raises(UserError, match="a.txt in it is read as a text only where no .bin lies beside it, as model"):
        load_corpus(data=tmp_path / "both")
    with pytest.raises(UserError, match="--data is empty"):  # and not the folder that this runs in
        load_corpus(data="")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_to_a_folder_is_not_left_out_in_silence(tmp_path):
    folder = files(tmp_path / "books", a=b"1\n")
    (folder / "back").symlink_to(folder)
    with pytest.warns(
        Note, match=rf"books has a link to a folder that is not followed; .*--data={folder},{folder}/back"
    ):
        assert read(folder) == "1\n"
    (folder / "again").symlink_to(folder)
    with pytest.warns(Note, match="books has 2 links to folders that are not followed"):
        assert read(folder) == "1\n"


def test_a_file_that_is_there_twice_is_said_to_leak_into_validation(tmp_path):
    folder = files(tmp_path / "books", a=b"1\n", b=b"1\n")  # the same content is no matter: it may be so by chance
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(folder) == "1\n1\n"
    with pytest.warns(Note, match=r"a.txt is there more than once: a run may validate on a copy of what it trains on"):
        assert read(f"{folder},{folder / 'a.txt'}") == "1\n1\n1\n"


def test_hidden_files_are_not_counted_as_left_out(tmp_path):
    folder = files(tmp_path / "books", a=b"1\n")
    for name in (".hidden.txt", "._a.txt", ".DS_Store"):
        (folder / name).write_bytes(b"x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(folder) == "1\n"


def test_a_run_on_a_folder_goes_on_with_it(tmp_path, capsys):
    folder = files(tmp_path / "books", a=b"to be or not to be\n" * 50, b=b"that is the question" * 50)
    small = "--n_layer=1 --n_embd=16 --n_head=2 --block_size=16 --batch_size=4 --eval_iters=1 --max_iters=2"
    flags = [f"--out_dir={tmp_path / 'out'}", *small.split(), "--device=cpu", "--threads=1", "--sample_length=0"]
    assert main(["train", f"--data={folder / 'a.txt'},{folder / 'b.txt'}", *flags]) == 0
    assert "a.txt, b.txt: 1,950 characters" in capsys.readouterr().out
    assert main(["train", "--init_from=resume", f"--out_dir={tmp_path / 'out'}", "--max_iters=4"]) == 0
    assert main(["eval", f"--out_dir={tmp_path / 'out'}", f"--data={folder}", "--device=cpu"]) == 0
    assert "books (train and val), 1,949 tokens predicted" in capsys.readouterr().out


# what cannot be read


@pytest.mark.parametrize(
    ("content", "byte", "position"),
    [
        (b"caf\xe9 noir", "e9", 3),
        (b"\xef\xbb\xbfcaf\xe9", "e9", 6),  # in the file, its byte order mark included
        ("naïve".encode() + b"\xc3", "c3", 6),  # cut off in the middle of a character
        (b"\xef\xbb\xef\xbb\xbf", "ef", 0),
        ("é".encode() * 7 + b"\xed\xa0\x80", "ed", 14),  # a surrogate
    ],
)
@pytest.mark.parametrize("piece", [1, 2, 3, 1 << 20])
def test_what_is_not_utf8_is_named_with_its_file_and_place(tmp_path, monkeypatch, content, byte, position, piece):
    monkeypatch.setattr(texts, "PIECE", piece)
    files(tmp_path, a="é".encode() * 3, b=content, c=b"more")
    with pytest.raises(UserError) as raised:
        load_corpus(data=tmp_path / "b.txt")
    said = f"is not UTF-8: byte 0x{byte} at position {position} does not fit; convert the file to UTF-8 first"
    assert str(raised.value) == f"b.txt {said}"
    with pytest.raises(UserError) as raised:
        load_corpus(data=f"{tmp_path / 'a.txt'},{tmp_path / 'b.txt'},{tmp_path / 'c.txt'}")
    assert str(raised.value) == f"{tmp_path / 'b.txt'} {said}"


def test_one_of_several_that_is_missing_is_named(tmp_path):
    files(tmp_path, a=b"one")
    with pytest.raises(UserError, match=r"There is no file .*b.txt; --data takes a UTF-8 text"):
        load_corpus(data=f"{tmp_path / 'a.txt'},{tmp_path / 'b.txt'}")
    files(tmp_path, a=b"", b=b"\xef\xbb\xbf")
    with pytest.raises(UserError, match=r"^a.txt, b.txt is empty; --data takes a text to learn from"):
        load_corpus(data=f"{tmp_path / 'a.txt'},{tmp_path / 'b.txt'}")


def test_token_files_are_not_joined_with_texts(tmp_path):
    files(tmp_path / "tokens", a=b"one")
    (tmp_path / "tokens" / "train.bin").write_bytes(b"\0\0")
    with pytest.raises(UserError, match=r"tokens is no folder of .txt files, and only texts can be joined by commas"):
        load_corpus(data=f"{tmp_path / 'tokens' / 'a.txt'},{tmp_path / 'tokens'}")


@pytest.mark.parametrize("again", [1, 2, 3])
def test_a_disk_that_fails_while_the_text_is_read_is_not_said_of_the_cache(tmp_path, monkeypatch, again):
    """At the first time that it is read, the second, or the third."""
    path = files(tmp_path, t=b"some text") / "t.txt"
    real, reads = open, []

    def fails(name, *arguments):
        reads.extend([name] * (name == path))
        if len(reads) == again:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(name, *arguments)

    monkeypatch.setattr(texts, "open", fails, raising=False)
    with pytest.raises(UserError) as raised:
        load_corpus(data=path)
    assert str(raised.value) == f"{path} cannot be read (Input/output error)"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_among_them_is_not_waited_for(tmp_path):
    os.mkfifo(files(tmp_path / "books", a=b"one") / "b.txt")
    with pytest.raises(UserError, match=r"b.txt is a pipe or a device, which may never end; --data takes a file"):
        load_corpus(data=tmp_path / "books")


def test_the_beginning_of_each_file_can_be_looked_at_before_the_rest_is_read(tmp_path):
    files(tmp_path, a=b"\xef\xbb\xbf" + b"x" * 100_000, b=b"short")
    seen = []
    text, _ = text_at(f"{tmp_path / 'a.txt'},{tmp_path / 'b.txt'}", lambda path, head: seen.append((path.name, head)))
    text.fingerprint()
    assert "".join(text.decoded()) == "x" * 100_000 + "\nshort"
    assert seen == [("a.txt", b"\xef\xbb\xbf" + b"x" * 65_533), ("b.txt", b"short")]  # once


@pytest.mark.parametrize("change", [b"text in other wordz", b"text in other", b"text in other words, and more", b""])
def test_a_text_that_changes_while_it_is_read_is_a_sentence_and_no_mixture(tmp_path, monkeypatch, change):
    path = files(tmp_path, t=b"text in other words") / "t.txt"
    alphabet = Text.alphabet
    monkeypatch.setattr(Text, "alphabet", lambda text: (alphabet(text), path.write_bytes(change))[0])
    with pytest.raises(UserError, match=r"t.txt was changed while it was being read; start again when it is whole"):
        load_corpus(data=path)
    assert list((tmp_path / "cache" / "texts").iterdir()) == []


# in pieces


@settings(deadline=None)
@given(st.lists(st.text(alphabet="aé漢🙂\n", max_size=12), min_size=1, max_size=4), st.integers(1, 9), st.data())
def test_pieces_of_any_size_are_the_same_text(parts, piece, data):
    """Characters, their number, and from any of them on."""
    before, texts.PIECE = texts.PIECE, piece
    try:
        joined = ""
        for part in parts:
            joined += "\n" * bool(part and joined and joined[-1] != "\n") + part
        if not joined:
            return
        text = Text("t", [part.encode() for part in parts])
        assert text.fingerprint() == Text("t", [joined.encode()]).fingerprint()
        assert "".join(text.decoded()) == joined and text.characters == len(joined)
        assert text.size == len(joined.encode()) and text.alphabet() == "".join(sorted(set(joined)))
        start = data.draw(st.integers(0, len(joined)))
        assert "".join(text.decoded(len(joined[:start].encode()))) == joined[start:]
        assert text.find(joined[-1] + "z") == (joined[-1], joined.index(joined[-1]))
        taken = Taken(text.decoded())
        assert ["".join(taken.take(count)) for count in (start, len(joined) - start)] == [
            joined[:start],
            joined[start:],
        ]
        taken.all_taken()
    finally:
        texts.PIECE = before


def test_where_the_text_is_said_is_its_path(tmp_path):
    files(tmp_path, a=b"a", b=b"b")
    assert text_at(tmp_path / "a.txt")[1] == str((tmp_path / "a.txt").resolve())
    assert text_at(f"{tmp_path / 'a.txt'},{tmp_path / 'b.txt'}")[1].split(",") == [
        str(Path(tmp_path / name).resolve()) for name in ("a.txt", "b.txt")
    ]


def test_the_home_folder_is_meant_by_a_tilde_from_python_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for name, text in (("a.txt", "one " * 50), ("b.txt", "two " * 50)):
        (tmp_path / name).write_text(text)
    assert load_corpus(data="~/a.txt").n_characters == 200
    assert load_corpus(data="~/a.txt,~/b.txt").n_characters == 401  # with the newline between
