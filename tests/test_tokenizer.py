import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import requests
import tiktoken
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests import children
from tinygpt.errors import UserError
from tinygpt.tokenizer import SPLIT, BPETokenizer, CharTokenizer, GPT2Tokenizer, load, merge

PROSE = "the cat sat on the mat; the dog's bowl was 1234 cm from 'the' cat.\n    def mat(self):\n\treturn  self.cat\n"
PROSE *= 3
PROSE += "naïve café, 東京タワー 🙂🙂 a\u0301 e\u0301\u00a0\u2003x aaaa aaaaa \r\n"
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("  \t\n\r\u00a0\u2028thecat_1'a\u0301🙂"))
property_test = settings(deadline=None, max_examples=150)


@pytest.fixture(scope="module")
def bpe():
    return BPETokenizer.train(PROSE, 340)


@pytest.fixture
def gpt2(gpt2_files):
    return GPT2Tokenizer()


def encode_by_merges(tokenizer, text):
    """The specification: apply every merge, in the order learned, to every piece."""
    ids = []
    for piece in re.findall(SPLIT, text):
        piece = list(piece.encode())
        for i, pair in enumerate(tokenizer.state["merges"]):
            piece = merge(piece, tuple(pair), 256 + i)
        ids += piece
    return ids


# characters


def test_char_ids_follow_code_point_order():
    tokenizer = CharTokenizer.train("banana é🙂\n")
    assert tokenizer.state["characters"] == "\n abné🙂"
    ids = tokenizer.encode("nab🙂é")
    assert ids.tolist() == [4, 2, 3, 6, 5]
    assert ids.dtype == np.uint32


def test_char_ids_keep_the_order_of_given_characters():
    assert CharTokenizer("cab").encode("abc").tolist() == [1, 2, 0]


@property_test
@given(TEXT.filter(len))
def test_char_round_trip(text):
    tokenizer = CharTokenizer.train(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.vocab_size == len(set(text))


def test_char_empty_text_is_no_tokens():
    assert CharTokenizer("ab").encode("").shape == (0,)
    assert CharTokenizer("ab").decode([]) == ""


@pytest.mark.parametrize("unknown", ["é", "\x00", "🙂", "\ud800", "c"])
def test_char_unknown_character_is_named_with_its_place(unknown):
    with pytest.raises(UserError, match=rf"U\+{ord(unknown):04X}\) at position 3 is not among the 3 characters"):
        CharTokenizer("abd").encode("aba" + unknown + unknown)


def test_char_repeated_character_is_refused():
    with pytest.raises(UserError, match="'b' is listed 2 times"):
        CharTokenizer("abcb")


def test_char_without_characters_is_refused():
    with pytest.raises(UserError, match="text is empty"):
        CharTokenizer.train("")


def test_char_lone_surrogate_is_refused():
    with pytest.raises(UserError, match="lone surrogate, U.D800"):
        CharTokenizer.train("a\ud800")


# byte-pair encoding


def test_merge_goes_from_left_to_right():
    assert merge([7, 7, 7, 1, 7, 7], (7, 7), 9) == [9, 7, 1, 9]
    assert merge([1, 2, 1, 2, 1], (1, 2), 3) == [3, 3, 1]
    assert merge([1], (1, 1), 2) == [1]
    assert merge([], (1, 1), 2) == []


def test_merge_leaves_its_input_alone():
    ids = [1, 2]
    merge(ids, (1, 2), 3)
    assert ids == [1, 2]


def test_bpe_learns_the_textbook_example():
    # Sennrich et al. 2016, algorithm 1; (e, s) and (s, t) are equally frequent, and (e, s) is the smaller.
    tokenizer = BPETokenizer.train("low," * 5 + "lower," * 2 + "newest," * 6 + "widest," * 3, 259)
    assert tokenizer.token_bytes[256:] == [b"es", b"est", b"lo"]


def test_bpe_training_equals_counting_anew_after_every_merge(bpe):
    pieces = [list(piece.encode()) for piece in re.findall(SPLIT, PROSE)]
    for i, learned in enumerate(bpe.state["merges"]):
        counts = {}
        for piece in pieces:
            for pair in pairwise(piece):
                counts[pair] = counts.get(pair, 0) + 1
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        assert list(best) == learned
        pieces = [merge(piece, best, 256 + i) for piece in pieces]


@property_test
@given(TEXT)
def test_bpe_pieces_are_the_text(text):
    assert "".join(re.findall(SPLIT, text)) == text


def assert_tiktoken_cuts_as_python_does(text, pattern=SPLIT):
    """Each piece that Python finds, and each two neighbours joined, is a token: so ids tell where tiktoken cut."""
    pieces = [piece.encode() for piece in re.findall(SPLIT, text)]
    ranks = {bytes([i]): i for i in range(256)}
    for token in [*pieces, *map(b"".join, pairwise(pieces))]:
        ranks.setdefault(token, len(ranks))
    encoding = tiktoken.Encoding("pieces", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    assert encoding.encode_ordinary(text) == [ranks[piece] for piece in pieces]


@property_test
@given(TEXT)
def test_split_pattern_means_the_same_in_python_and_in_tiktoken(text):
    assert_tiktoken_cuts_as_python_does(text)


def test_split_pattern_means_the_same_for_every_kind_of_character_and_every_length():
    codes = [*range(0x800), *range(0x2000, 0x2070), 0x3000, 0xD7FF, 0xE000, 0xFEFF, 0xFFFF, 0x10000, 0x10FFFF]
    assert_tiktoken_cuts_as_python_does("".join(map(chr, codes)))
    assert_tiktoken_cuts_as_python_does(" a  1 . ".join(map(chr, codes)))
    for character in "a1.\n é":
        for length in (1, 2, 63, 64, 65, 129):
            assert_tiktoken_cuts_as_python_does(" " + character * length + " " + character * length)


@pytest.mark.parametrize("old, new", [(" ?[0-9]", "[0-9]"), ("[0-9]{1,64}", "[0-9]{1,63}"), ("{-\\x7f]", "{-\\xa0]")])
def test_the_comparison_of_cuts_sees_another_pattern(old, new):
    assert old in SPLIT
    with pytest.raises(AssertionError):
        assert_tiktoken_cuts_as_python_does("a 1 " + "1" * 64 + "é\xa0é", SPLIT.replace(old, new))


@property_test
@given(TEXT)
@example("a" * 200 + " " * 200 + "é" * 100)
@example("the\u00a0cat\u2028the\r\n\u0085cat\u200dthe")
def test_tiktoken_encodes_as_the_merges_do(bpe, text):
    assert bpe.encode(text).tolist() == encode_by_merges(bpe, text)


@property_test
@given(TEXT.filter(len), TEXT)
def test_tiktoken_encodes_as_the_merges_do_whatever_was_learned(training_text, text):
    tokenizer = learn_all(training_text * 2)
    for t in (training_text, text):
        assert tokenizer.encode(t).tolist() == encode_by_merges(tokenizer, t)


def learn_all(text):
    """A tokenizer with every merge that the text allows, as many as the error of a greedy request names."""
    try:
        return BPETokenizer.train(text, 10**6)
    except UserError as error:
        possible = int(re.search(r"allows only ([\d,]+) merges", str(error))[1].replace(",", ""))
    return BPETokenizer.train(text, 256 + possible) if possible else BPETokenizer([])


@property_test
@given(TEXT)
def test_bpe_round_trip_of_text(bpe, text):
    assert bpe.decode(bpe.encode(text)) == text


def test_bpe_ids_are_uint32_and_smaller_than_the_text(bpe):
    ids = bpe.encode(PROSE)
    assert ids.dtype == np.uint32 and ids.ndim == 1
    assert len(ids) < len(PROSE) / 2
    assert ids.max() < bpe.vocab_size == 340


def test_bpe_token_that_ends_inside_a_character_decodes_to_the_replacement_sign(bpe):
    assert bpe.decode([ord("a"), 0xC3]) == "a\ufffd"
    assert bpe.decode_bytes([ord("a"), 0xC3]) == b"a\xc3"


def test_bpe_is_the_same_in_another_process(bpe):
    code = (
        "import sys, json; from tinygpt.tokenizer import BPETokenizer;"
        "print(json.dumps(BPETokenizer.train(json.loads(sys.argv[1]), 340).state['merges']))"
    )
    root = Path(__file__).resolve().parents[1]
    done = children.run("-c", code, json.dumps(PROSE), cwd=root)
    assert json.loads(done.stdout) == bpe.state["merges"]


@pytest.mark.parametrize("vocab_size", [-1, 0, 256])
def test_bpe_vocabulary_below_257_is_refused(vocab_size):
    with pytest.raises(UserError, match=f"vocab_size is {vocab_size}, .* ask for --vocab_size=257 or more"):
        BPETokenizer.train(PROSE, vocab_size)


def test_bpe_vocabulary_too_large_for_the_text_says_what_is_possible():
    assert BPETokenizer.train("abab", 258).token_bytes[256:] == [b"ab", b"abab"]
    with pytest.raises(UserError, match="allows only 2 merges; ask for at most 258"):
        BPETokenizer.train("abab", 259)


def test_bpe_lone_surrogate_is_refused(bpe):
    with pytest.raises(UserError, match="lone surrogate, U.DC80"):
        bpe.encode("a\udc80")
    with pytest.raises(UserError, match="lone surrogate, U.D83D"):
        BPETokenizer.train("a\ud83d", 257)


DAMAGED_MERGES = [[(97, 256)], [(-1, 97)], [(97, 98), (97, 98)], [(97, 98, 99)], [97], [(97, "b")], [(97, 10**4000)]]


@pytest.mark.parametrize("merges", DAMAGED_MERGES)
def test_bpe_damaged_merges_are_refused(merges):
    with pytest.raises(UserError, match="list of merges is damaged") as error:
        BPETokenizer(merges)
    assert len(str(error.value)) < 200


def test_the_longest_token_that_training_can_make_is_allowed_and_a_longer_one_is_not():
    longest = " " + "\N{GRINNING FACE}" * 64  # one piece of a text, of as many bytes as a piece may have
    trained = BPETokenizer.train(longest * 2, 266)
    assert trained.token_bytes[-1] == longest.encode() and len(longest.encode()) == 257
    with pytest.raises(UserError, match="makes a token of 258 bytes, and no text has one above 257"):
        BPETokenizer([*trained.state["merges"], [32, 265]])


def test_a_vocabulary_beyond_all_in_use_is_refused():
    pairs = [[a, b] for a in range(256) for b in range(256)]
    with pytest.raises(UserError, match="more than 262,144 tokens"):
        BPETokenizer(pairs + [[256 + a, b] for a in range(len(pairs)) for b in range(3)])


# GPT-2


def test_gpt2_gives_the_published_ids(gpt2):
    assert gpt2.encode("Hello world").tolist() == [15496, 995]
    assert gpt2.encode("Hello world").dtype == np.uint32
    assert gpt2.decode([15496, 995]) == "Hello world"


def test_gpt2_end_of_text_is_the_special_token(gpt2):
    assert gpt2.encode("a<|endoftext|>b").tolist() == [64, 50256, 65]
    assert gpt2.decode([50256]) == "<|endoftext|>"


def test_gpt2_vocabulary_is_whole(gpt2):
    assert gpt2.vocab_size == len(gpt2.token_bytes) == len(set(gpt2.token_bytes)) == 50257


def test_gpt2_round_trip_of_any_text(gpt2):
    @property_test
    @given(TEXT)
    def check(text):
        assert gpt2.decode(gpt2.encode(text)) == text

    check()


def test_gpt2_lone_surrogate_is_refused(gpt2):
    with pytest.raises(UserError, match="lone surrogate"):
        gpt2.encode("\udfff")


def test_gpt2_text_that_tiktoken_cannot_split_is_a_sentence(gpt2):
    with pytest.raises(UserError, match="shorten its longest run of white space"):
        gpt2.encode(" " * 1_000_000 + "x")


@pytest.mark.parametrize(
    "error",
    [requests.exceptions.ConnectionError("no route"), requests.exceptions.Timeout(), ValueError("Hash mismatch")],
)
def test_gpt2_without_its_files_names_the_ways_out(monkeypatch, error):
    def no_network(name):
        raise error

    monkeypatch.setattr(tiktoken, "get_encoding", no_network)
    tokenizer = GPT2Tokenizer()
    assert tokenizer.vocab_size == 50257
    for use in (lambda: tokenizer.encode("a"), lambda: tokenizer.decode([1])):
        with pytest.raises(UserError, match="TIKTOKEN_CACHE_DIR .* --tokenizer=char or --tokenizer=bpe") as caught:
            use()
        assert type(error).__name__ in str(caught.value)


# what all share


def three(bpe):
    return [CharTokenizer("abc"), bpe, GPT2Tokenizer()]


def test_names(bpe):
    assert [tokenizer.name for tokenizer in three(bpe)] == ["char", "bpe", "gpt2"]


def test_save_and_load_give_an_equal_tokenizer(bpe, tmp_path):
    for tokenizer in three(bpe):
        tokenizer.save(tmp_path / "tokenizer.json")
        loaded = load(tmp_path / "tokenizer.json")
        assert type(loaded) is type(tokenizer) and loaded == tokenizer
        assert loaded.vocab_size == tokenizer.vocab_size
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_a_loaded_tokenizer_encodes_alike(bpe, tmp_path):
    bpe.save(tmp_path / "t.json")
    assert load(tmp_path / "t.json").encode(PROSE).tolist() == bpe.encode(PROSE).tolist()
    strange = CharTokenizer.train('\x00\x7f\n"\\é\u2028🙂')
    strange.save(tmp_path / "t.json")
    assert load(tmp_path / "t.json").encode("🙂\x00\u2028").tolist() == strange.encode("🙂\x00\u2028").tolist()


def test_tokenizers_differ_in_kind_or_vocabulary(bpe):
    assert CharTokenizer("abc") == CharTokenizer("abc")
    assert CharTokenizer("abc") != CharTokenizer("acb")
    assert BPETokenizer([(97, 98)]) != BPETokenizer([(97, 99)])
    assert BPETokenizer([(97, 98)]) == BPETokenizer([[97, 98]])
    assert CharTokenizer("abc") != bpe != GPT2Tokenizer()
    assert CharTokenizer("abc") != "abc"


@pytest.mark.parametrize("ids", [[3], [-1], [0, 10**9], np.array([70000])])
def test_decode_names_an_id_outside_the_vocabulary(ids):
    with pytest.raises(UserError, match=f"Token id {ids[-1]} is outside this char vocabulary of 3 tokens"):
        CharTokenizer("abc").decode(ids)


def test_decode_of_an_outside_id_is_refused_by_every_tokenizer(bpe):
    for tokenizer in three(bpe):
        with pytest.raises(UserError, match="outside"):
            tokenizer.decode([tokenizer.vocab_size])


@pytest.mark.parametrize("ids", [1, [[1]], [0.5], ["a"], [True]])
def test_decode_of_what_are_no_ids_is_refused(ids):
    with pytest.raises(UserError, match="flat list of token ids"):
        CharTokenizer("abc").decode_bytes(ids)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
def test_decode_takes_lists_and_integer_arrays(dtype):
    assert CharTokenizer("abc").decode(np.array([2, 0], dtype)) == CharTokenizer("abc").decode([2, 0]) == "ca"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04",
        b"[]",
        b"{}",
        b'{"format": "tinygpt tokenizer 0", "name": "gpt2"}',
        b'{"format": "tinygpt tokenizer 1", "name": "morse"}',
        b'{"format": "tinygpt tokenizer 1", "name": "char"}',
        b'{"format": "tinygpt tokenizer 1", "name": "char", "characters": 5}',
        b'{"format": "tinygpt tokenizer 1", "name": "char", "characters": ["a"]}',
        b'{"format": "tinygpt tokenizer 1", "name": "char", "characters": "aa"}',
        b'{"format": "tinygpt tokenizer 1", "name": "char", "characters": null}',
        b'{"format": "tinygpt tokenizer 1", "name": "bpe", "merges": null}',
        b'{"format": "tinygpt tokenizer 1", "name": "bpe", "merges": [[1]]}',
        b'{"format": "tinygpt tokenizer 1", "name": "bpe", "merges": [["a", "b"]]}',
        b'{"format": "tinygpt tokenizer 1", "name": "bpe", "merges": [[97, 300]]}',
        b'{"format": "tinygpt tokenizer 1", "name": "bpe", "merges": [[97.0, 98.0]]}',
        b'{"format": "tinygpt tokenizer 1", "name": "bpe", "merges": [%s]}'
        % b", ".join([b"[97, 97]"] + [b"[%d, %d]" % (i, i) for i in range(256, 286)]),  # 440 bytes, a token of 2 GB
    ],
)
def test_a_file_that_is_no_tokenizer_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(UserError, match="t.json is not a tokenizer file that this version can read"):
        load(tmp_path / "t.json")


def test_a_missing_tokenizer_file_is_named(tmp_path):
    with pytest.raises(UserError, match="There is no tokenizer file .*t.json"):
        load(tmp_path / "t.json")


def test_save_into_a_folder_that_cannot_be_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="could not write .*t.json"):
        CharTokenizer("a").save(tmp_path / "file" / "t.json")


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    CharTokenizer("a").save(tmp_path / "t.json")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(UserError, match="disk full"):
        CharTokenizer("b").save(tmp_path / "t.json")
    assert load(tmp_path / "t.json") == CharTokenizer("a")
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]
