"""`tinygpt show`: what the page says is what the model computes, and what cannot be shown is a sentence."""

import base64
import io
import json
import re
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.own_parts import fill, spoil
from tests.test_cli import TEXT, TINY, outcome
from tinygpt import GPT, GPTConfig, UserError
from tinygpt.backend import to_device
from tinygpt.cli import main
from tinygpt.gradcheck.mutants import find
from tinygpt.layers import attention
from tinygpt.observed import attention_weights, observe
from tinygpt.ops import DEFINITIONS, build
from tinygpt.pages import page
from tinygpt.pages.show import BYTES, most_tokens, name_of, show_data
from tinygpt.tokenizer import BPETokenizer, CharTokenizer
from tinygpt.train import load_model

SAYS = "What is"  # seven characters of the text that the model below has learned


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out_dir = tmp_path_factory.mktemp("trained") / "out"
    assert main(["train", *TINY, "--n_layer=2", f"--out_dir={out_dir}"]) == 0
    return out_dir


@pytest.fixture
def show(trained, capsys, monkeypatch, tmp_path):
    """Runs the command on the trained model, in an empty folder; returns its status and what it said."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: outcome(capsys, "show", f"--out_dir={trained}", *arguments)


@pytest.fixture(scope="module")
def model():
    """Large weights, so that heads look at something."""
    model = GPT(GPTConfig(block_size=12, vocab_size=11, n_layer=3, n_head=2, n_embd=8), dtype="float64", seed=3)
    for array in model.params.values():
        array *= 12 if array.ndim == 2 else 1
    return model


IDS = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5])


class _Scripts(HTMLParser):
    """What lies in a page's scripts, as a browser cuts them, and how many there are of each tag."""

    def __init__(self):
        super().__init__()
        self.data, self.tags, self.kind = "", [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.kind = dict(attributes).get("id", "") if tag == "script" else ""

    def handle_endtag(self, tag):
        self.kind = ""

    def handle_data(self, text):
        self.data += text if self.kind == "data" else ""


def data_of(path):
    parser = _Scripts()
    parser.feed(path.read_text(encoding="utf-8"))
    assert parser.tags.count("script") == 2 and parser.tags.count("footer") == 1
    return json.loads(parser.data)


def unpacked(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def softmax(scores):
    exps = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def weights_in_loops(qkv, n_head):
    """The weights of every head of the first row, written out: (H, T, T)."""
    T, C = qkv.shape[1], qkv.shape[2] // 3
    D = C // n_head
    weights = np.zeros((n_head, T, T))
    for head in range(n_head):
        q, k = (qkv[0, :, part * C + head * D :][:, :D] for part in range(2))
        for t in range(T):
            weights[head, t, : t + 1] = softmax(np.array([q[t] @ k[s] / D**0.5 for s in range(t + 1)]))
    return weights


# What is observed


@pytest.mark.parametrize("T", [1, 3, 4, 5, 70])
@pytest.mark.parametrize("leaf", [attention, build("auto", "cpu").attention], ids=["definition", "twin"])
def test_attention_asked_with_the_identity_for_values_answers_with_its_weights(rng, leaf, T):
    qkv = rng.standard_normal((1, T, 3 * 12))
    weights = attention_weights(leaf, qkv, 3)
    np.testing.assert_allclose(weights[0], weights_in_loops(qkv, 3), atol=1e-12)
    assert not np.triu(weights[0], 1).any()


def test_what_is_shown_is_what_an_implementation_does_and_not_what_it_should(rng):
    wrong = find("attention", "forward_sees_the_next_token").stand_in()
    weights = attention_weights(wrong, rng.standard_normal((1, 5, 12)), 2)
    assert np.triu(weights[0], 1).any()


def test_losses_ranks_and_probabilities_are_those_of_the_models_own_forward_and_loss(model):
    observed = observe(model, IDS, likeliest=11)
    probabilities = softmax(model.forward(IDS[None])[0][0])  # (T, V)
    np.testing.assert_allclose(observed.probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(observed.probabilities, -np.sort(-probabilities, axis=1))
    np.testing.assert_allclose(
        np.take_along_axis(probabilities, observed.likeliest, axis=1), observed.probabilities, rtol=1e-12
    )
    for t in range(len(IDS) - 1):
        assert observed.losses[t] == pytest.approx(-np.log(probabilities[t, IDS[t + 1]]))
        assert observed.likeliest[t, observed.ranks[t] - 1] == IDS[t + 1]
    loss, _ = model.loss(IDS[None, :-1], IDS[None, 1:], need_grad=False)
    assert observed.losses.mean() == pytest.approx(float(loss))


def test_weights_of_each_layer_are_those_of_the_queries_and_keys_that_the_model_made(model):
    made = []

    def forward(qkv, n_head, *rest):
        made.append(qkv)
        return attention.forward(qkv, n_head, *rest)

    observed = observe(model, IDS)
    watching = GPT(model.config, dtype="float64", seed=None, ops=DEFINITIONS.replace(
        attention=SimpleNamespace(forward=forward, backward=attention.backward)))  # fmt: skip
    watching.params.flat[...] = model.params.flat
    watching.forward(IDS[None])
    expected = np.stack([weights_in_loops(qkv, 2) for qkv in made])
    assert observed.weights.shape == (3, 2, 9, 9) and expected.max(axis=-1).std() > 0.1
    np.testing.assert_allclose(observed.weights, expected, atol=1e-6)
    np.testing.assert_allclose(observed.weights.sum(axis=-1), 1, atol=1e-6)


def test_a_model_that_was_observed_is_as_it_was(model):
    table, before = model.ops, model.params.flat.copy()
    observe(model, IDS)
    assert model.ops is table and np.array_equal(before, model.params.flat)
    with pytest.raises(UserError):
        observe(model, np.arange(40) % 11)  # longer than its context
    assert model.ops is table


def test_what_is_observed_on_a_card_is_what_is_observed_here(model):
    with strict_cupy.installed():
        there = GPT(model.config, device="cuda", dtype="float64", seed=None)
        there.params.flat[...] = to_device(model.params.flat, "cuda")
        observed = observe(there, IDS)
    here = observe(model, IDS)
    assert np.array_equal(observed.likeliest, here.likeliest)
    np.testing.assert_allclose(observed.losses, here.losses, rtol=1e-9)
    np.testing.assert_allclose(observed.weights, here.weights, atol=1e-6)


def test_weights_that_are_of_no_use_are_said_to_be_so(model):
    broken = GPT(model.config, seed=1)
    broken.params["ln_f.weight"][...] = np.nan
    with pytest.raises(UserError, match="not all finite numbers, so its weights are of no use"):
        observe(broken, IDS)


def test_a_block_that_asks_nobody_for_its_attention_cannot_be_watched(model):
    block = type(model).block
    alone = SimpleNamespace(
        forward=lambda x, params, n_head, *rest, ops: block.forward(x, params, n_head, *rest, ops=DEFINITIONS),
        backward=block.backward,
    )
    with pytest.raises(UserError, match="computes its attention itself, so there are no weights to be seen"):
        observe(GPT(model.config, parts={"block": alone}), IDS)


# What the page holds


def test_the_page_of_a_run_holds_its_models_losses_probabilities_and_weights(show, trained):
    status, out, err = show(SAYS)
    assert (status, err) == (0, "")
    path = trained / "show.html"
    data = data_of(path)
    assert re.fullmatch(rf"page +{re.escape(str(path))}, \d+ kB", out.splitlines()[-1])
    trained_model, tokenizer = load_model(trained, "cpu")
    ids = tokenizer.encode(SAYS).astype(np.int64)
    loss = float(trained_model.loss(ids[None, :-1], ids[None, 1:], need_grad=False)[0])
    losses = unpacked(data["losses"], "<f4")
    assert losses.mean() == pytest.approx(loss, abs=1e-5) and f"loss                {loss:.4f} nats per token" in out
    assert f"bits per character  {loss / np.log(2):.4f}" in out and f"perplexity          {np.exp(loss):.4f}" in out
    assert data["tokens"] == ids.tolist() and "".join(data["names"][str(id)] for id in ids) == SAYS
    probabilities = unpacked(data["probabilities"], "<f4").reshape(7, 10)
    expected = softmax(trained_model.forward(ids[None])[0][0].astype(np.float64))
    np.testing.assert_allclose(probabilities, -np.sort(-expected, axis=1)[:, :10], rtol=1e-4)
    assert data["characters"] == 6 and all(str(id) in data["names"] for row in data["likeliest"] for id in row)


def test_of_each_weight_the_page_keeps_eight_bits_and_of_each_map_the_lower_triangle(model):
    observed = observe(model, IDS)
    data = show_data(IDS, observed, CharTokenizer("abcdefghijk"), model.config, "a model", [])
    kept = unpacked(data["attention"], np.uint8).reshape(3, 2, 45)
    place = 0
    for t in range(9):
        row = kept[..., place : place + t + 1] / data["levels"]
        np.testing.assert_allclose(row, observed.weights[..., t, : t + 1], atol=0.5 / 255 + 1e-6)
        assert (np.abs(row.sum(axis=-1) - 1) <= (t + 1) * 0.5 / 255 + 1e-6).all()
        place += t + 1


def test_a_text_of_mark_up_is_text_in_the_page(tmp_path):
    for text in ("</script>", "<!--<script>", "<!--script--><!--data-->", "a<b && c>d\u2028", "\x00\x1b"):
        data = {"text": text}
        parser = _Scripts()
        parser.feed(page("show", data, text))
        assert json.loads(parser.data) == data and parser.tags.count("script") == 2


def test_a_page_leads_back_where_it_belongs_to_another():
    link, whole = '<p class="small"><a href="a.html">A &amp; b</a></p>\n', page("show", {}, "", ("a.html", "A & b"))
    assert whole.count(link) == 1 and whole.replace(link, "") == page("show", {}, "")


def test_a_token_that_is_a_part_of_a_character_or_of_the_padding_has_a_name():
    tokenizer = BPETokenizer.train("aaaé", 257)
    assert [name_of(id, tokenizer) for id in tokenizer.encode("aé")] == ["a", "\\xc3", "\\xa9"]
    assert name_of(257, tokenizer) == "[257]"
    parts = SimpleNamespace(vocab_size=1, decode_bytes=lambda _: " \u00e9\U0001f600".encode()[:-1])
    assert name_of(0, parts) == " \u00e9\\xf0\\x9f\\x98"  # the whole characters beside it are read


def test_a_page_holds_as_many_tokens_as_keep_it_below_some_megabytes():
    for name, expected in (("gpt2", 256), ("gpt2-medium", 176), ("gpt2-xl", 99)):
        config = GPTConfig.preset(name)
        T = most_tokens(config)
        assert T == expected and config.n_layer * config.n_head * T * (T + 1) / 2 <= BYTES
    narrow = {"vocab_size": 5, "n_head": 1, "n_embd": 1}
    assert [most_tokens(GPTConfig(n_layer=heads, **narrow)) for heads in (182, 183)] == [
        256,
        255,
    ]  # as docs/using.md says
    assert most_tokens(GPTConfig(block_size=8, n_layer=1, n_head=1, n_embd=4)) == 8
    assert most_tokens(GPTConfig(n_layer=10_000, n_head=8, n_embd=8)) >= 1


# The command


def test_a_text_that_is_too_long_is_cut_and_said_to_be(show, trained):
    status, out, err = show("What is the answer?")
    assert status == 0 and "text                8 tokens, 7 predicted" in out
    note = "the text has 19 tokens; the page shows the first 8, as many as the model sees at once"
    assert err == f"note: {note}\n" and data_of(trained / "show.html")["notes"] == [note]


def test_one_token_has_no_loss_and_a_page(show, trained):
    status, out, err = show("W")
    assert status == 0 and "loss" not in out and "nothing stands before it" in err
    data = data_of(trained / "show.html")
    assert data["tokens"] and data["losses"] == "" and unpacked(data["attention"], np.uint8).tolist() == [255] * 4


def test_the_text_comes_from_a_file_or_a_pipe(show, trained, tmp_path, monkeypatch):
    assert show(SAYS)[0] == 0
    expected = data_of(trained / "show.html")["tokens"]
    (tmp_path / "says.txt").write_bytes(b"\xef\xbb\xbf" + SAYS.encode())
    for arguments in (["--file=says.txt"], ["-"], ["--file=-"]):
        (trained / "show.html").unlink()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(SAYS.encode())))
        assert show(*arguments)[0] == 0 and data_of(trained / "show.html")["tokens"] == expected


def test_a_text_that_is_not_utf8_is_said_to_be_so_with_its_place(show, tmp_path):
    (tmp_path / "latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    status, _, err = show("--file=latin.txt")
    assert status == 1 and err == (
        "error: the text in latin.txt is not UTF-8: byte 0xe9 at position 3 does not fit; convert it to UTF-8 first\n"
    )


def test_words_that_are_a_files_name_are_shown_and_said_to_be_only_that(show, trained, tmp_path):
    (tmp_path / "What is").write_text("the answer")
    status, _, err = show(SAYS)
    assert status == 0 and "note: the text is the words 'What is'; --file=What is takes what is in that file" in err
    assert len(data_of(trained / "show.html")["tokens"]) == len(SAYS)


def test_what_was_certain_has_a_loss_of_zero_and_not_of_minus_zero(model):
    certain = GPT(model.config, seed=1)
    certain.params["ln_f.weight"][...] *= 1e6
    likeliest = observe(certain, IDS[:1]).likeliest[0, 0]
    observed = observe(certain, np.array([IDS[0], likeliest]))
    assert observed.ranks.tolist() == [1] and observed.losses.tolist() == [0] and not np.signbit(observed.losses).any()


def test_the_page_goes_where_it_is_asked_to(show, trained, tmp_path):
    assert show(SAYS, "--out=new/page.html")[0] == 0 and data_of(tmp_path / "new" / "page.html")
    status, out, _ = show(SAYS, f"--init_from={trained / 'best'}")
    assert (
        status == 0 and "show.html, " in out and data_of(tmp_path / "show.html")
    )  # what is no run's is not written to
    assert not (trained / "best" / "show.html").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no text was given; give one, such as tinygpt show "),
        ([""], "the text is empty; give at least one character"),
        (["é"], "Character 'é' (U+00E9) at position 0 is not among"),
        (["two", "words"], "the text came as 2 words; put quotes around it: 'two words'"),
        (["a", "--file=b.txt"], "a text, 'a', and --file=b.txt were both given"),
        (["--file=nowhere.txt"], "could not read the text from nowhere.txt: No such file or directory"),
        (["--file=.."], "could not read the text from ..: it is a folder; give a file"),
        (["--file="], "no file is named for the text to be read from; give the name of one"),
        ([f"--file={TEXT}", f"--out={TEXT}"], "is the text's own file; give the page another, such as show.html"),
        (["a", "--out="], "--out is empty; expected the name of a file"),
        (["a", "--out=."], "--out=. is a folder; expected the name of a file, such as show.html"),
        (["a", "--init_from=nowhere"], "there is no folder nowhere"),
        (["nowhere.py", "a"], "could not read the configuration file nowhere.py"),
        (["a", "--device=tpu"], "tpu"),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(show, arguments, sentence, tmp_path):
    status, out, err = show(*arguments)
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 1 and out == "" and len(errors) == 1 and sentence in errors[0], err
    assert not list(tmp_path.iterdir())


def test_a_model_whose_tokens_nobody_knows_is_not_shown(tmp_path, capsys):
    GPT(GPTConfig(8, 500, 1, 1, 8)).save_pretrained(tmp_path)
    status, _, err = outcome(capsys, "show", "a", f"--out_dir={tmp_path}")
    assert status == 1 and "nothing beside it says which; give --tokenizer=FILE" in err


def test_a_browser_is_asked_only_with_open(show, trained, monkeypatch):
    asked = []
    browser = SimpleNamespace(open=lambda address: asked.append(address) or len(asked) == 1)
    monkeypatch.setattr("webbrowser.get", lambda: browser)
    assert show(SAYS)[2] == "" and asked == []
    assert show(SAYS, "--open")[2] == "" and asked == [(trained / "show.html").resolve().as_uri()]
    assert "there is no browser here that could be asked; open" in show(SAYS, "--open")[2]


def test_nanogpts_files_and_trains_flags_are_taken_as_sample_takes_them(show, trained, tmp_path, capsys):
    config = tmp_path / "c.py"
    config.write_text(f"out_dir = {str(trained)!r}\nmax_iters = 5\n")
    for text in ([SAYS], ["--threads=1", SAYS], [f"--file={tmp_path / 'says.txt'}"]):
        (tmp_path / "says.txt").write_text(SAYS)
        status, _, err = outcome(capsys, "show", config, *text)
        assert status == 0 and err == f"note: {config}: left alone: max_iters\n"
    status, _, err = show(SAYS, "--n_layer=2")
    assert status == 0 and err == "note: left alone, since they are for training: --n_layer\n"
    status, _, err = show("--n_layr", "2", SAYS)
    assert status == 2 and "unknown flag --n_layr; did you mean --n_layer?" in err


def test_parts_of_ones_own_are_in_the_model_that_is_shown(show, trained, tmp_path):
    (tmp_path / "work").mkdir()
    fill(tmp_path / "work", "attention", "layernorm")
    assert show(SAYS)[0] == 0
    engines = data_of(trained / "show.html")
    status, _, err = show(SAYS, "--mine=work")
    assert status == 0 and "used of yours" in err and "attention" in err and "layernorm" in err
    mine = data_of(trained / "show.html")
    np.testing.assert_allclose(unpacked(mine["losses"], "<f4"), unpacked(engines["losses"], "<f4"), rtol=1e-4)
    levels = (unpacked(data["attention"], np.uint8).astype(int) for data in (mine, engines))
    assert np.abs(np.subtract(*levels)).max() <= 1


def test_a_wrong_part_of_ones_own_is_left_out_and_said_to_be(show, trained, tmp_path):
    (tmp_path / "work").mkdir()
    product = "bmm(q, k, transpose_b=True) *"
    spoil(fill(tmp_path / "work", "attention"), "attention", f"scores = {product}", f"scores = -{product}")
    status, _, err = show(SAYS, "--mine=work")
    assert status == 0 and "attention.py does not pass its check and is left out" in err
    assert "used of yours: nothing: there was nothing to take in" in err and not data_of(trained / "show.html")["notes"]


def test_the_page_of_an_earlier_run_goes_with_it(trained, tmp_path, capsys):
    flags = [*TINY, f"--out_dir={tmp_path}"]
    assert outcome(capsys, "train", *flags)[0] == 0 and outcome(capsys, "show", SAYS, f"--out_dir={tmp_path}")[0] == 0
    assert outcome(capsys, "train", *flags, f"--data={TEXT}")[0] == 0
    assert (tmp_path / "run-1" / "show.html").exists() and not (tmp_path / "show.html").exists()
