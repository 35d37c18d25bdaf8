"""`tinygpt gradcheck`: check gradients; the status is 1 if any is wrong."""

import argparse

from tinygpt.commands.flags import at_least
from tinygpt.device import resolve_device
from tinygpt.errors import UserError
from tinygpt.files import expanded
from tinygpt.parallel import blas_threads

HELP = "Check every backward pass, or your own, against numerical derivatives."


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "what", nargs="*", metavar="LAYER | model | gpt2 | FILE.py",
        help="layers by name, model, a size of GPT-2, or your own file, which is run, with functions or a class, and "
        "with inputs, a dict of forward's arguments, if it is no layer (default: all layers and the model)",
    )  # fmt: skip
    add("--as", dest="layer", type=_layer, metavar="LAYER", help="the layer that FILE.py implements")
    add("--class", dest="class_", metavar="NAME", help="the class in FILE.py that is to be checked")
    add("--function", metavar="NAME", help="the pair NAME_forward and NAME_backward, or a loss with its gradients")
    add("--mutants", action="store_true", help="measure the checker on a library of wrong layers instead")
    add("--all_entries", action="store_true", help="every entry of the model's parameters (default: some)")
    add("-v", "--verbose", action="store_true", help="a row for every gradient of every check")
    add(
        "--seconds", type=at_least(1, 86_400), default=60, metavar="N",
        help="of computing that FILE.py may take before it is ended (default: 60)",
    )  # fmt: skip
    add("--device", default="cpu", help="cpu or cuda (default: cpu)")
    add(
        "--seed",
        type=at_least(0),
        default=0,
        metavar="N",
        help="of all that is drawn: inputs, sizes, dout (default: 0)",
    )


def run(arguments: argparse.Namespace, _: str) -> int:
    from tinygpt.gradcheck import terminal as gradcheck  # here, since training should not wait for it to be imported

    arguments.what = list(map(expanded, arguments.what))
    if arguments.mutants:
        if arguments.device != "cpu" or arguments.all_entries or arguments.layer or arguments.verbose:
            raise UserError("--mutants goes with names of layers and --seed only; leave the other flags out")
        return 0 if gradcheck.measure_checker(arguments.what, arguments.seed) else 1
    if arguments.class_ and arguments.function or arguments.layer and (arguments.class_ or arguments.function):
        raise UserError("--as, --class and --function each say what of a file is to be checked; give one of them")
    asked = ("class", arguments.class_) if arguments.class_ else ("function", arguments.function or "")
    device, remark = resolve_device(arguments.device)
    if remark:
        print(f"note: {remark}")
    with blas_threads(1):  # the arrays are too small to share out
        right = gradcheck.check_named(
            arguments.what,
            device,
            arguments.all_entries,
            arguments.seed,
            arguments.layer,
            arguments.verbose,
            arguments.seconds,
            asked if asked[1] else ("", ""),
        )
    return 0 if right else 1


def _layer(text: str) -> str:
    from tinygpt.gradcheck.library import CASES

    if text not in CASES:
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from {', '.join(map(repr, CASES))})")
    return text
