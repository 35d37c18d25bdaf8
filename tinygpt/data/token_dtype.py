"""How wide the tokens in a file without a header are: as it was said, or as the bytes show."""

import warnings
from pathlib import Path

import numpy as np

from tinygpt.data.evidence import characters_of
from tinygpt.data.formats import is_text
from tinygpt.errors import Note, UserError
from tinygpt.files import opened
from tinygpt.tokenizer import VOCAB_LIMIT

TOKEN_DTYPES = "auto", "uint16", "uint32"
SAMPLE = 1 << 18  # bytes, at the beginning, in the middle and at the end of a file
FEWEST = 8  # tokens that tell anything
WRITTEN_AS = (  # uint32, which is recognised, has room for every id
    "write it again: python -c \"import numpy as np; np.fromfile('{0}', '{1}').astype('uint32').tofile('{0}')\""
)
OTHERS = {
    "uint8": "one-byte tokens", "int64": "int64 tokens", "float32": "tokens as float32", "float64": "tokens as float64",
    ">u2": "tokens with the high byte first", ">u4": "uint32 tokens with the high byte first",
}  # fmt: skip
WIDER = "int64", "float64", "float32", ">u4"


def one_dtype(paths: list[Path], token_dtype: str, text: Path) -> str:
    """The dtype of the tokens in all files of a folder: `token_dtype`, unless that is "auto". text: that may give them.
    Raises UserError for what is no uint16 or uint32 tokens, for files of different kinds and for odd sizes.
    """
    seen = {path: seen_dtype(_sample(path)) for path in paths}
    told = {dtype for dtype in seen.values() if dtype}
    if token_dtype == "auto":
        for path, dtype in seen.items():
            _refuse_others(path, dtype)
        if len(told) > 1:
            one, other = (next(path for path in paths if seen[path] == dtype) for dtype in ("uint16", "uint32"))
            raise UserError(
                f"{one} seems to hold uint16 tokens and {other.name} uint32; write both alike, or say which with "
                "--token_dtype"
            )
        dtype = told.pop() if told else "uint16"
        if dtype == "uint32" and characters_of(text, np.fromfile(paths[0], np.uint16, SAMPLE)):
            dtype = "uint16"  # of a text in which the first of its characters stands at every second place
    else:
        dtype = token_dtype
        if dtype == "uint16" and told == {"uint32"}:
            zeros = f"every second number in {paths[0]} is as in uint32 tokens"
            warnings.warn(f"{zeros}, but --token_dtype=uint16 says otherwise", Note, stacklevel=3)
    for path in paths:
        if path.stat().st_size % np.dtype(dtype).itemsize:
            size = f"{path.stat().st_size:,} bytes"
            odd = "an odd number of bytes" if dtype == "uint16" else f"{size}, not a multiple of 4"
            raise UserError(f"{path} has {odd}, so it cannot hold {dtype} tokens; write it again")
    return dtype


def _refuse_others(path: Path, dtype: str) -> None:
    if dtype == "text":
        raise UserError(f"{path} is a text, not tokens; give it as it is, --data={path}, and it is encoded here")
    if dtype in OTHERS:
        raise UserError(f"{path} seems to hold {OTHERS[dtype]}; {WRITTEN_AS.format(path.name, dtype)}")


def _sample(path: Path) -> list[bytes]:
    """Stretches of a file, each from a multiple of 8 bytes on."""
    with opened(path) as file:
        size = file.seek(0, 2)
        pieces = []
        for start in sorted({0, size // 2 // 8 * 8, max(0, size - SAMPLE) // 8 * 8}):
            file.seek(start)
            pieces.append(file.read(SAMPLE))
    return pieces if size > SAMPLE else pieces[:1]


def seen_dtype(sample: list[bytes]) -> str:
    """What numbers stretches of a file look like: uint16, uint32; one of OTHERS, which are not read; or text; ""
    where they are too few to tell.

    In uint32 tokens the high halves are 0, of vocabularies above 65,536 a few small numbers (and of what is below 0 in
    int32, 65,535), while the low halves are anything; a text in uint16 tokens is alike at even and at odd places.
    """
    if is_text(sample[0][: 1 << 16]):
        return "text"
    even = all(len(piece) % 4 == 0 for piece in sample)
    content = b"".join(piece[: len(piece) // 8 * 8] for piece in sample)
    last = sample[-1]
    halves = np.frombuffer(content if len(content) >= 64 else last[: len(last) // 4 * 4], "<u2").reshape(-1, 2)
    if len(halves) < FEWEST:
        return ""
    enough = len(halves) >= 2 * FEWEST
    if enough and even:
        flat = halves[: len(halves) // 2 * 2].ravel()
        if found := next((dtype for dtype in WIDER if _are_ids(flat.view(dtype))), None):
            return found
    low, high = halves.T
    if enough and even and not high.any() and low.max() > low.min():
        return "uint32"  # though most ids may be 0 to 3, as of a text that is mostly spaces
    if even and ((high <= 3) | (high == 65_535)).all() and low.max() > max(3, low.min()):
        spread = low.max() > 255 or not high.any()
        if spread and (low > 3).mean() > 0.5:
            return "uint32"
    low_bytes, high_bytes = np.frombuffer(halves.tobytes(), np.uint8).reshape(-1, 2).T
    if enough:
        if not low_bytes.any() and len(np.unique(high_bytes)) > 3:
            return ">u2"
        if len(halves) >= 4 * FEWEST and (high_bytes < 4).mean() < 0.1 and (low_bytes < 4).mean() > 0.25:
            return ">u2"  # whatever the vocabulary, its first thousand tokens are the most frequent ones
        if max(low_bytes.max(), high_bytes.max()) < 128 and (high_bytes > 0).mean() > 0.5:
            return "uint8"
    return "uint16"


def _are_ids(numbers: np.ndarray) -> bool:
    """Whether numbers, (n,) of any dtype, are such as the ids of tokens: whole, in bounds, and not all alike."""
    with np.errstate(invalid="ignore"):  # what is read as a float may be none
        inside = (numbers >= 0) & (numbers < VOCAB_LIMIT)
        if not (inside & (numbers == np.floor(numbers))).all():
            return False
    return len(np.unique(numbers.astype(np.int64) % 256)) > (3 if numbers.dtype == ">u4" else 1)
