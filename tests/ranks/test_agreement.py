"""Ranks that differ, or of which one fails, end together with one sentence that names it."""

import json
import re

import pytest

from tests.ranks.checks import CHECKS
from tests.ranks.together import needs_ranks, together

pytestmark = needs_ranks
SAID = {  # the same on both ranks
    "version": r"of everything, but for the version of tinygpt rank 0 has '.*', and rank 1 of 2 on \S+ has '0.0.9'; ",
    "source": r"but for the source of tinygpt rank 0 has '\w{16}', and rank 1 of 2 on \S+ has '0123'",
    "flag": r"but for --learning_rate rank 0 has 0.01, and rank 1 of 2 on \S+ has 0.02; ",
    "text": r"but for the text rank 0 has '\w+', and rank 1 of 2 on \S+ has '\w+'; ",
    "no_text": r"^rank 1 of 2 on \S+: There is no file here.txt",
    "kernels": r"but for what computes gelu rank 0 has '.*', and rank 1 of 2 on \S+ has 'another'; ",
    "own_parts": r"but for the files in --mine rank 0 has '\w+', and rank 1 of 2 on \S+ has '\w+'; ",
    "saved_step": r"but for the step at which it goes on rank 0 has 2, and rank 1 of 2 on \S+ has 3; ",
    "nothing_saved": r"^rank 1 of 2 on \S+: only-here holds no run to resume",
    "one_bit": r"^at step 2 the weights of rank 1 of 2 on \S+ are no longer those of rank 0, .* at step 1, is intact",
    "not_finite": r"^at step 2 the loss is nan .*; the last good checkpoint is step 0 in ",
    "damaged_text": r"^rank 1 of 2 on \S+: the text is damaged$",
    "damaged_text_evaluated": r"^rank 1 of 2 on \S+: the text is damaged$",
    "one_alone": r"^rank 1 of 2 on \S+: no room$",
    "the_first": r"^no room$",
    "too_few_rows": r"^2 ranks share a step, which has fewer rows \(1: ",
    "whole_parameters": r"^--shard_optimizer cuts parameters anywhere, and adamw updates each as a whole",
    "memory": r"^the model, its gradients and the optimizer's state, on each of the 2 ranks here, take ",
    "activations": r"^the activations of --batch_size=5 sequences, .*, on each of the 2 ranks here, take ",
}
FOUND = {  # on each rank
    "threads": [1, 2],  # may differ
    "cores": [[3, 5, 4]] * 2,  # 7 of them shared by two; OMP_NUM_THREADS=5; --threads=4
    "a_stop_at_one": [[True, 1, 1]] * 2,  # stopped, at step 1, saved
    "sums": [[True, True]] * 2,
}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    folder = tmp_path_factory.mktemp("said")
    done = together(2, "-m", "tests.ranks.checks", folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return json.loads((folder / "said.json").read_text())


def test_each_check_is_expected_to_say_something():
    assert CHECKS.keys() == SAID.keys() | FOUND.keys()


@pytest.mark.parametrize("name", SAID)
def test_all_ranks_end_with_the_same_sentence(said, name):
    first, other = said[name]
    assert first == other
    assert re.search(SAID[name], first), first


@pytest.mark.parametrize("name", FOUND)
def test_ranks_agree(said, name):
    assert said[name] == FOUND[name]
