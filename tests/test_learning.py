"""Merges learned, and texts encoded, piece by piece: the same as from the whole text, for every text and every cut."""

import os
import re
import tempfile
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygpt.data import learning
from tinygpt.data.learning import learned, piece_counts, whole_pieces
from tinygpt.errors import Note, UserError
from tinygpt.tokenizer import SPLIT, BPETokenizer, CharTokenizer, GPT2Tokenizer

ODD = "ab  \n\t\r09.,'é漢🙂\x00\x0b\x1c\x7f\x85\xa0\u2003\u3000_s<|"
TEXTS = st.lists(
    st.one_of(
        st.text(alphabet=ODD, max_size=20),
        st.builds(str.__mul__, st.sampled_from([*ODD, "ab", "aab "]), st.integers(0, 200)),  # longer than a piece is
        st.sampled_from(
            ["<|endoftext|>", "endoftext|>", "漢，字。", "'s'd,'t", "it's", " we'll", "\r\n", "the cat and the hat "]
        ),
    ),
    max_size=8,
).map("".join)


def chunks(text, cuts):
    """A text cut at these places, some of them perhaps beyond its end."""
    places = sorted({min(place, len(text)) for place in cuts} | {0, len(text)})
    return [text[start:end] for start, end in zip(places, places[1:], strict=False)]


CUTS = st.lists(st.integers(0, 300), max_size=12)


@pytest.fixture(scope="module")
def gpt2():
    files = Path(os.environ.get("TIKTOKEN_CACHE_DIR") or Path(__file__).resolve().parents[2] / "shared" / "tiktoken")
    if not files.is_dir():
        pytest.skip("GPT-2's two encoding files are not beside this checkout, and tests stay off the network")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(files))
        tokenizer = GPT2Tokenizer()
        assert len(tokenizer.encode("a")) == 1  # read now
        yield tokenizer


def encoded(tokenizer, text, cuts):
    return [int(i) for piece in whole_pieces(tokenizer, chunks(text, cuts)) for i in tokenizer.encode(piece)]


# cuts


@settings(max_examples=200, deadline=None)
@given(TEXTS, CUTS)
def test_byte_pairs_of_a_text_in_chunks_are_those_of_the_whole(text, cuts):
    for tokenizer in (BPETokenizer([]), BPETokenizer([(97, 98), (32, 32), (97, 97), (258, 258), (32, 256)])):
        assert encoded(tokenizer, text, cuts) == tokenizer.encode(text).tolist()


@settings(max_examples=200, deadline=None)
@given(TEXTS, CUTS)
def test_gpt2s_tokens_of_a_text_in_chunks_are_those_of_the_whole(gpt2, text, cuts):
    assert encoded(gpt2, text, cuts) == gpt2.encode(text).tolist()


@settings(deadline=None)
@given(TEXTS, CUTS)
def test_pieces_are_counted_alike_in_chunks(text, cuts):
    for distinct in (None, 2):
        assert sum(piece_counts(chunks(text, cuts), distinct), Counter()) == Counter(re.findall(SPLIT, text))


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_a_cut_is_safe_whatever_follows(gpt2, text, more):
    for tokenizer in (gpt2, BPETokenizer([(97, 98), (32, 32)])):
        cut = tokenizer.safe_cut(text)
        both = tokenizer.encode(text[:cut]).tolist() + tokenizer.encode(text[cut:] + more).tolist()
        assert both == tokenizer.encode(text + more).tolist()


def test_little_is_held_back_of_a_text_with_spaces_or_of_one_without(gpt2):
    words = "some words, and 12 more\n" * 100
    for tokenizer in (gpt2, BPETokenizer([])):
        assert len(words) - tokenizer.safe_cut(words) < 10
    for run in ("x" * 10_000, "漢" * 10_000, " " * 10_000, "123" * 3000):
        assert len(run) - BPETokenizer([]).safe_cut(run) <= 65
    for text in ("你好，世界。" * 50, "a,b,1,2;" * 50, "word-word's_x" * 50):  # without a space or a new line
        assert 0 < len(text) - gpt2.safe_cut(text) < 10
    assert gpt2.safe_cut("<|endoftext|>" * 50) == 0
    assert CharTokenizer("ab").safe_cut("ab" * 50) == 100


def test_who_cannot_say_where_gets_the_text_whole_and_says_what_that_takes(monkeypatch):
    class Odd(CharTokenizer):
        name = "odd"

        def safe_cut(self, text):
            seen.append(len(text))
            return super(CharTokenizer, self).safe_cut(text)

    seen: list[int] = []
    monkeypatch.setattr(learning, "HELD", 500)
    with pytest.warns(
        Note, match="there is no place where the odd tokenizer may cut the text, so they are held in mem"
    ):
        assert list(whole_pieces(Odd("ab"), ["ab"] * 1000)) == ["ab" * 1000]
    assert len(seen) < 15  # and is not looked at again for every chunk


# merges


def test_long_pieces_are_merged_in_little_memory():
    rng = np.random.default_rng(0)
    text = "".join(map(chr, rng.integers(0x1F600, 0x1F650, size=1_500_000)))  # 23,438 pieces of 256 bytes: 6 MB
    tracemalloc.start()
    try:
        learned([text], 258, Path(tempfile.gettempdir()))
        assert tracemalloc.get_traced_memory()[1] < 150e6  # 1.2 GB where they are in one block
    finally:
        tracemalloc.stop()


@settings(max_examples=100, deadline=None)
@given(TEXTS, CUTS, st.integers(257, 300), st.integers(1, 9), st.integers(1, 5))
def test_merges_learned_in_blocks_are_those_of_the_definition(tmp_path_factory, text, cuts, size, distinct, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "DISTINCT", distinct)
        patch.setattr(learning, "BLOCK", block)
        patch.setattr(learning, "IN_MEMORY", 100)  # bytes; the rest in a file
        results = []
        for learn in (
            lambda: learned(chunks(text, cuts), size, tmp_path_factory.getbasetemp()),
            lambda: BPETokenizer.train(text, size),
        ):
            try:
                results.append(learn().state)
            except UserError as error:
                results.append(str(error))
    assert results[0] == results[1]


def test_merges_of_a_text_of_words_are_those_of_the_definition(tmp_path):
    """As many as a vocabulary has, of words that come often and words that come once."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("etaoinshrdlu"), rng.integers(1, 9))) for _ in range(3000)]
    text = " ".join(words[int(i)] for i in 3000 * rng.random(20_000) ** 3)
    assert learned([text], 1024, tmp_path) == BPETokenizer.train(text, 1024)


def test_the_largest_ids_of_two_bytes_and_beyond_are_learned(tmp_path):
    rng = np.random.default_rng(0)
    text = " ".join("".join(map(chr, rng.integers(0x4E00, 0x9000, 30))) for _ in range(9))
    for size in (600, 65_537):  # uint16 and uint32
        message = []
        for learn in (lambda: learned([text], size, tmp_path), lambda: BPETokenizer.train(text, size)):  # noqa: B023
            try:
                message.append(learn().state)
            except UserError as error:
                message.append(str(error))
        assert message[0] == message[1]


def test_too_small_a_vocabulary_is_the_same_sentence(tmp_path):
    with pytest.raises(UserError, match="vocab_size is 256, but byte-pair encoding starts from the 256 bytes"):
        learned(["some text"], 256, tmp_path)


def test_no_temporary_file_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "IN_MEMORY", 10)
    learned(["the cat and the hat " * 100], 260, tmp_path)
    with pytest.raises(UserError):
        learned(["abc"], 500, tmp_path)
    assert list(tmp_path.iterdir()) == []
