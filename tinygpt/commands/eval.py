"""`tinygpt eval`: the loss, perplexity and bits per character of a model on a whole text, every token counted once."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.commands.flags import add_system_flags, at_least
from tinygpt.commands.habits import add_habits, model_for, settle
from tinygpt.data import Batch, Corpus, load_corpus
from tinygpt.data.shards import JoinedTokens
from tinygpt.errors import UserError
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.parallel import Workers, thread_count
from tinygpt.progress import Progress, report
from tinygpt.run import screens
from tinygpt.run.folder import load_meta
from tinygpt.run.loop import mean_loss
from tinygpt.run.saved import saved_config
from tinygpt.run.tokens import check_corpus
from tinygpt.run.waiting import Waiting
from tinygpt.tokenizer import unknown

HELP = "Print loss, perplexity and bits per character of a model on a text."


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out_dir", default="out", help="a run's folder, or a Hugging Face GPT-2 folder (default: out)")
    add("--data", metavar="FILE", help="a UTF-8 text, all of it (default: the run's validation text)")
    add("--dataset", metavar="NAME", help="the validation part of a corpus instead")
    add("--tokenizer", metavar="FILE", help="gpt2, or a tokenizer's file, in place of the one beside the model")
    add("--token_dtype", default="auto", metavar="DTYPE", help="of the tokens in a folder of them (default: auto)")
    add("--batch_size", type=at_least(1, 10**6), default=16, metavar="N", help="windows at a time (default: 16)")
    add_system_flags(parser)
    add_habits(parser)


def run(arguments: argparse.Namespace, _: str) -> int:
    if getattr(arguments, "data", None) is not None and getattr(arguments, "dataset", None) is not None:
        raise UserError("--data and --dataset were both given; expected one of them")
    of_file = settle(arguments)
    model, tokenizer = model_for(arguments)
    with Waiting():
        corpus, parts = _evaluation_text(arguments, tokenizer, whole="data" not in of_file)
    if tokenizer is None and corpus.largest is None:  # a text, which was read as characters
        raise UserError(unknown(arguments.out_dir, model.config.vocab_size))
    check_corpus(corpus, tokenizer, model.config.vocab_size, arguments.out_dir)
    tokenizer = tokenizer or corpus.tokenizer
    tokens = JoinedTokens([getattr(corpus, part) for part in parts])
    if len(tokens) < 2:
        raise UserError(f"{corpus.name} has {len(tokens)} tokens; expected at least 2, one to predict from another")
    predicted = characters = 0

    def batches() -> Iterator[Batch]:
        nonlocal predicted, characters
        for idx, targets in corpus.windows(tokens, arguments.batch_size, model.config.block_size):
            counted = targets[targets != IGNORED]
            predicted += len(counted)
            if tokenizer is not None and tokenizer.exact:  # all bytes but those that continue one, which tokens may cut
                characters += sum(byte & 0xC0 != 0x80 for byte in tokenizer.decode_bytes(counted))
            yield idx, targets
            report(Progress(f"evaluating on {corpus.name}", predicted, len(tokens) - 1, "tokens"))

    with Waiting(), Workers(thread_count(arguments.threads, model.device)) as workers:
        loss = mean_loss(model, workers, batches())
    if not np.isfinite(loss):
        problem = f"the loss of the model in {arguments.out_dir} on {corpus.name} is {loss}"
        raise UserError(f"{problem}, so its weights are of no use; take those of another save")
    with np.errstate(over="ignore"):  # inf, of a model that is as wrong as can be
        perplexity = np.exp(loss)
    rows = {
        "model": f"{arguments.out_dir}, {model.config.n_params:,} parameters",
        "text": f"{corpus.name} ({' and '.join(parts)}), {predicted:,} tokens predicted",
        "loss": f"{loss:.4f} nats per token",
        "perplexity": f"{perplexity:.4f} per token",
    }
    if characters:
        rows["bits per character"] = f"{loss / np.log(2) * predicted / characters:.4f}"
    if (accuracy := corpus.accuracy(model)) is not None:
        rows["unseen sums"] = f"{accuracy:.1%} right"
    print(screens.facts(rows))
    return 0


def _evaluation_text(arguments: argparse.Namespace, tokenizer: Any, whole: bool) -> tuple[Corpus, tuple[str, ...]]:
    """The text to evaluate on: the one given, `whole` or, where a configuration file trains on it, its validation part;
    else the validation part of the run's own.
    """
    own = tokenizer if tokenizer is not None else "char"
    dtype = arguments.token_dtype
    files: dict[str, Any] = {"token_dtype": dtype, "explicit": arguments.tokenizer is not None}
    if arguments.data is not None:
        text = load_corpus(data=arguments.data, tokenizer=own, **files)
        return text, ("train", "val") if whole else ("val",)
    if arguments.dataset is not None:
        return load_corpus(arguments.dataset, tokenizer=own, **files), ("val",)
    if (Path(arguments.out_dir) / "last").is_dir():
        meta, folder = load_meta(arguments.out_dir)
        config = saved_config(meta, folder / "state.json")
        files |= {"token_dtype": config.token_dtype if dtype == "auto" else dtype, "explicit": True}  # as it read them
        return load_corpus(config.dataset, config.data, own, **files), ("val",)
    raise UserError(f"{arguments.out_dir} does not say what it was trained on; give --data FILE or --dataset NAME")
