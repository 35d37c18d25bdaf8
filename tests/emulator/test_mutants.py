"""Changes to the emulator itself, which drop one check each: all are made by `python -m tests.emulator.mutants`, every
sixth here.
"""

import pytest

from tests.emulator.mutants import MUTANTS, changed, survivor


@pytest.mark.parametrize("mutant", MUTANTS[::6], ids=lambda mutant: mutant.title)
def test_without_a_check_its_mistake_is_not_seen(mutant):
    assert survivor(mutant) is None


def test_every_change_is_of_a_line_that_is_there_once():
    assert len(MUTANTS) > 20 and all(map(changed, MUTANTS))
    assert len({mutant.title for mutant in MUTANTS}) == len(MUTANTS)
