"""Files of other programs in the place of a text or of token files: named as what they are, by how they begin."""

import codecs
import os
import re
import shlex
from pathlib import Path

import numpy as np

from tinygpt.errors import UserError

BEGINNING = 1 << 16  # bytes that are looked at
TO_TOKENS = "python -c \"import numpy as np; np.{read}.astype(np.uint32).tofile('{new}')\""
TO_TEXT = "python -c \"open('{new}', 'w', encoding='utf-8', newline='').write(open('{old}', encoding='{encoding}', newline='').read())\""  # fmt: skip  # noqa: E501
UNPACK = "unpack it first"
PLAIN = "save what it says as plain text, UTF-8"
FORMATS = [  # how a file begins (a token file may begin with any two bytes), what it is, what to do
    (rb"\x93NUMPY", "an array that np.save wrote", TO_TOKENS.format(read="load('{path}')", new="{tokens}")),
    (rb"MMIDIDX\0\0", "the index of a Megatron data set", "the tokens are in the .bin file of the same name"),
    (rb"ARROW1\0\0|\xff{4}.{2}\0\0\x10\0\0\0", "an Arrow file, as of Hugging Face datasets", "write out its texts"),
    (rb"PAR1[\0-\x1f]", "a Parquet file, as of Hugging Face datasets", "write out its texts"),
    (rb"\x1f\x8b\x08", "packed by gzip", UNPACK),
    (rb"\x28\xb5\x2f\xfd", "packed by zstd", UNPACK),
    (rb"\xfd7zXZ\0", "packed by xz", UNPACK),
    (rb"BZh[1-9]1AY&SY", "packed by bzip2", UNPACK),
    (rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07", "a packed archive", UNPACK),
    (rb"PK\x03\x04.{26,80}/(data\.pkl|byteorder)", "what torch.save wrote", "load it with torch and write out its ids"),
    (rb"PK\x03\x04.{26}(\[Content_Types|_rels/|word/|xl/|docProps/)", "a document of an office program", PLAIN),
    (rb"PK\x03\x04.{26}mimetypeapplication/", "a document (OpenDocument or EPUB)", PLAIN),
    (rb"PK\x03\x04", "a zip archive", UNPACK),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of an office program", PLAIN),
    (rb"\x80[\2-\5](\x95.{4}\0{4}|[\]}(]q\0|\x8a\x0al\xfc)", "a pickle", "write out the text or the ids that it holds"),
    (rb"%PDF-", "a PDF", PLAIN),
    (rb"\x89PNG\r\n|\xff\xd8\xff[\xc0-\xfe]|GIF8[79]a", "a picture", "expected words"),
    (rb"\x7fELF|MZ.{58}..\0\0|\xcf\xfa\xed\xfe", "a program", "expected words"),
    (rb"SQLite format 3\0", "a SQLite database", "write out its texts"),
    (rb"\x89HDF\r\n", "an HDF5 file", "write out its texts or its ids"),
    (rb"GGUF[\1-\t]\0\0\0|.{3}\0{5}\{\"", "a model's weights", "expected what a model learns from"),
    (rb"version https://git-lfs", "only a pointer of Git LFS to the file", "fetch the file itself with: git lfs pull"),
]


def other_format(path: Path, beginning: bytes) -> str:
    """What a file that begins so is, and what to do, if it belongs to a program that is known here; else ""."""
    for pattern, what, way_out in FORMATS:
        if re.match(pattern, beginning, re.DOTALL):
            return f"{what}; {way_out.replace('{path}', path.name).replace('{tokens}', path.stem + '.bin')}"
    return ""


def refuse_other_formats(path: Path, beginning: bytes) -> None:
    """Raise UserError if a file that begins so is `other_format`."""
    if what := other_format(path, beginning):
        raise UserError(f"{path} is {what}")


def refuse_no_text(path: Path, beginning: bytes) -> None:
    """Raise UserError, with what to do, if a file that begins with these bytes, all of them or the first `BEGINNING`,
    is no text in UTF-8: of another program, in another Unicode encoding, or numbers. A few zero bytes make no
    difference. Where nothing is found, it may still not be UTF-8.
    """
    refuse_other_formats(path, beginning)
    if beginning and not any(beginning):
        problem = f"{path} is no text: {'its first' if len(beginning) >= BEGINNING else 'all of its'}"
        raise UserError(f"{problem} {len(beginning):,} bytes are 0, as a copy that broke off leaves them")
    if encoding := unicode_encoding(beginning):
        new = f"{path.stem}-utf8{path.suffix}"
        convert = TO_TEXT.format(new=new, old=path.name, encoding=encoding)
        if os.name != "nt":
            convert = f"iconv -f {encoding} -t UTF-8 {shlex.quote(path.name)} > {shlex.quote(new)}"
        raise UserError(f"{path} seems to be text in {encoding}, not in UTF-8; convert it with: {convert}")
    numbers = beginning.count(0) > len(beginning) / 4
    if numbers or path.suffix == ".bin" and not _is_utf8(beginning):
        problem = f"{path} is no text: it seems to hold numbers, since more than a quarter of its bytes are 0"
        problem = problem if numbers else f"{path} is no text, and seems to hold tokens"
        raise UserError(f"{problem}; token files go in as the folder that train.bin and val.bin are in")


def unicode_encoding(beginning: bytes) -> str | None:
    """UTF-16 or UTF-32, with the order of its bytes where no mark says it, if a file that begins so is text in it.

    Without a mark: in UTF-32 the first of four bytes is always 0, in UTF-16 the first of two is so for white space and
    digits, and below 16 for most alphabets; and the characters are such as texts have.
    """
    for mark, name in ((codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"),
                       (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16")):  # fmt: skip
        if beginning.startswith(mark) and _printable(beginning, name) > 0.9:
            return name
    if len(beginning) < 8:
        return None
    fours = np.frombuffer(beginning, np.uint8)[: len(beginning) // 4 * 4].reshape(-1, 4)
    for name, high, next_high in (("UTF-32LE", 3, 2), ("UTF-32BE", 0, 1)):
        if not fours[:, high].any() and fours[:, next_high].max() <= 16 and _printable(beginning, name) > 0.9:
            return name
    twos = fours.reshape(-1, 2)
    zeros = (twos == 0).mean(axis=0)
    for name, high in (("UTF-16LE", 1), ("UTF-16BE", 0)):
        alphabet = (twos[:, high] < 16).mean() > 0.9 and zeros[high] > max(0.01, 4 * zeros[1 - high])
        others = zeros[high] > 0 and not _is_utf8(beginning)  # Chinese, say, with a new line now and then
        if (alphabet or others) and _printable(beginning, name) > 0.95:
            if alphabet or "\n" in codecs.getincrementaldecoder(name)().decode(beginning):
                return name
    return None


def is_text(beginning: bytes) -> bool:
    """Whether bytes are a text in UTF-8, and long enough that no tokens could be it by chance."""
    return len(beginning) >= 32 and 0 not in beginning and _is_utf8(beginning) and _printable(beginning, "UTF-8") > 0.98


def _is_utf8(beginning: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)  # which may end within a character
        return True
    except UnicodeDecodeError:
        return False


def _printable(beginning: bytes, encoding: str) -> float:
    """The share of characters that texts have, where these bytes are decoded; 0 where they cannot be."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(beginning)
    except UnicodeDecodeError:
        return 0.0
    return sum(c.isprintable() or c.isspace() or c in "\ufeff\x00" for c in text) / len(text) if text else 0.0
