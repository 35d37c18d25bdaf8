"""Texts on which tokenizers differ, and a tokenizer of each kind that knows them."""

from pathlib import Path

from hypothesis import strategies as st

from tinygpt.tokenizer import BPETokenizer, CharTokenizer

TEXTS = {
    "empty": "",
    "words": "Hello world, it's the dog's; don't. 1234567890 3.14 x_1",
    "spaces": "  two  spaces" + " " * 200 + "and \t\t tabs   ",
    "ends of lines": "a\r\nb\r\n\r\n\n\tc\r",
    "accents": "na\u00efve caf\u00e9 e\u0301 a\u0301\u0301 \u0301",
    "scripts": "\u6771\u4eac\u30bf\u30ef\u30fc \u0905\u0928\u0941\u091a\u094d\u091b \u0627\u0644\u0644\u063a\u0629",
    "emoji": "\U0001f642\U0001f642 \U0001f469\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
    "NUL": "\x00a\x00\x00 \x7f\x1b",
    "strange spaces": "\u00a0a\u2003b\u2028c\u0085d\u3000\ufeffe",
    "words of tokenizers": "[UNK] <unk> </w> ## \u2581 \u0120 <0x0A>",
    "long": "a" * 300 + "1" * 130 + "." * 70,
    "code": Path(__file__).read_text(encoding="utf-8"),
}
ALL = "\n".join(TEXTS.values())
DRAWN = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("  \t\n\r\u00a0\u2028thecat_1'a\u0301\U0001f642")
)


def tokenizers() -> dict:
    """By name, the two that are made from a text."""
    return {"char": CharTokenizer.train(ALL), "bpe": BPETokenizer.train(ALL, 400)}
