"""`tinygpt sample`: print text from a trained model as it comes."""

import argparse
import os
import sys
from itertools import chain

import numpy as np

from tinygpt.commands.flags import add_system_flags, at_least, boolean
from tinygpt.commands.own import asked_for, blaming
from tinygpt.data import first_prompt
from tinygpt.errors import UserError
from tinygpt.parallel import blas_threads, thread_count
from tinygpt.run import screens
from tinygpt.run.state import OURS
from tinygpt.run.store import load_model
from tinygpt.sample import check_rules, text_stream

HELP = "Print text from a trained model."
PROMPT_LIMIT = 16 << 20  # bytes; a model sees the last thousand tokens or so


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out_dir", default="out", help="a run's folder, or a Hugging Face GPT-2 folder (default: out)")
    add("--init_from", dest="out_dir", default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # nanoGPT's name
    add("--start", metavar="TEXT", help="the prompt, or FILE:path (default: a newline)")
    add("--num_samples", type=at_least(1), default=1, metavar="N", help="samples (default: 1)")
    add("--max_new_tokens", type=at_least(0), default=500, metavar="N", help="tokens (default: 500)")
    add("--temperature", type=float, default=0.8, metavar="X", help="0 for the likeliest (default: 0.8)")
    add("--top_k", type=int, default=200, metavar="N", help="draw from the N likeliest (default: 200)")
    add("--top_p", type=float, metavar="P", help="draw from the likeliest that reach P together")
    add("--stop", default="", metavar="TEXT", help="end a sample before this text")
    add("--seed", type=at_least(0, 2**64 - 1), metavar="N", help="the same text again (default: another each time)")
    add("--mine", metavar="FOLDER", help="folder with parts of your own, such as lessons/work; their code is run")
    add("--exact_window", **boolean(False), help="slide the context by one token, uncached, as nanoGPT does")
    add_system_flags(parser)


def _without_waiting(path: str, flags: int) -> int:
    """Opens what `open` asks for; a pipe that nobody writes to is at its end at once."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if hasattr(os, "set_blocking"):
        os.set_blocking(descriptor, True)  # what somebody is writing is waited for
    return descriptor


def run(arguments: argparse.Namespace, _: str) -> int:
    check_rules(arguments.temperature, arguments.top_k, arguments.top_p)
    if arguments.out_dir == "resume":  # nanoGPT's --init_from=resume
        arguments.out_dir = "out"
    own = asked_for({"mine": arguments.mine})
    for note in own.remarks() if own else ():
        print(f"note: {note}", file=sys.stderr)
    parts = own.parts if own else OURS
    model, tokenizer = load_model(arguments.out_dir, arguments.device, arguments.dtype, arguments.kernels, parts)
    if tokenizer is None:
        raise UserError(f"{arguments.out_dir} has no tokenizer, so there is no text to print; use GPT.generate")
    start_text = arguments.start if arguments.start is not None else first_prompt(tokenizer)
    if start_text.startswith("FILE:"):
        try:
            with open(start_text[5:], "rb", opener=_without_waiting) as file:  # a pipe has no size before it ends
                prompt_bytes = file.read(PROMPT_LIMIT + 1)
            if len(prompt_bytes) > PROMPT_LIMIT:
                raise UserError(f"the prompt in {start_text[5:]} has more than {PROMPT_LIMIT:,} bytes; give its end")
            start_text = prompt_bytes.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"could not read the prompt from {start_text[5:]} ({error})") from error
    prompt = tokenizer.encode(start_text)
    if len(prompt) == 0:
        raise UserError('the prompt is empty; give --start at least one character, such as --start="a"')
    quiet = np.errstate(all="ignore")  # the rules say what they cannot draw from
    with blas_threads(thread_count(arguments.threads)), blaming(own), quiet:
        for number in range(arguments.num_samples):
            if number > 0:
                print("\n---------------")
            seed = None if arguments.seed is None else arguments.seed + number
            rules = arguments.temperature, arguments.top_k, arguments.top_p
            tokens = model.stream(prompt[None], arguments.max_new_tokens, *rules, seed, arguments.exact_window)
            new = (int(token[0]) for token in tokens)
            for piece in chain([start_text], text_stream(new, tokenizer.decode_bytes, arguments.stop)):
                print(screens.printable(piece) if sys.stdout.isatty() else piece, end="", flush=True)
    print()
    if own:
        print(f"note: used of yours: {own.summary()}", file=sys.stderr)
    return 0
