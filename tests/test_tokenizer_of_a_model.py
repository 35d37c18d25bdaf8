"""Which tokens a model is trained, evaluated and sampled with: those that lie beside it, or a question."""

import json
import pickle
import shutil
import sys

import numpy as np
import pytest

from tests import children
from tests.test_cli import outcome
from tests.test_train import TEXT, run, tiny
from tinygpt import GPT, GPTConfig, UserError, load_model
from tinygpt.errors import Note
from tinygpt.run.store import resume, start
from tinygpt.tokenizer import BPETokenizer, CharTokenizer, GPT2Tokenizer, OwnTokenizer, beside, named, own
from tinygpt.tokenizer.pretrained import BYTE_LEVEL, byte_pairs, document, spelled

PLAIN = CharTokenizer.train(TEXT.read_text())


def model(folder, vocab_size, **files):
    """A model's folder; files: what lies beside the weights, by name without its ending."""
    GPT(GPTConfig(8, vocab_size, 1, 1, 8)).save_pretrained(folder)
    return files_in(folder, **files)


def files_in(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / ("merges.txt" if name == "merges" else f"{name}.json")
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def small(**changes):
    """The content of a tokenizer.json of 257 byte-level tokens."""
    tokens = {spelled(bytes([i])): i for i in range(256)} | {"th": 256}
    return document(byte_pairs(tokens, [["t", "h"]]), BYTE_LEVEL, BYTE_LEVEL, {}) | changes


@pytest.fixture
def no_library(monkeypatch):
    own._open.cache_clear()
    monkeypatch.setitem(sys.modules, "tokenizers", None)


@pytest.fixture(scope="module")
def gpt2_contents():
    """Of the files of GPT-2 as Hugging Face has them."""

    def contents():
        content = GPT2Tokenizer().to_pretrained()
        return content, content["model"]["vocab"], content["model"]["merges"]

    return contents


# a vocabulary that nobody knows


@pytest.mark.parametrize("vocab_size", [50258, 50304])
def test_a_padded_gpt2_without_a_tokenizer_is_never_trained_as_characters(tmp_path, capsys, vocab_size):
    folder = model(tmp_path / "model", vocab_size)
    for tokens in ({}, {"tokenizer": "bpe"}):
        with pytest.raises(UserError) as error:
            start(tiny(tmp_path / "out", init_from=str(folder), **tokens))
        assert "--tokenizer=" in str(error.value) and str(folder) in str(error.value)
    flags = [f"--init_from={folder}", f"--data={TEXT}", f"--out_dir={tmp_path / 'out'}"]
    for more in ([], ["--tokenizer=char"]):
        status, _, err = outcome(capsys, "train", *flags, *more)
        assert status == 1 and f"knows {vocab_size:,} tokens, and nothing beside it says which" in err
        assert "--tokenizer=gpt2 if they are GPT-2's 50,257 and padding, or --tokenizer=FILE" in err
    assert load_model(folder)[1] is None and not (tmp_path / "out").exists()
    assert f"vocab_size={vocab_size}" in outcome(capsys, "info", "--out_dir", folder)[1]


def test_a_padded_gpt2_that_is_told_so_trains_resumes_and_writes_only_text(gpt2_files, tmp_path, capsys):
    folder = model(tmp_path / "model", 50304)
    state = start(tiny(tmp_path / "out", init_from=str(folder), tokenizer="gpt2", max_iters=2))
    assert state.corpus.tokenizer == GPT2Tokenizer() and state.model.config.vocab_size == 50304
    run(state)
    state.model.params["wte.weight"][50257:] *= 100  # so that padding is the likeliest
    assert state.corpus.sample(state.model, 20) is not None
    state.model.save_pretrained(tmp_path / "model")
    loaded, tokenizer = load_model(tmp_path / "model", "cpu", tokenizer="gpt2")
    tokens = loaded.generate(tokenizer.encode("def ")[None], 50, seed=1)
    assert tokens.max() < 50257 and isinstance(tokenizer.decode(tokens[0]), str)
    assert loaded.cropped(4).drawable == loaded.drawable == 50257
    assert resume(tmp_path / "out").corpus.tokenizer == GPT2Tokenizer()
    assert outcome(capsys, "sample", f"--out_dir={tmp_path / 'out'}", "--max_new_tokens=5")[0] == 0


def test_a_model_of_gpt2s_size_with_nothing_beside_it_has_gpt2s_tokens(tmp_path):
    assert load_model(model(tmp_path, 50257))[1] == GPT2Tokenizer()


@pytest.mark.parametrize("name", ["tokenizer.model", "vocab.txt", "spiece.model", "vocab.json"])
def test_a_tokenizer_that_is_not_read_here_is_not_taken_for_gpt2s(tmp_path, name):
    folder = model(tmp_path, 50257)
    (folder / name).write_bytes(b"something")
    assert load_model(folder)[1] is None


def test_tokens_of_a_folder_that_cannot_be_the_models_are_refused(tmp_path):
    tokens, text = tmp_path / "tokens", TEXT.read_text()
    tokens.mkdir()
    (tokens / "input.txt").write_text(text)
    for part in ("train", "val"):
        PLAIN.encode(text).astype(np.uint16).tofile(tokens / f"{part}.bin")
    with pytest.raises(UserError, match=f"is in the {PLAIN.vocab_size} tokens of char, but the model in .*--tokenizer"):
        start(tiny(tmp_path / "out", data=str(tokens), init_from=str(model(tmp_path / "large", 50304))))
    for vocab_size in (PLAIN.vocab_size, 64):  # its own, or padded to a multiple of 64
        folder = model(tmp_path / str(vocab_size), vocab_size)
        state = start(tiny(tmp_path / "out", data=str(tokens), init_from=str(folder)))
        assert state.corpus.tokenizer == PLAIN and state.model.drawable == PLAIN.vocab_size


# what lies beside a model


def test_gpt2s_own_files_are_known_in_any_layout_without_the_library(gpt2_files, gpt2_contents, no_library, tmp_path):
    content, vocabulary, merges = gpt2_contents()
    lines = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges)
    as_text = content | {"model": content["model"] | {"merges": [f"{a} {b}" for a, b in merges]}}
    backwards = json.dumps(dict(reversed(vocabulary.items())), indent=4, ensure_ascii=True)
    for number, files in enumerate((
        {"tokenizer": content}, {"tokenizer": json.dumps(as_text, indent=2)}, {"vocab": vocabulary, "merges": lines},
        {"vocab": backwards, "merges": lines, "special_tokens_map": {"eos_token": "<|endoftext|>"}},
    )):  # fmt: skip
        assert beside(files_in(tmp_path / f"{number}", **files), 50304) == GPT2Tokenizer()


def test_what_differs_from_gpt2s_files_is_not_taken_for_them(gpt2_files, gpt2_contents, tmp_path):
    content, vocabulary, merges = gpt2_contents()
    swapped = vocabulary | {"the": vocabulary["and"], "and": vocabulary["the"]}
    others = [
        {"tokenizer": content | {"pre_tokenizer": BYTE_LEVEL | {"add_prefix_space": True}}},
        {"tokenizer": content | {"normalizer": {"type": "Lowercase"}}},
        {"tokenizer": content | {"model": content["model"] | {"vocab": swapped}}},
        {"tokenizer": content | {"model": content["model"] | {"merges": [merges[1], merges[0], *merges[2:]]}}},
    ]
    for files in others:
        assert isinstance(beside(files_in(tmp_path, **files), 50257), OwnTokenizer)
    (tmp_path / "tokenizer.json").unlink()
    lines = "".join(f"{a} {b}\n" for a, b in merges)
    added = {"<|pad|>": 50257, "<|user|>": 50258}
    tokenizer = beside(files_in(tmp_path, vocab=vocabulary, merges=lines, added_tokens=added), 50304)
    assert isinstance(tokenizer, OwnTokenizer) and tokenizer.vocab_size == 50259
    pytest.importorskip("tokenizers")
    assert tokenizer.encode("a<|user|><|endoftext|>").tolist() == [64, 50258, 50256]
    assert (
        tokenizer.encode("def f(x):\n    return x").tolist()
        == GPT2Tokenizer().encode("def f(x):\n    return x").tolist()
    )


def test_a_folder_of_another_tokenizer_is_trained_in_its_tokens_and_they_are_saved(tmp_path, capsys):
    pytest.importorskip("tokenizers")
    folder = model(tmp_path / "model", 300, vocab=small()["model"]["vocab"], merges="#version: 0.2\nt h\n")
    assert outcome(capsys, "train", f"--init_from={folder}", f"--data={TEXT}", f"--out_dir={tmp_path / 'out'}",
                   "--max_iters=2", "--eval_iters=1", "--device=cpu")[0] == 0  # fmt: skip
    state = resume(tmp_path / "out", {"max_iters": 4})
    assert 256 in state.corpus.tokenizer.encode("the") and len(state.corpus.tokenizer.encode("the")) == 2
    assert state.config.tokenizer == str(tmp_path / "out" / "best" / "tokenizer.json")
    assert json.loads((tmp_path / "out" / "best" / "tokenizer.json").read_text("utf-8"))["model"] == small()["model"]
    for command in ("sample", "eval"):
        status, out, _ = outcome(capsys, command, f"--out_dir={tmp_path / 'out'}")
        assert status == 0 and out


def test_a_folder_of_another_tokenizer_says_what_brings_the_library(tmp_path, no_library, capsys, monkeypatch):
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "cache"))
    folder = model(tmp_path / "model", 300, tokenizer=small())
    flags = [f"--init_from={folder}", f"--data={TEXT}", f"--out_dir={tmp_path / 'out'}"]
    status, _, err = outcome(capsys, "train", *flags)
    assert status == 1 and "`pip install tokenizers`" in err and "Traceback" not in err
    assert "vocab_size=300" in outcome(capsys, "info", "--out_dir", folder)[1]


def test_a_tokenizer_of_more_tokens_than_the_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"\(tokenizer.json\) has 257 tokens, but the model in .* knows only 200"):
        load_model(model(tmp_path, 200, tokenizer=small()))
    with pytest.raises(UserError, match=r"\(gpt2\) has 50,257 tokens, but the model in .* knows only 300"):
        load_model(model(tmp_path, 300), tokenizer="gpt2")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"tokenizer": "{"}, "tokenizer.json is damaged: not JSON"),
        ({"tokenizer": {"a": 1}}, "tokenizer.json is a vocabulary alone"),
        ({"vocab": {"a": 0}, "merges": "a b c\n"}, "merges.txt is damaged: 'a b c' is no pair of tokens"),
        ({"vocab": "[]", "merges": ""}, "vocab.json is damaged: expected an object"),
        ({"vocab": {"a": "b"}, "merges": ""}, "vocab.json numbers a token 'b'"),
    ],
)
def test_damaged_files_beside_a_model_are_sentences(tmp_path, files, sentence):
    with pytest.raises(UserError, match=sentence):
        load_model(model(tmp_path, 300, **files))


# what is asked for


def test_a_tokenizer_given_to_load_model_goes_before_what_lies_beside_it(tmp_path):
    folder = model(tmp_path, 300, tokenizer="damaged")
    assert load_model(folder, tokenizer=PLAIN)[1] == PLAIN
    PLAIN.save(tmp_path / "plain.json")
    assert load_model(folder, tokenizer=tmp_path / "plain.json")[1] == PLAIN
    for name in ("char", "bpe"):
        with pytest.raises(UserError, match=f"--tokenizer={name} is made from a text, too late for the model in"):
            load_model(folder, tokenizer=name)


def test_nanogpts_meta_is_a_tokenizer_of_characters(tmp_path, capsys):
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": 3, "itos": dict(enumerate("abc"))}))
    folder = model(tmp_path / "model", 3)
    assert load_model(folder, "cpu", tokenizer=tmp_path / "meta.pkl")[1] == CharTokenizer("abc")
    status, out, _ = outcome(
        capsys, "sample", f"--out_dir={folder}", f"--tokenizer={tmp_path / 'meta.pkl'}", "--start=a"
    )
    assert status == 0 and set(out) <= set("abc\n")
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": 3}))
    with pytest.raises(UserError, match="meta.pkl does not say which character each token is"):
        load_model(folder, "cpu", tokenizer=tmp_path / "meta.pkl")
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps(print))
    with pytest.raises(UserError, match="meta.pkl is left alone: it holds more than dicts, strings and numbers"):
        load_model(folder, "cpu", tokenizer=tmp_path / "meta.pkl")


@pytest.mark.parametrize("tokenizer", [5, object(), ["gpt2"]])
def test_what_is_no_tokenizer_is_told(tmp_path, tokenizer):
    with pytest.raises(UserError, match="tokenizer is .*; expected 'gpt2', the path of a tokenizer.json, or"):
        load_model(model(tmp_path / "model", 3), "cpu", tokenizer=tokenizer)


@pytest.mark.parametrize("token", [5000, -1, "x", 1.5])
def test_a_token_that_ends_a_text_is_one_of_the_models(tmp_path, token):
    ours = GPT(GPTConfig(8, 10, 1, 1, 8))
    with pytest.raises(UserError, match="eos_token_id is .*; expected a whole number of at least 0 and at most 9"):
        ours.save_pretrained(tmp_path / "model", eos_token_id=token)
    ours.save_pretrained(tmp_path / "model", np.int64(9), np.uint8(0))
    settings = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (settings["bos_token_id"], settings["eos_token_id"]) == (9, 0)


def test_a_file_is_honoured_for_a_model_without_a_tokenizer(tmp_path, capsys):
    PLAIN.save(tmp_path / "plain.json")
    folder = model(tmp_path / "model", 64)
    flags = [f"--init_from={folder}", f"--data={TEXT}", f"--out_dir={tmp_path / 'out'}", "--max_iters=1"]
    status, out, err = outcome(capsys, "train", *flags, f"--tokenizer={tmp_path / 'plain.json'}", "--eval_iters=1")
    assert (status, err) == (0, "") and f"vocabulary  {PLAIN.vocab_size} (char)" in out
    assert load_model(tmp_path / "out")[1] == PLAIN


def test_a_tokenizer_that_contradicts_the_models_is_refused_both_ways(tmp_path, capsys):
    run(start(tiny(tmp_path / "char", max_iters=1)))
    BPETokenizer([(97, 98)]).save(tmp_path / "bpe.json")
    for tokenizer in ("gpt2", "bpe", str(tmp_path / "bpe.json")):
        with pytest.raises(UserError, match="does not fit the model in .* tokenizer=char|knows only"):
            start(tiny(tmp_path / "out", init_from=str(tmp_path / "char"), tokenizer=tokenizer))
    folder = model(tmp_path / "model", 50257)
    flags = [f"--init_from={folder}", f"--data={TEXT}", f"--out_dir={tmp_path / 'out'}"]
    status, _, err = outcome(capsys, "train", *flags, "--tokenizer=bpe")
    assert status == 1 and "--tokenizer=bpe does not fit the model" in err and "tokenizer=gpt2" in err
    own = model(tmp_path / "own", 50257, tokenizer=small())
    with pytest.raises(UserError, match="--tokenizer=gpt2 does not fit .* tokenizer=tokenizer.json .257 tokens"):
        start(tiny(tmp_path / "out", init_from=str(own), tokenizer="gpt2"))


def test_a_run_in_ones_own_tokens_goes_on_without_the_file_and_refuses_another(tmp_path):
    pytest.importorskip("tokenizers")
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(small(), indent=2), encoding="utf-8")
    state = start(tiny(tmp_path / "out", tokenizer=str(path), max_iters=4))
    assert state.corpus.vocab_size == state.model.config.vocab_size == 257
    run(state)
    assert resume(tmp_path / "out", {"tokenizer": str(path)}).corpus.tokenizer == state.corpus.tokenizer
    moved = shutil.move(path, tmp_path / "moved.json")
    assert resume(tmp_path / "out", {"tokenizer": moved}).config.tokenizer == str(moved)
    assert resume(tmp_path / "out").corpus.tokenizer == state.corpus.tokenizer
    path.write_text(json.dumps(small(normalizer={"type": "Lowercase"})), encoding="utf-8")
    with pytest.raises(UserError, match="would be another model"):  # another one under the same name
        resume(tmp_path / "out", {"tokenizer": str(path)})
    PLAIN.save(tmp_path / "plain.json")
    for other in ("gpt2", str(tmp_path / "plain.json")):
        with pytest.raises(UserError, match="would be another model"):
            resume(tmp_path / "out", {"tokenizer": other})
    with pytest.raises(UserError, match="--vocab_size=300 goes with --tokenizer=bpe"):
        start(tiny(tmp_path / "b", tokenizer=moved, vocab_size=300))


# what is written beside the weights


def test_a_saved_model_says_which_tokens_end_a_text(tmp_path):
    run(start(tiny(tmp_path / "char", max_iters=1)))
    config = json.loads((tmp_path / "char" / "best" / "config.json").read_text())
    assert config["bos_token_id"] is config["eos_token_id"] is None
    model(tmp_path / "alone", 50257)
    assert json.loads((tmp_path / "alone" / "config.json").read_text())["eos_token_id"] is None


def test_a_saved_gpt2_ends_texts_as_gpt2_does(gpt2_files, tmp_path):
    state = start(tiny(tmp_path / "out", init_from=str(model(tmp_path / "model", 50257)), max_iters=1))
    run(state)
    config = json.loads((tmp_path / "out" / "best" / "config.json").read_text())
    assert config["bos_token_id"] == config["eos_token_id"] == 50256
    assert beside(tmp_path / "out" / "best", 0) == GPT2Tokenizer()
    (tmp_path / "out" / "best" / "tokenizer.tinygpt.json").unlink()  # as in a copy by another program
    assert beside(tmp_path / "out" / "best", 0) == GPT2Tokenizer()


def test_why_no_sample_is_shown_is_said_once(tmp_path, monkeypatch):
    state = start(tiny(tmp_path, max_iters=1))
    monkeypatch.setattr(type(state.corpus.tokenizer), "encode", lambda *_: (_ for _ in ()).throw(UserError("not here")))
    with pytest.warns(Note, match="no sample can be shown: not here") as notes:
        assert state.corpus.sample(state.model, 5) is None and state.corpus.sample(state.model, 5) is None
    assert len(notes) == 1


def test_a_run_of_characters_needs_no_library(tmp_path):
    code = (
        "import sys; sys.modules['tokenizers'] = None; from tinygpt.cli import main; "
        f"sys.exit(main(['train', '--data={TEXT}', '--out_dir={tmp_path}', '--max_iters=1', '--n_embd=8']))"
    )
    done = children.run("-c", code)
    assert done.returncode == 0 and (tmp_path / "best" / "tokenizer.json").exists()


def test_what_lies_beside_a_model_and_is_not_read_is_said(tmp_path, capsys):
    folder = model(tmp_path, 300)
    (folder / "tokenizer.model").write_bytes(b"something")
    status, _, err = outcome(capsys, "sample", "--out_dir", folder)
    assert status == 1 and "knows 300 tokens, and tokenizer.model beside it is not read here; give --tokenizer=" in err


@pytest.mark.parametrize("wrong", [5, ["gpt2"], "", "char", b"gpt2"])
def test_what_is_no_tokenizer_is_a_sentence_for_load_model_too(tmp_path, wrong):
    with pytest.raises(UserError, match="tokenizer"):
        load_model(model(tmp_path, 300), tokenizer=wrong)


def test_names_and_files_are_taken_as_people_write_them(tmp_path):
    with pytest.raises(UserError, match=r"no tokenizer 'GPT-2' \(did you mean gpt2\?\)"):
        named("GPT-2")
    with pytest.raises(UserError, match="--tokenizer is empty; expected char, bpe, gpt2, or the path"):
        named("")
    vocabulary = tmp_path / "vocab.json"
    vocabulary.write_text(json.dumps({"for": 0, "format": 1}))
    with pytest.raises(UserError, match="is a vocabulary alone"):
        named(vocabulary)
    marked = tmp_path / "tokenizer.json"
    marked.write_bytes(b"\xef\xbb\xbf" + json.dumps(PLAIN.to_pretrained()).encode())
    assert named(marked) == PLAIN
