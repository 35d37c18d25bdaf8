"""`tinygpt sample`: print text from a trained model as it comes."""

import argparse
import sys
from itertools import chain

import numpy as np

from tinygpt.commands import texts
from tinygpt.commands.flags import add_system_flags, at_least, boolean, number
from tinygpt.commands.habits import add_habits, model_for, settle
from tinygpt.commands.own import asked_for, blaming
from tinygpt.errors import UserError
from tinygpt.parallel import blas_threads, thread_count
from tinygpt.run import screens
from tinygpt.run.state import OURS
from tinygpt.sample import check_rules, text_stream
from tinygpt.tokenizer import Tokenizer, unknown

HELP = "Print text from a trained model."


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out_dir", default="out", help="a run's folder, or a Hugging Face GPT-2 folder (default: out)")
    add("--tokenizer", metavar="FILE", help="gpt2, or a tokenizer's file, in place of the one beside the model")
    add("--start", metavar="TEXT", help="the prompt, or FILE:path (default: a newline)")
    add("--num_samples", type=at_least(1), default=1, metavar="N", help="samples (default: 1)")
    add("--max_new_tokens", type=at_least(0), default=500, metavar="N", help="tokens (default: 500)")
    add("--temperature", type=number, default=0.8, metavar="X", help="0 for the likeliest (default: 0.8)")
    add("--top_k", type=at_least(-(10**15)), default=200, metavar="N", help="draw from the N likeliest (default: 200)")
    add("--top_p", type=number, metavar="P", help="draw from the likeliest that reach P together")
    add("--stop", default="", metavar="TEXT", help="end a sample before this text")
    add("--seed", type=at_least(0, 2**64 - 1), metavar="N", help="the same text again (default: another each time)")
    add("--mine", metavar="FOLDER", help="folder with parts of your own, such as lessons/work; their code is run")
    add("--exact_window", **boolean(False), help="slide the context by one token, uncached, as nanoGPT does")
    add_system_flags(parser)
    add_habits(parser)


def _text_of(prompt: str, tokenizer: Tokenizer) -> str:
    """The prompt, or what is in its file."""
    return texts.in_file(prompt[5:], "prompt", tokenizer) if prompt.startswith("FILE:") else prompt


def run(arguments: argparse.Namespace, _: str) -> int:
    settle(arguments)
    check_rules(arguments.temperature, arguments.top_k, arguments.top_p)
    own = asked_for({"mine": arguments.mine})
    for note in own.remarks() if own else ():
        print(f"note: {note}", file=sys.stderr)
    parts = own.parts if own else OURS
    model, tokenizer = model_for(arguments, parts)
    if tokenizer is None:
        raise UserError(unknown(arguments.out_dir, model.config.vocab_size, reads=False))
    start_text = arguments.start if arguments.start is not None else tokenizer.first_prompt
    start_text = _text_of(start_text, tokenizer)
    prompt = tokenizer.encode(start_text)
    if len(prompt) == 0:
        raise UserError('the prompt is empty; give --start at least one character, such as --start="a"')
    quiet = np.errstate(all="ignore")  # the rules say what they cannot draw from
    with blas_threads(thread_count(arguments.threads)), blaming(own), quiet:
        for number in range(arguments.num_samples):
            if number > 0:
                print("\n---------------")
            seed = None if arguments.seed is None else (arguments.seed + number) % 2**64
            rules = arguments.temperature, arguments.top_k, arguments.top_p
            tokens = model.stream(prompt[None], arguments.max_new_tokens, *rules, seed, arguments.exact_window)
            new = (int(token[0]) for token in tokens)
            for piece in chain([start_text], text_stream(new, tokenizer.decode_bytes, arguments.stop)):
                print(screens.printable(piece) if sys.stdout.isatty() else piece, end="", flush=True)
    print()
    if own:
        print(f"note: used of yours: {own.summary()}", file=sys.stderr)
    return 0
