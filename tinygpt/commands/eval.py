"""`tinygpt eval`: the loss, perplexity and bits per character of a model on a whole text, every token counted once."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt.commands.flags import add_system_flags, at_least
from tinygpt.data import Batch, Corpus, load_corpus
from tinygpt.errors import UserError
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.parallel import Workers, thread_count
from tinygpt.run import screens
from tinygpt.run.loop import mean_loss
from tinygpt.run.saved import saved_config
from tinygpt.run.store import check_vocabulary, load_meta, load_model

HELP = "Print loss, perplexity and bits per character of a model on a text."


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out_dir", default="out", help="a run's folder, or a Hugging Face GPT-2 folder (default: out)")
    add("--data", metavar="FILE", help="a UTF-8 text, all of it (default: the run's validation text)")
    add("--dataset", metavar="NAME", help="the validation part of a corpus instead")
    add("--batch_size", type=at_least(1, 10**6), default=16, metavar="N", help="windows at a time (default: 16)")
    add_system_flags(parser)


def run(arguments: argparse.Namespace, _: str) -> int:
    model, tokenizer = load_model(arguments.out_dir, arguments.device, arguments.dtype, arguments.kernels)
    corpus, parts = _evaluation_text(arguments, tokenizer)
    check_vocabulary(corpus, model, arguments.out_dir)
    if tokenizer is None and corpus.tokenizer is not None:
        raise UserError(
            f"{arguments.out_dir} has no tokenizer, so its loss on a text would mean nothing; "
            f"give --data a folder with train.bin and val.bin in the model's own tokens"
        )
    tokens = np.concatenate([getattr(corpus, part) for part in parts])
    if len(tokens) < 2:
        raise UserError(f"{corpus.name} has {len(tokens)} tokens; expected at least 2, one to predict from another")
    predicted = characters = 0

    def batches() -> Iterator[Batch]:
        nonlocal predicted, characters
        for idx, targets in corpus.windows(tokens, arguments.batch_size, model.config.block_size):
            counted = targets[targets != IGNORED]
            predicted += len(counted)
            if tokenizer is not None:  # all bytes but those that continue a character in UTF-8, which tokens may cut
                characters += sum(byte & 0xC0 != 0x80 for byte in tokenizer.decode_bytes(counted))
            yield idx, targets

    with Workers(thread_count(arguments.threads, model.device)) as workers:
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


def _evaluation_text(arguments: argparse.Namespace, tokenizer: Any) -> tuple[Corpus, tuple[str, ...]]:
    """The text to evaluate on: the one given, whole; else the validation part of the run's own."""
    own = tokenizer if tokenizer is not None else "char"
    if arguments.data is not None:
        return load_corpus(data=arguments.data, tokenizer=own), ("train", "val")
    if arguments.dataset is not None:
        return load_corpus(arguments.dataset, tokenizer=own), ("val",)
    if (Path(arguments.out_dir) / "last").is_dir():
        meta, folder = load_meta(arguments.out_dir)
        config = saved_config(meta, folder / "state.json")
        return load_corpus(config.dataset, config.data, own), ("val",)
    raise UserError(f"{arguments.out_dir} does not say what it was trained on; give --data FILE or --dataset NAME")
