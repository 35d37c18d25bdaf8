"""A run is the same however many ranks share it, and goes on with another number of them."""

import json

import numpy as np
import pytest

from tests.ranks.runs import GOES_ON, HALF, RUNS
from tests.ranks.together import needs_ranks, together

pytestmark = needs_ranks
RANKS = 1, 2, 3, 4
MEASURED = "losses", "norms", "evaluations"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each number of ranks measured."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "begun").mkdir()
    for ranks in (4, 1, 2, 3):  # each goes on with what was begun before it
        done = together(ranks, "-m", "tests.ranks.runs", folder)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
    return {ranks: json.loads((folder / f"{ranks}.json").read_text()) for ranks in RANKS}


@pytest.mark.parametrize("ranks", RANKS[1:])
@pytest.mark.parametrize("name", RUNS)
def test_losses_gradients_and_evaluations_are_those_of_one_rank(found, name, ranks):
    tolerance = 1e-5 if "float32" in name else 1e-12
    for measured in MEASURED:
        ours, theirs = (np.array(found[n][name][measured]) for n in (ranks, 1))
        np.testing.assert_allclose(ours, theirs, rtol=tolerance)


def test_the_runs_are_worth_comparing(found):
    text, sums = found[1]["text"], found[1]["sums"]
    assert text["losses"] != sums["losses"] and text["losses"][-1] < text["losses"][0]
    assert max(text["norms"]) > 0.5 and len(text["evaluations"]) == 3  # gradients are clipped


@pytest.mark.parametrize("ranks", RANKS)
def test_the_same_number_of_ranks_gives_the_same_bits(found, ranks):
    assert found[ranks]["again"] == found[ranks]["text"]


@pytest.mark.parametrize("ranks", RANKS)
def test_each_rank_keeps_its_share_of_the_moments(found, ranks):
    whole, share = found[ranks]["text"], found[ranks]["sharded"]
    assert whole["moments"] == whole["of"]
    assert share["moments"] <= whole["of"] / ranks


@pytest.mark.parametrize("ranks", RANKS[:3])
@pytest.mark.parametrize("name", GOES_ON)
def test_a_run_goes_on_with_another_number_of_ranks(found, name, ranks):
    if name == "1" and ranks == 1:
        return  # it began there
    on, straight = found[ranks][f"on from {name}"], found[1]["text"]
    np.testing.assert_allclose(on["losses"], straight["losses"][HALF:], rtol=1e-12)
    np.testing.assert_allclose(on["norms"], straight["norms"][HALF:], rtol=1e-12)
    np.testing.assert_allclose(on["evaluations"], straight["evaluations"][1:], rtol=1e-12)
