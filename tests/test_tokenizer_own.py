"""A tokenizer of one's own: any tokenizer.json that can be printed token by token, and a sentence for what is none."""

import json
import re
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings

from tests import hard_texts
from tinygpt.cli import main
from tinygpt.data.learning import whole_pieces
from tinygpt.errors import Note, UserError
from tinygpt.tokenizer import BPETokenizer, CharTokenizer, GPT2Tokenizer, OwnTokenizer, load, named, own
from tinygpt.tokenizer.named import of_content

library = pytest.importorskip("tokenizers", reason="tokenizers is not installed; `pip install tokenizers` brings it")
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

SENTENCES = [
    "Hello World, the cat sat on the mat. ",
    "It's 3.5 of them; don't be na\u00efve.\n\ndef f(x):\n    return x\n",
] * 3


def byte_level():
    """As GPT-2's is made, with special tokens at its start."""
    made = library.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=330, special_tokens=["<pad>", "</s>"], initial_alphabet=alphabet, show_progress=False))  # fmt: skip # noqa: E501
    return made


def sentencepiece():
    """As Llama's is made: spaces as U+2581, one before the text, and single bytes for what has no token."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    for piece in ("\u2581", "\u2581H", "ello", "\u2581Hello", *"Helo,Wrdbcat.'3:"):
        vocabulary.setdefault(piece, len(vocabulary))
    for piece in "Hell", "el", "lo", "ell":
        vocabulary.setdefault(piece, len(vocabulary))
    merges = [("\u2581", "H"), ("el", "lo"), ("e", "l"), ("l", "o"), ("\u2581H", "ello")]
    made = library.Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    made.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0),
    ])  # fmt: skip
    made.add_special_tokens(["<s>", "</s>"])
    made.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return made


def unigram():
    made = library.Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.train_from_iterator(SENTENCES, trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False))  # fmt: skip # noqa: E501
    return made


def word_piece():
    """As BERT's is made: lower case, no white space, [UNK]."""
    made = library.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=120, special_tokens=["[UNK]"], show_progress=False))  # fmt: skip # noqa: E501
    return made


def whole_words():
    """As the library's own first example: no decoder, so a space before each word."""
    made = library.Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(SENTENCES, trainers.WordLevelTrainer(special_tokens=["[UNK]"], show_progress=False))
    return made


def word_ends():
    """As CLIP's and GPT's first: a mark at the end of each word."""
    made = library.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.BPEDecoder()
    made.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False))  # fmt: skip # noqa: E501
    return made


EXACT = {maker.__name__: maker for maker in (byte_level, sentencepiece)}
OTHERS = {maker.__name__: maker for maker in (unigram, word_piece, whole_words, word_ends)}


@pytest.fixture
def file(tmp_path):
    def write(made):
        path = tmp_path / "given" / "tokenizer.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(made if isinstance(made, str) else made.to_str(pretty=True), encoding="utf-8")
        return path

    yield write
    own._open.cache_clear()


def piece_by_piece(tokenizer, ids):
    return b"".join(tokenizer.decode_bytes([id]) for id in ids).decode(errors="replace")


@pytest.mark.parametrize("kind", EXACT)
def test_every_text_comes_back_and_a_stream_gives_the_same_bytes(kind, file):
    made = EXACT[kind]()
    tokenizer = named(file(made))
    with warnings.catch_warnings():
        warnings.simplefilter("error", Note)
        for name, text in hard_texts.TEXTS.items():
            if kind == "sentencepiece" and "\u2581" in text:  # its own sign for a space
                continue
            ids = tokenizer.encode(text)
            assert ids.dtype == np.uint32 and tokenizer.decode(ids) == text, name
            assert piece_by_piece(tokenizer, ids) in (text, " " + text), name
            assert ids.tolist() == made.encode(text, add_special_tokens=False).ids, name


def test_any_text_comes_back_from_a_byte_level_tokenizer(file):
    tokenizer = named(file(byte_level()))

    @settings(deadline=None, max_examples=100)
    @given(hard_texts.DRAWN)
    def check(text):
        assert tokenizer.decode(tokenizer.encode(text)) == text == piece_by_piece(tokenizer, tokenizer.encode(text))

    check()


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_printed_as_it_comes_is_what_the_library_decodes(kind, file):
    made = OTHERS[kind]()
    tokenizer = named(file(made))
    with pytest.warns(Note):
        for text in ("The cat, don't: 3.5 of", "Hello World", "of them\n\nx", *hard_texts.TEXTS.values()):
            ids = tokenizer.encode(text).tolist()
            assert ids == made.encode(text).ids
            if not text.startswith(" "):  # of a text's first spaces the library drops all, and this the one put there
                assert tokenizer.decode(ids) == made.decode(ids, skip_special_tokens=False)
            assert piece_by_piece(tokenizer, ids).strip(" ") == tokenizer.decode(ids).strip(" ")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("word_piece", "'Hello World', at position 0, comes back as 'hello world'"),
        ("whole_words", r"'Hello World!', at position 0, comes back as 'Hello World \[UNK\]'"),
    ],
)
def test_a_text_that_does_not_come_back_is_said_once(kind, sentence, file):
    tokenizer = named(file(OTHERS[kind]()))
    with pytest.warns(Note) as notes:
        tokenizer.encode("Hello World" if kind == "word_piece" else "Hello World!")
        tokenizer.encode("ANOTHER")
    assert len(notes) == 1 and "tokenizer.json does not give back every text" in str(notes[0].message)
    assert re.search(sentence, str(notes[0].message)), str(notes[0].message)


@pytest.mark.parametrize("kind", EXACT | OTHERS)
def test_a_long_text_is_encoded_a_part_at_a_time_to_the_same_ids(kind, file, monkeypatch):
    made = (EXACT | OTHERS)[kind]()
    tokenizer, text = named(file(made)), "".join(SENTENCES) * 20 + hard_texts.ALL * 3
    lengths = []
    monkeypatch.setattr(own, "CHUNK", 1000)
    monkeypatch.setattr(OwnTokenizer, "_ids", lambda self, text, ids=OwnTokenizer._ids: lengths.append(len(text)) or ids(self, text))  # fmt: skip # noqa: E501
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Note)
        assert tokenizer.encode(text).tolist() == made.encode(text, add_special_tokens=False).ids
    assert len(text) > 8000 and max(lengths) < 3500


def test_a_text_is_cut_only_where_both_parts_may_be_encoded_alone(file):
    text = "".join(SENTENCES) * 3
    tokenizer = named(file(byte_level()))
    cut = tokenizer.safe_cut(text)
    assert 0 < cut < len(text) and text[cut] == " "
    parts = [*tokenizer.encode(text[:cut]), *tokenizer.encode(text[cut:])]
    assert parts == tokenizer.encode(text).tolist()
    assert tokenizer.safe_cut("abc") == tokenizer.safe_cut("") == 0


@pytest.mark.parametrize("kind", EXACT | OTHERS)
def test_a_text_in_pieces_has_the_ids_of_the_whole_though_a_space_be_put_before_each(kind, file, monkeypatch):
    tokenizer, text = named(file((EXACT | OTHERS)[kind]())), "".join(SENTENCES) * 20 + hard_texts.ALL * 3
    monkeypatch.setattr(own, "CHUNK", 1000)
    pieces = list(whole_pieces(tokenizer, (text[start : start + 900] for start in range(0, len(text), 900))))
    ids, before = [], ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Note)
        for piece in pieces:
            ids += tokenizer.encode_after(before, piece).tolist()
            before = (before + piece)[-tokenizer.context :]
        assert ids == tokenizer.encode(text).tolist()
    assert "".join(pieces) == text and len(pieces) > 4 and max(map(len, pieces)) < 3500


def test_of_a_first_token_of_two_spaces_one_is_the_tokenizers_own(file):
    content = json.loads(sentencepiece().to_str())
    content["model"]["vocab"]["\u2581\u2581"] = len(content["model"]["vocab"])
    content["model"]["merges"].append(["\u2581", "\u2581"])
    tokenizer = named(file(json.dumps(content)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in (" Hello", "  Hello", "Hello", " "):
            assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_piece_that_begins_with_a_space_is_not_said_to_lose_it(file):
    tokenizer = named(file(sentencepiece()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer.encode_after("Hello", " Hello")


def test_a_place_that_was_no_good_one_is_a_sentence_and_no_wrong_ids(file, monkeypatch):
    tokenizer = named(file(byte_level()))
    monkeypatch.setattr(OwnTokenizer, "_ids", lambda self, text: [len(text)])
    with pytest.raises(UserError, match="cannot encode this text in pieces, since it cuts it differently around 'ab"):
        tokenizer.encode_after("ab", "cd")


@pytest.mark.parametrize("text", ["你好，世界。今天很好！" * 400, "UPPER CASE 12 34\n" * 300, "1,22;333," * 600])
def test_a_text_without_spaces_after_letters_is_encoded_a_part_at_a_time_too(file, text, monkeypatch):
    made, lengths = byte_level(), []
    tokenizer = named(file(made))
    monkeypatch.setattr(own, "CHUNK", 1000)
    monkeypatch.setattr(OwnTokenizer, "_ids", lambda self, text, ids=OwnTokenizer._ids: lengths.append(len(text)) or ids(self, text))  # fmt: skip # noqa: E501
    whole = made.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode(text).tolist() == whole
    cut = tokenizer.safe_cut(text)
    assert len(text) - 1000 < cut < len(text)
    assert [*tokenizer.encode(text[:cut]), *tokenizer.encode(text[cut:])] == whole
    assert max(lengths) < 3500


def test_a_loss_on_what_is_left_of_a_text_is_not_told_per_character(file, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("".join(SENTENCES) * 9)
    for kind, told in (("byte_level", True), ("sentencepiece", True), ("word_piece", False), ("unigram", False)):
        path = file((EXACT | OTHERS)[kind]())
        flags = f"--data={tmp_path / 'text.txt'}", f"--out_dir={tmp_path / kind}"
        tiny = "--max_iters=1", "--eval_iters=1", "--n_layer=1", "--n_embd=8", "--block_size=8", "--device=cpu"
        assert main(["train", *flags, *tiny, f"--tokenizer={path}"]) == 0
        assert ("bits per character" in capsys.readouterr().out) == told
        assert main(["eval", f"--out_dir={tmp_path / kind}", "--device=cpu"]) == 0
        assert ("bits per character" in capsys.readouterr().out) == told


def test_special_tokens_are_those_that_the_text_spells_out(file):
    tokenizer = named(file(sentencepiece()))
    assert tokenizer.encode("Hello")[0] != 1  # the <s> that the file would put first
    assert 2 in tokenizer.encode("Hello</s>").tolist()
    assert tokenizer.decode(tokenizer.encode("Hello</s>")) == "Hello</s>"


def test_what_a_file_would_cut_off_or_fill_up_is_left_whole(file):
    made = byte_level()
    made.enable_truncation(3)
    made.enable_padding(length=50)
    tokenizer = named(file(made))
    assert tokenizer.decode(tokenizer.encode("the cat sat on the mat")) == "the cat sat on the mat"


def test_the_vocabulary_has_its_added_tokens_and_its_holes(file):
    made = byte_level()
    size = made.get_vocab_size()
    made.add_tokens(["<|user|>"])
    tokenizer = named(file(made))
    assert tokenizer.vocab_size == size + 1 == len(tokenizer.token_bytes)
    assert tokenizer.encode("a<|user|>").tolist()[-1] == size and tokenizer.decode([size]) == "<|user|>"
    content = json.loads(library.Tokenizer(models.WordLevel({"a": 0, "b": 7}, unk_token="a")).to_str())
    holes = OwnTokenizer(content)
    assert holes.vocab_size == 8 and holes.decode_bytes([5]) == b""


def test_it_is_saved_whole_and_loads_without_its_file(file, tmp_path):
    path = file(byte_level())
    tokenizer = named(path)
    tokenizer.save_pretrained(tmp_path / "best")
    assert json.loads((tmp_path / "best" / "tokenizer.json").read_text("utf-8")) == json.loads(path.read_text("utf-8"))
    path.unlink()
    again = load(tmp_path / "best" / "tokenizer.tinygpt.json")
    assert again == tokenizer == named(tmp_path / "best" / "tokenizer.json")
    assert again.encode("the cat").tolist() == tokenizer.encode("the cat").tolist()


def test_another_layout_of_the_same_file_is_the_same_tokenizer(file):
    made = byte_level()
    tokenizer = named(file(made))
    assert named(file(made.to_str(pretty=False))) == tokenizer
    assert tokenizer != BPETokenizer([]) and tokenizer != named(file(sentencepiece()))


def test_a_first_prompt_is_a_text_that_it_has_a_token_for(file):
    assert named(file(byte_level())).first_prompt == "\n"
    assert named(file(word_piece())).first_prompt == "The"  # it drops newlines


# files that are none


def test_names_and_our_own_files_are_known(tmp_path):
    assert named("char") == "char" and named("bpe") == "bpe" and named("gpt2") == GPT2Tokenizer()
    CharTokenizer("ab").save(tmp_path / "t.json")
    assert named(str(tmp_path / "t.json")) == CharTokenizer("ab") == named(tmp_path / "t.json")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("config.json", '{"model_type": "gpt2", "vocab_size": 9}', "is a model's config.json, which says noth"),
        ("tokenizer_config.json", '{"tokenizer_class": "X"}', "is a tokenizer's settings .*, without its vocabulary"),
        ("vocab.json", '{"a": 0, "b": 1}', "is a vocabulary alone .*does not say how a text is cut"),
        ("merges.txt", "#version: 0.2\na b\n", "merges.txt is no JSON, so it is no tokenizer.json"),
        ("tokenizer.model", "\n\x0e\n\x05<unk>\x15", "tokenizer.model is SentencePiece's format, which is not"),
        ("spm", "\n\x0e\n\x05<unk>\x15", "spm is SentencePiece's format"),
        ("empty.json", "", "empty.json is no JSON"),
        ("half.json", '{"model": {', "half.json is damaged: not JSON"),
        ("list.json", "[1, 2]", "list.json is no tokenizer.json: it has no model with a vocabulary"),
        ("t.json", '{"model": {"vocab": 5}}', "t.json is no tokenizer.json"),
        ("t.json", '{"model": {"vocab": {}}}', "t.json numbers a token 'none'"),
        ("t.json", '{"model": {"vocab": {"a": -1}}}', "t.json numbers a token -1; expected ids from 0 to 262,143"),
        ("t.json", '{"model": {"vocab": {"a": 1000000000}}}', "t.json numbers a token 1000000000"),
        ("t.json", '{"model": {"vocab": {"a": 0}}, "added_tokens": [{}]}', "t.json is no tokenizer.json"),
        ("t.json", '{"model": {"vocab": {"a": 0}, "type": "Morse"}}', "cannot be used: the tokenizers library says"),
        ("t.json", '{"model": {"vocab": {"\\ud800": 0}}}', "t.json is damaged: .* lone surrogate, U.D800"),
        ("t.json", '{"model": {"vocab": {"a": 0}, "dropout": 0.1}}', "dropout of 0.1, and so encodes a text diff"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_by_what_it_is(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content.encode())
    with pytest.raises(UserError, match=sentence) as error:
        named(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_a_folder_and_what_is_not_there_are_told(tmp_path):
    with pytest.raises(UserError, match="is a folder; expected the file of a tokenizer"):
        named(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=f"such as {tmp_path / 'tokenizer.json'}"):
        named(tmp_path)
    with pytest.raises(UserError, match=r"no tokenizer 'gtp2' \(did you mean gpt2\?\); .* or give the path of a token"):
        named("gtp2")


def test_a_decoder_that_looks_at_neighbours_is_refused(file):
    made = byte_level()
    made.decoder = decoders.CTC()
    with pytest.raises(UserError, match="a decoder of type 'CTC' cannot be followed token by token"):
        named(file(made))
    made.decoder = decoders.Sequence([decoders.Fuse(), decoders.Replace(library.Regex("o,"), "o.")])
    with pytest.raises(UserError, match="what its tokens say depends on their neighbours"):
        named(file(made))


def test_without_the_library_a_sentence_says_what_brings_it(file, monkeypatch):
    path = file(byte_level())
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError, match=r"tokenizer.json is read by the tokenizers library.*`pip install tokenizers`"):
        named(path)
    assert OwnTokenizer(json.loads(path.read_text("utf-8"))).vocab_size > 256  # what needs no library goes on


def test_a_vocabulary_of_characters_refuses_one_that_it_lacks():
    tokenizer = OwnTokenizer(CharTokenizer("bca").to_pretrained())
    assert tokenizer.encode("abc").tolist() == [2, 0, 1] and tokenizer.first_prompt == "a"
    with pytest.raises(UserError, match="tokenizer.json cannot encode this text: .* Missing .* token"):
        tokenizer.encode("abcd")


def test_what_tinygpt_wrote_is_read_as_what_it_was_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for tokenizer in hard_texts.tokenizers().values():
        tokenizer.save_pretrained(tmp_path)
        assert named(tmp_path / "tokenizer.json") == tokenizer
        content = tokenizer.to_pretrained() | {"normalizer": {"type": "Lowercase"}}
        assert isinstance(of_content(content, "another"), OwnTokenizer)
    for model in ({"vocab": {"ab": 0, "b": 1}}, {"vocab": {"a": 0, "b": 5}}, {"vocab": {"a": 0}, "merges": 5}):
        for like in hard_texts.tokenizers().values():
            assert isinstance(of_content(like.to_pretrained() | {"model": model}, "damaged"), OwnTokenizer)


def test_a_lone_surrogate_is_a_sentence(file):
    with pytest.raises(UserError, match="lone surrogate, U.D800"):
        named(file(byte_level())).encode("a\ud800")


def test_what_is_saved_adds_no_more_tokens_for_others_than_here(tmp_path):
    """A text that is encoded elsewhere would begin with a token that the model has never seen, or end too soon."""
    made = byte_level()
    made.post_processor = processors.TemplateProcessing("</s> $A", special_tokens=[("</s>", 1)])
    made.enable_truncation(3)
    made.enable_padding(length=9)
    tokenizer = of_content(json.loads(made.to_str()), "theirs")
    tokenizer.save_pretrained(tmp_path)
    theirs, text = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json")), SENTENCES[0]
    assert theirs.encode(text).ids == tokenizer.encode(text).tolist()
    assert named(tmp_path / "tokenizer.json") == load(tmp_path / "tokenizer.tinygpt.json") == tokenizer
