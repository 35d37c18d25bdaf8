"""Which tokenizer a model goes with: the one that it came with, the one that was asked for, or none that is known."""

import contextlib
from pathlib import Path

from tinygpt.conversions import CONFIG, WEIGHTS
from tinygpt.data import Corpus
from tinygpt.errors import UserError, brief
from tinygpt.model_folder import model_files
from tinygpt.run.config import TrainConfig
from tinygpt.tokenizer import Tokenizer, beside, named, unknown

PADDING = 128  # rows, less than which a vocabulary is rounded up by, to a multiple of 64 or 128
BYTES = 256  # tokens of byte pairs are more: below it is none that joins two


def asked_for(config: TrainConfig) -> Tokenizer | str | None:
    """What `config` asks for: a tokenizer, or the name of a kind; None where it says nothing but the default."""
    return None if config.tokenizer == TrainConfig.tokenizer else named(config.tokenizer)


def ready_made(tokenizer: Tokenizer | str | Path | None, source: str | Path) -> Tokenizer | None:
    """A tokenizer by its name or from its file. Raises UserError for one that a text must be given for."""
    given = named(tokenizer) if isinstance(tokenizer, str | Path) else tokenizer
    if not isinstance(given, str | Tokenizer | None):
        expected = "expected 'gpt2', the path of a tokenizer.json, or a tokenizer that tinygpt has made"
        raise UserError(
            f"tokenizer is {brief(given)}; {expected} (one of transformers' writes its own: save_pretrained)"
        )
    if isinstance(given, str):
        raise UserError(
            f"--tokenizer={given} is made from a text, too late for the model in {source}; give gpt2 or a file"
        )
    return given


def is_same(config: TrainConfig, saved: TrainConfig, own: Tokenizer | None) -> bool:
    """Whether `config` asks for the tokenizer of a run that was saved with `own`; by its content, for a file may have
    changed.
    """
    return config.tokenizer == saved.tokenizer if own is None else _is(named(config.tokenizer), own)


def _is(asked: Tokenizer | str, own: Tokenizer) -> bool:
    return asked == own if isinstance(asked, Tokenizer) else asked == own.name


def check_agreement(asked: Tokenizer | str | None, flag: str, loaded: Tokenizer | None, source: str | Path) -> None:
    """Raise UserError if what was asked for, as `flag`, is not the tokenizer of the model in `source`. loaded: the one
    it was loaded with.
    """
    own = loaded
    if isinstance(asked, Tokenizer):  # and loaded with it, whatever the files say
        own = None
        with contextlib.suppress(UserError):  # files that cannot be read are what is to be put right
            own = _by_its_files(Path(source))
    elif own is None and asked is not None:
        ready_made(asked, source)
    if asked is not None and own is not None and not _is(asked, own):
        problem = f"--tokenizer={flag} does not fit the model in {source}, which has tokenizer={own.name}"
        raise UserError(f"{problem} ({own.vocab_size:,} tokens); leave the flag out")


def _by_its_files(source: Path) -> Tokenizer | None:
    """The tokenizer that files in the model's folder tell of."""
    states = sorted((source / "last").glob(f"step-*/{CONFIG}"))
    if states and not (source / "best" / WEIGHTS).exists():
        return beside(states[-1].parent, 0)
    return beside(model_files(source)[0].parent, 0) if source.is_dir() else None


def check_room(tokenizer: Tokenizer | None, vocab_size: int, source: str | Path) -> None:
    """Raise UserError for a tokenizer of more tokens than the model in `source` knows."""
    if tokenizer is not None and tokenizer.vocab_size > vocab_size:
        problem = f"has {tokenizer.vocab_size:,} tokens, but the model in {source} knows only {vocab_size:,}"
        way_out = "give the model's own with --tokenizer, or train a new model with this one"
        raise UserError(f"the tokenizer ({tokenizer.name}) {problem}; {way_out}")


def check_corpus(corpus: Corpus, known: Tokenizer | None, vocab_size: int, source: str | Path) -> None:
    """Raise UserError if the tokens of `corpus` cannot be those of the model in `source`. known: its tokenizer. Where
    that is not known, the tokenizer of `corpus` may be taken away: see `_leave_out_larger`.
    """
    if known is None:
        _leave_out_larger(corpus, vocab_size, source)
        _check_padding(corpus, vocab_size, source)
    if corpus.vocab_size > vocab_size:
        raise UserError(
            f"{corpus.name} has a vocabulary of {corpus.vocab_size:,} tokens, but the model in {source} has only "
            f"{vocab_size:,}; choose a text in its own tokens"
        )


def _check_padding(corpus: Corpus, vocab_size: int, source: str | Path) -> None:
    """Raise UserError if the tokens of `corpus` are known, or how many there are, and cannot be those of the model in
    `source`, of which nothing but the size of its vocabulary is known.
    """
    own, largest = corpus.tokenizer, corpus.largest
    few = largest is not None and (largest < BYTES or largest + 1 < corpus.vocab_size)  # so that all of them are told
    if (own is not None or few) and vocab_size - corpus.vocab_size >= PADDING:
        kind = (
            f"of {own.name}" if own else "of characters or bytes" if corpus.vocab_size <= BYTES else "of its meta.pkl"
        )
        problem = f"{corpus.name} is in the {corpus.vocab_size:,} tokens {kind}"
        raise UserError(f"{problem}, but {unknown(source, vocab_size)}")


def _leave_out_larger(corpus: Corpus, vocab_size: int, source: str | Path) -> None:
    """Take the tokenizer of `corpus` away where it has more tokens than the model in `source`, of which nothing but the
    size of its vocabulary is known, though no id is beyond it: that model was begun where nobody could tell whose
    tokens they are, and is as large as they are.
    """
    own = corpus.tokenizer
    if own is not None and corpus.largest is not None and corpus.largest < vocab_size < own.vocab_size:
        corpus.tokenizer, corpus.vocab_size = None, vocab_size
        corpus.why_no_tokenizer = (
            f"{corpus.name} is in the {own.vocab_size:,} tokens of {own.name}, and the model in {source} knows only "
            f"the first {vocab_size:,} of them, so no sample of text is shown"
        )


def is_text(config: TrainConfig) -> bool:
    """Whether the run's text is one, and not a folder of token files, which may be in any tokens."""
    named = [Path("data") / config.dataset, Path(config.dataset)]
    places = map(Path, config.data.split(",")) if config.data else named
    return not any(place.suffix == ".bin" or any(place.glob("*.bin")) for place in places)
