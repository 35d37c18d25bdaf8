"""nanoGPT's meta.pkl: read by a machine that can make nothing but dicts, strings and numbers."""

import collections
import os
import pickle
import random

import pytest

from tinygpt.errors import UserError
from tinygpt.tokenizer import CharTokenizer
from tinygpt.tokenizer.meta import BYTES, DICTS, plain_pickle, read_meta

CHARACTERS = "\n !,aé🙂\x00日"
ITOS = dict(enumerate(CHARACTERS))
META = {"vocab_size": len(ITOS), "itos": ITOS, "stoi": {c: i for i, c in ITOS.items()}}
PROTOCOLS = range(6)


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    return path


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_is_read_as_pickle_reads_it(protocol):
    numbers = {i: n for i, n in enumerate([0, 1, -1, 255, 256, 65_535, 65_536, 2**31, -(2**31), 2**70, -(2**2000)])}
    for value in (META, numbers, {}, 5, "text", {"a": {"b": {1: "c"}}}, {i: str(i) for i in range(3000)}):
        assert plain_pickle(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_nanogpt_writes_gives_its_characters(tmp_path, protocol):
    meta = read_meta(written(tmp_path / "meta.pkl", pickle.dumps(META, protocol)))
    assert meta.vocab_size == 9 and meta.tokenizer == CharTokenizer(CHARACTERS)


def test_one_direction_is_enough(tmp_path):
    for names in (("itos",), ("stoi",), ("vocab_size", "stoi")):
        meta = read_meta(written(tmp_path / "meta.pkl", {name: META[name] for name in names}))
        assert meta.tokenizer == CharTokenizer(CHARACTERS)


class Reduced:
    """What a pickle can do to who unpickles it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


HOSTILE = {
    "a call": lambda: pickle.dumps({"vocab_size": Reduced(os.system, "touch attacked")}),
    "a call, protocol 0": lambda: pickle.dumps({"vocab_size": Reduced(os.system, "touch attacked")}, 0),
    "a call by hand": lambda: b"cos\nsystem\n(S'touch attacked'\ntR.",
    "an instance": lambda: b"(S'touch attacked'\nios\nsystem\n.",
    "a class": lambda: pickle.dumps(collections.OrderedDict(a=1)),
    "a persistent id": lambda: b"Pattacked\n.",
    "another persistent id": lambda: b"\x80\x02X\x08\x00\x00\x00attackedQ.",
    "an extension": lambda: b"\x80\x02\x82\x01.",
    "a buffer": lambda: b"\x80\x05\x97.",
    "bytes": lambda: pickle.dumps({"itos": b"abc"}),
    "a list": lambda: pickle.dumps({"itos": ["a", "b"]}),
    "None": lambda: pickle.dumps({"itos": None}),
    "a float": lambda: pickle.dumps({"vocab_size": 3.0}),
    "True": lambda: pickle.dumps({"vocab_size": True}, 0),
    "dicts in dicts": lambda: b"\x80\x04" + b"}\x8c\x01a" * 100_000 + b"}" + b"s" * 100_000 + b".",
    "a million dicts": lambda: b"\x80\x04" + b"}" * 1_000_000 + b".",
    "a string that says it is longer than the memory": lambda: b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7fabc.",
    "a number that says so": lambda: b"\x80\x04\x8b\xff\xff\xff\x7f1.",
    "a number of a million digits": lambda: b"I" + b"9" * 1_000_000 + b"\n.",
    "a long number of a million digits": lambda: b"L" + b"9" * 1_000_000 + b"L\n.",
    "a huge number": lambda: b"\x80\x04\x8b" + (4_000_000).to_bytes(4, "little") + b"\x7f" * 4_000_000 + b".",
    "a memo that is not there": lambda: b"\x80\x04h\x07.",
    "a memo far away": lambda: b"\x80\x04}r\xff\xff\xff\xff" + b"j\xff\xff\xff\xff" * 3 + b".",
    "a memo bomb": lambda: b"\x80\x04}\x94" + b"".join(
        b"}\x94(\x8c\x01ah%c\x8c\x01bh%cu" % (i, i) for i in range(40)) + b".",
    "a dict in itself": lambda: b"\x80\x04}\x94\x8c\x01ah\x00s.",
    "a dict as a key": lambda: b"\x80\x04}}}s.",
    "a key without a value": lambda: b"\x80\x04}(\x8c\x01au.",
    "more than one thing": lambda: b"\x80\x04}}.",
    "a mark that is left": lambda: b"\x80\x04(}.",
    "too little on the stack": lambda: b"\x80\x04s.",
    "no mark": lambda: b"\x80\x04}u.",
    "nothing": lambda: b"",
    "no end": lambda: b"\x80\x04}",
    "no pickle": lambda: b"vocab_size = 65\n",
    "half a character": lambda: b"\x80\x04\x8c\x01\xff.",
    "a future protocol": lambda: b"\x80\x04\xff.",
    "too many instructions": lambda: b"\x80\x04" + b"K\x01" * 2_100_000 + b".",
    "too large": lambda: b"\x80\x04" + b"\0" * BYTES,
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_pickle_makes_nothing_and_is_left_alone_in_a_sentence(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "meta.pkl", HOSTILE[kind]())
    for dangerous in ("pickle.loads", "pickle.load", "pickle.Unpickler", "pickle._Unpickler", "os.system"):
        monkeypatch.setattr(dangerous, None)
    with pytest.raises(UserError, match=r"meta\.pkl (is left alone: |has [\d,]+ bytes)") as raised:
        read_meta(path)
    assert len(str(raised.value)) < 400
    assert [file.name for file in tmp_path.iterdir()] == ["meta.pkl"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vocab_size": 10}, "its itos does not list the ids from 0 to vocab_size - 1, 9"),
        ({"vocab_size": 0}, "its vocab_size is 0"),
        ({"vocab_size": -5}, "its vocab_size is -5"),
        ({"vocab_size": 10**30}, "its vocab_size is 1000000000000000000000000000000"),
        ({"vocab_size": 1 << (8 * 100_000)}, "its vocab_size is int of thousands of digits"),
        ({"vocab_size": "65"}, "its vocab_size is '65'"),
        ({"itos": {}}, "its itos does not list"),
        ({"itos": "abc"}, "its itos does not list"),
        ({"itos": ITOS | {8: 8}}, "its itos has what is no string"),
        ({"itos": ITOS | {8: "a"}}, "its itos and its stoi contradict each other"),
        ({"stoi": {}}, "its itos and its stoi contradict each other"),
        ({"stoi": META["stoi"] | {"a": 5}}, "its itos and its stoi contradict each other"),
        ({"itos": {**ITOS, 8: "\ud800"}, "stoi": {**META["stoi"], "\ud800": 8}}, "contradict"),
    ],
)
def test_a_meta_that_contradicts_itself_is_left_alone(tmp_path, change, reason):
    with pytest.raises(UserError, match=f"is left alone: .*{reason}"):
        read_meta(written(tmp_path / "meta.pkl", META | change))


def test_half_a_character_and_characters_twice_are_no_vocabulary(tmp_path):
    for itos in ({0: "a", 1: "\ud800"}, {0: "a", 1: "a"}):
        with pytest.raises(UserError, match="is left alone: (The text holds a lone surrogate|Character 'a' is listed)"):
            read_meta(written(tmp_path / "meta.pkl", {"itos": itos}))


def test_what_says_nothing_of_a_vocabulary_is_left_alone(tmp_path):
    for value in ({}, {"stoi": "a lie"}, 5, "text"):
        with pytest.raises(
            UserError, match="is left alone: it (tells of no vocabulary|holds a (int|str), where a dict)"
        ):
            read_meta(written(tmp_path / "meta.pkl", value))


def test_damaged_pickles_are_read_or_left_alone(tmp_path):
    """Bytes changed, cut and put in, by chance: no other error, and never anything but plain data."""
    draw, outcomes = random.Random(0), set()
    good = [pickle.dumps(META, protocol) for protocol in PROTOCOLS]
    for _ in range(3000):
        content = bytearray(draw.choice(good))
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(content) + 1)
            content[place : place + draw.randint(0, 2)] = draw.randbytes(draw.randint(0, 2))
        try:
            value = plain_pickle(bytes(content))
            assert type(value) in (dict, str, int)
            outcomes.add("read")
        except ValueError:
            outcomes.add("left alone")
    assert outcomes == {"read", "left alone"} and DICTS > 3
