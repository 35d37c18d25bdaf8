"""Thirty modules in the forms that people write: the verdict on each, and whether the words point to its mistake.

Each says with what it is to be called, as a user's file does, and nothing else for the checker.
"""

import functools
import importlib.util
import re
from pathlib import Path

import pytest

from tinygpt.cli import main
from tinygpt.errors import UserError
from tinygpt.gradcheck.adapters import files, report

PAGE = Path(__file__).parents[2] / "docs" / "gradients.md"
FOLDER = Path(__file__).parent / "in_the_wild"
RIGHT = {
    "linear_attributes", "batchnorm_dicts", "network_lists", "pairs_in_one_file", "losses_with_gradients", "gelu_torch",
    "mse_without_dout", "training_step_inside", "rnn_parameter_objects", "softmax_float32", "relu_at_zero",
    "dropout_object", "embedding_returns_dict", "normalise_tiny", "lstm_step",
}  # fmt: skip
WRONG = {  # and what the words should point to
    "gradient_transposed": "dweights is transposed",
    "bias_of_one_axis": "db .*summed over axis",
    "scale_and_shift_swapped": "dgamma and dbeta .*(each other's place|swapped)",
    "only_the_last_step": "dw is what the last",
    "repeated_ids": "dW keeps .*only the last",
    "mean_forgotten": "dlogits is the length of axis 0 of logits times",
    "sigmoid_without_dout": "dz does not multiply by dout",
    "dout_twice": "dx multiplies by dout.* twice",
    "eps_forgotten": "dx agrees .* eps",
    "layernorm_torch": "dx .*(variance|xhat)",
    "scale_of_scores": r"dq and dk .*sqrt\(.*axis 2",
    "another_each_third_call": "forward gives another output",
    "residual_forgotten": "dx lacks .*dout .*residual",
    "decay_that_is_not_there": "dW has 0.1 W added",
    "step_before_the_gradient": "backward changes W itself, before it computes dx",
}
TORCH = {"gelu_torch", "layernorm_torch"}


@functools.cache
def checked(name: str) -> tuple[bool, str, bool]:
    """The verdict on a module, what is said, and whether that is no more than the verdict."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        made = []
        for thing in files.chosen(module, "", ""):

            def make(seed: int, thing: str = thing) -> tuple:
                found = files.adapted(module, thing, seed)
                return found.forward, found.backward, found

            made.append(report(make, name, 0, **files.options(module)))
    except UserError as error:
        return False, str(error), False
    words = [says for r in made for says in (*r.warnings, *r.problems, r.note)]
    return (
        all(made),
        "\n".join(map(str, made)),
        not any("what is wrong" in says or "backward" in says for says in words),
    )


def test_there_are_thirty():
    assert len(RIGHT) + len(WRONG) == 30 == len({path.stem for path in FOLDER.glob("[a-z]*.py")} & (RIGHT | set(WRONG)))


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_right_code_is_right(name):
    pytest.importorskip("torch") if name in TORCH else None
    right, said, _ = checked(name)
    assert right, said


@pytest.mark.parametrize("name", WRONG)
def test_wrong_code_is_wrong(name):
    pytest.importorskip("torch") if name in TORCH else None
    right, said, _ = checked(name)
    assert not right, said


def test_the_words_point_to_most_mistakes_and_few_get_only_a_verdict():
    names = [name for name in WRONG if name not in TORCH or importlib.util.find_spec("torch")]
    named = [name for name in names if re.search(WRONG[name], " ".join(checked(name)[1].split()))]
    silent = [name for name in names if name not in named and checked(name)[2]]
    assert len(named) >= 0.7 * len(names), [(name, checked(name)[1]) for name in names if name not in named]
    if len(names) == len(WRONG):
        claim = f"for {len(named)} of the {len(names)} the words point to the mistake"
        assert claim in PAGE.read_text(encoding="utf-8")
    assert len(silent) <= 0.1 * len(names), silent


@pytest.mark.parametrize(("name", "right"), [("rnn_parameter_objects", True), ("gradient_transposed", False)])
def test_the_command_says_the_same(name, right, capsys):
    assert main(["gradcheck", str(FOLDER / f"{name}.py")]) == (0 if right else 1)
    said = capsys.readouterr().out
    assert ("WRONG" not in said) is right and (right or "dweights is transposed" in said)


def test_the_command_checks_all_that_the_inputs_name_or_what_is_asked_for(capsys):
    path = str(FOLDER / "pairs_in_one_file.py")
    assert main(["gradcheck", path]) == 0
    assert capsys.readouterr().out.count("pairs_in_one_file.py, ") == 4
    assert main(["gradcheck", path, "--function=affine"]) == 0
    assert capsys.readouterr().out.count("pairs_in_one_file.py, ") == 1
