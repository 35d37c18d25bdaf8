"""GPT-2's encoding, and how its files are recognised."""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import tiktoken

from tinygpt.errors import Note, UserError
from tinygpt.tokenizer.base import TiktokenTokenizer
from tinygpt.tokenizer.pretrained import BYTE_LEVEL, byte_pairs, document, spelled

END = 50256, "<|endoftext|>"
SHA256 = "4f7ca5a7c47d482c9424a041b4e7c3d492c599d4f4fb0840ea3bf27740c406c5"  # see `is_gpt2`

WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
# Up to the last sign that follows a letter or a digit; of kana and Chinese too, which is written without spaces. These
# ranges are letters, and not letters, in every version of Unicode's tables.
SIGN_LAST = re.compile(
    "(?s:.*)[0-9A-Za-z\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5](?=[!-/:-@\\[-`{}~\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f])"
)


class GPT2Tokenizer(TiktokenTokenizer):
    """GPT-2's encoding (Radford et al. 2019), through tiktoken, which fetches its two files on first use.
    `<|endoftext|>` in a text becomes its special token, 50256, as in nanoGPT's sampling.
    """

    name = "gpt2"
    vocab_size = 50257  # known without the files
    state = {"name": "gpt2"}
    end_id = END[0]

    def safe_cut(self, text: str) -> int:
        """Before white space after something else: no piece has both in this order, nor has `<|endoftext|>`. Or else
        after a letter or digit, before a sign: no piece goes on there, and only `<|endoftext|>` has "t|".
        """
        last = max(text.rfind(" "), text.rfind("\n"))
        if cut := len(text[: last + 1].rstrip(WHITE_SPACE)):
            return cut
        return found.end() if (found := SIGN_LAST.match(text)) else 0

    @cached_property
    def _encoding(self) -> tiktoken.Encoding:  # type: ignore[override]
        try:
            return tiktoken.get_encoding("gpt2")
        except (OSError, ValueError) as error:  # OSError covers every network error of requests
            raise UserError(
                f"GPT-2's encoding is not on this machine and could not be fetched ({type(error).__name__}); connect "
                "to the internet once, or set TIKTOKEN_CACHE_DIR to a folder that holds tiktoken's two files for it, "
                "or use --tokenizer=char or --tokenizer=bpe, which need no network"
            ) from error

    @cached_property
    def token_bytes(self) -> list[bytes]:  # type: ignore[override]
        return [self._encoding.decode_single_token_bytes(i) for i in range(self.vocab_size)]

    def to_pretrained(self) -> dict[str, Any] | None:
        """OpenAI's vocabulary and merges. A note, and None, where they are not on this machine."""
        try:
            tokens = [*self.token_bytes[: END[0]], END[1].encode()]
        except UserError:
            problem = "GPT-2's encoding is not on this machine, so no tokenizer.json is written beside the weights"
            way_out = "AutoTokenizer.from_pretrained('openai-community/gpt2') is their tokenizer"
            warnings.warn(f"{problem}; {way_out}", Note, stacklevel=2)
            return None
        ranks = {token: i for i, token in enumerate(tokens[: END[0]])}
        merges = [[spelled(part) for part in halves(token, ranks)] for token in ranks if len(token) > 1]
        model = byte_pairs({spelled(token): i for i, token in enumerate(tokens)}, merges)
        return document(model, BYTE_LEVEL, BYTE_LEVEL, {END[1]: END[0]})


def halves(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """The two tokens that were joined into `token`, whose rank says when: what all earlier merges make of its bytes."""
    never, parts = len(ranks), [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        joined = [ranks.get(a + b, never) for a, b in zip(parts, parts[1:], strict=False)]
        i = joined.index(min(joined))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def is_gpt2(vocabulary: Mapping[str, int], merges: Sequence[Sequence[str]]) -> bool:
    """Whether these are OpenAI's own, in GPT-2's alphabet, however they were written down."""
    own = {token: i for token, i in vocabulary.items() if (i, token) != END}
    canonical = json.dumps([sorted(own.items()), [list(pair) for pair in merges]], separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest() == SHA256
