"""Files of other programs, and texts in other encodings, in the place of a text: each is named as what it is."""

import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import sys
import zipfile

import numpy as np
import pytest

from tests import children
from tinygpt.data import load_corpus
from tinygpt.data.formats import unicode_encoding
from tinygpt.errors import UserError

TEXTS = {
    "English": "To be, or not to be, that is the question:\n" * 30,
    "Python": "def f(x):\n\treturn {'a': [x, 1]}\n\n" * 30,
    "Russian": "Все счастливые семьи похожи друг на друга,\nкаждая несчастливая — по-своему.\n" * 30,
    "Greek": "Ἄνδρα μοι ἔννεπε, Μοῦσα, πολύτροπον\nὃς μάλα πολλὰ\n" * 30,
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में\nजन्मजात स्वतन्त्रता प्राप्त है।\n" * 30,
    "Arabic": "يولد جميع الناس أحرارًا\nمتساوين في الكرامة والحقوق.\n" * 30,
    "Chinese": "人人生而自由，\n在尊严和权利上一律平等。 他们赋有理性和良心。\n" * 30,
    "Japanese": "すべての人間は、生れながらにして自由であり、\nかつ、尊厳と権利とについて平等である。 1948\n" * 30,
    "emoji": "🙂 🙃\n😀 ok\n" * 50,
}


def zipped(*names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in names:
            file.writestr(name, "application/vnd.oasis.opendocument.text" if name == "mimetype" else "a" * 50)
    return content.getvalue()


def saved_array():
    content = io.BytesIO()
    np.save(content, np.arange(100, dtype=np.uint16))
    return content.getvalue()


def database():
    with sqlite3.connect(":memory:") as connection:
        connection.execute("create table texts (text)")
    return connection.serialize() if hasattr(connection, "serialize") else b"SQLite format 3\0" + b"\0" * 500


FILES = {
    "np.save": (saved_array, "an array that np.save wrote"),
    "gzip": (lambda: gzip.compress(b"a text" * 99), "packed by gzip; unpack it first"),
    "bzip2": (lambda: bz2.compress(b"a text" * 99), "packed by bzip2"),
    "xz": (lambda: lzma.compress(b"a text" * 99), "packed by xz"),
    "zstd": (lambda: b"\x28\xb5\x2f\xfd" + bytes(range(200)), "packed by zstd"),
    "zip": (lambda: zipped("a.txt"), "a zip archive"),
    "torch.save": (lambda: zipped("archive/data.pkl", "archive/data/0"), "what torch.save wrote"),
    "docx": (lambda: zipped("[Content_Types].xml", "word/document.xml"), "a document of an office program; save what"),
    "odt": (lambda: zipped("mimetype", "content.xml"), "a document .OpenDocument or EPUB."),
    "pickle": (lambda: pickle.dumps({"text": list("a text" * 99)}), "a pickle"),
    "pickle, protocol 2": (lambda: pickle.dumps(["a"] * 99, 2), "a pickle"),
    "PDF": (lambda: b"%PDF-1.7\n" + b"1 0 obj\n" * 99, "a PDF; save what it says as plain text"),
    "PNG": (lambda: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(99), "a picture"),
    "JPEG": (lambda: b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(99), "a picture"),
    "Parquet": (lambda: b"PAR1\x15\x04" + bytes(range(200)), "a Parquet file"),
    "Arrow": (lambda: b"ARROW1\0\0" + bytes(range(200)), "an Arrow file"),
    "datasets": (lambda: b"\xff\xff\xff\xff\xf0\1\0\0\x10\0\0\0\0\0\n\0" + bytes(99), "an Arrow file"),
    "Megatron": (lambda: b"MMIDIDX\0\0" + bytes(range(200)), "the index of a Megatron data set; the tokens are in"),
    "safetensors": (lambda: b"\x50\1\0\0\0\0\0\0" + b'{"wte.weight": ' + b" " * 999, "a model's weights"),
    "GGUF": (lambda: b"GGUF\3\0\0\0" + bytes(99), "a model's weights"),
    "SQLite": (database, "a SQLite database"),
    "Git LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "only a pointer of Git LFS"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_another_program_is_named_as_text_and_as_tokens(tmp_path, kind):
    content, what = FILES[kind]
    (tmp_path / "file").write_bytes(content())
    with pytest.raises(UserError, match=f"file is {what}"):
        load_corpus(data=tmp_path / "file")
    (tmp_path / "tokens").mkdir()
    for name in ("train.bin", "val.bin"):
        (tmp_path / "tokens" / name).write_bytes(content())
    with pytest.raises(UserError, match=f"train.bin is {what}"):
        load_corpus(data=tmp_path / "tokens")


def test_the_line_that_takes_np_saves_header_away_works(tmp_path):
    for name in ("train.bin", "val.bin"):
        (tmp_path / name).write_bytes(saved_array())
        with pytest.raises(UserError, match="np.save wrote; python -c ") as raised:
            load_corpus(data=tmp_path)
        line = str(raised.value).partition('python -c "')[2].rstrip('"')
        assert children.run("-c", line, cwd=tmp_path).returncode == 0
    assert np.array_equal(load_corpus(data=tmp_path).train, np.arange(100))


def test_an_array_under_its_own_name_becomes_a_token_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("train", "val"):
        np.save(f"{name}.npy", np.arange(100_000, 100_100))  # more than uint16 has room for
        with pytest.raises(UserError, match=f"{name}.npy in it is an array that np.save wrote; python -c ") as raised:
            load_corpus(data=tmp_path)
        exec(str(raised.value).rpartition('python -c "')[2].rstrip('"'))  # noqa: S102
        (tmp_path / f"{name}.npy").unlink()
    assert np.array_equal(load_corpus(data=tmp_path).train, np.arange(100_000, 100_100))


def test_what_lies_in_a_folder_without_token_files_is_named(tmp_path):
    (tmp_path / "data-00000-of-00001.arrow").write_bytes(FILES["datasets"][0]())
    with pytest.raises(UserError, match="has no train.bin; .*; data-00000-of-00001.arrow in it is an Arrow file"):
        load_corpus(data=tmp_path)


# Encodings


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-16", "utf-32"])
@pytest.mark.parametrize("language", [name for name in TEXTS])
def test_a_text_in_another_unicode_encoding_is_named_with_how_to_convert_it(tmp_path, encoding, language):
    """With a byte-order mark ("utf-16") and without; one without trained on NULs."""
    path = tmp_path / "my text.txt"
    path.write_bytes(TEXTS[language].encode(encoding))
    name = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    with pytest.raises(UserError, match=f"my text.txt seems to be text in {name}, not in UTF-8; convert it") as raised:
        load_corpus(data=path)
    assert str(raised.value).endswith(f"iconv -f {name} -t UTF-8 'my text.txt' > 'my text-utf8.txt'") or (
        sys.platform == "win32" and "encoding='utf-8'" in str(raised.value)
    )


@pytest.mark.parametrize("language", TEXTS)
def test_utf8_is_taken_for_nothing_else(tmp_path, language):
    (tmp_path / "t.txt").write_text(TEXTS[language], encoding="utf-8")
    corpus = load_corpus(data=tmp_path / "t.txt")
    assert corpus.tokenizer.decode([*corpus.train, *corpus.val]) == TEXTS[language].replace("\n", corpus_newline())


def corpus_newline():
    return "\r\n" if sys.platform == "win32" else "\n"  # as write_text has written it


@pytest.mark.parametrize(
    "content",
    [
        b"a\n" * 500,
        b"a\nb\nc\n\n" * 500,
        b"\n" * 500,
        b"record 12\0" * 100,
        b"find -print0\0/usr/bin/env\0/bin\0" * 50,
        b"a text\0\0 with a few zeros\n" * 50,
        b"ab\0cdefg",
        b"\t\n" * 100,
        b"\x01\x02 control\x1b[0m characters\n" * 50,
        bytes(range(1, 128)) * 10,
    ],
)
def test_a_text_with_zeros_and_control_characters_trains(tmp_path, content):
    (tmp_path / "t.txt").write_bytes(content)
    corpus = load_corpus(data=tmp_path / "t.txt")
    assert corpus.n_characters == len((tmp_path / "t.txt").read_bytes())


@pytest.mark.parametrize(("size", "which"), [(5000, "all of its 5,000"), (1 << 17, "its first 65,536")])
def test_zeros_alone_are_said_to_be_zeros_and_no_encoding(tmp_path, size, which):
    (tmp_path / "t.txt").write_bytes(b"\0" * size)
    with pytest.raises(UserError, match=f"t.txt is no text: {which} bytes are 0"):
        load_corpus(data=tmp_path / "t.txt")


def test_token_files_given_as_a_text_are_said_to_be_a_folders(tmp_path):
    for name, ids in (("train.bin", np.arange(400) % 65), ("train_001.bin", 200 + np.arange(9000) * 7)):
        ids.astype(np.uint16).tofile(tmp_path / name)
        with pytest.raises(
            UserError, match=f"{name} is no text.*go in as the folder that train.bin and val.bin are in"
        ):
            load_corpus(data=tmp_path / name)


def test_bytes_by_chance_are_no_encoding():
    rng = np.random.default_rng(0)
    assert not any(unicode_encoding(rng.bytes(size)) for size in (0, 1, 7, 8, 100, 5000) for _ in range(50))
    assert not any(unicode_encoding(rng.integers(n, size=3000).astype(np.uint16).tobytes()) for n in (2, 65, 500))
