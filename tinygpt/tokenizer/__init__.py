"""Text to token ids and back: single characters, byte-pair encoding trained here, GPT-2's own encoding, and whatever a
`tokenizer.json` says.
"""

from tinygpt.tokenizer.base import FORMAT, VOCAB_LIMIT, Tokenizer
from tinygpt.tokenizer.beside import beside, unknown
from tinygpt.tokenizer.bpe import PIECE_BYTES, SPLIT, BPETokenizer, Merge, merge, too_few_pairs
from tinygpt.tokenizer.char import CharTokenizer
from tinygpt.tokenizer.gpt2 import GPT2Tokenizer
from tinygpt.tokenizer.named import NAMES, load, named
from tinygpt.tokenizer.own import OwnTokenizer

__all__ = [
    "FORMAT", "NAMES", "PIECE_BYTES", "SPLIT", "VOCAB_LIMIT", "BPETokenizer", "CharTokenizer", "GPT2Tokenizer",
    "Merge", "OwnTokenizer", "Tokenizer", "beside", "load", "merge", "named", "too_few_pairs", "unknown",
]  # fmt: skip
