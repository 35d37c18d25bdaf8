"""The mistakes fit the lessons' solutions, and a sample of them is judged wrong, in the same words whenever asked."""

import random
import re
from collections import Counter

import pytest

from lessons.exercises import EXERCISES
from tests.gradcheck.learners.measure import judge, main, summary
from tests.gradcheck.learners.mistakes import PYTHON, mistakes

ALL = mistakes()
OPEN = [mistake for mistake in ALL if not mistake.held_out]
SAMPLE = random.Random(1).sample(OPEN, 15)  # the whole set takes two minutes: see measure.py


def test_there_are_enough_over_all_exercises_and_a_third_is_held_out():
    assert len(ALL) >= 120 and min(Counter(mistake.exercise for mistake in ALL).values()) >= 7
    assert {mistake.exercise for mistake in ALL} == set(PYTHON)
    assert len(ALL) - len(OPEN) == len(ALL) // 3


@pytest.mark.parametrize("exercise", PYTHON)
def test_every_mistake_makes_another_file_of_the_solution(exercise):
    sources = {mistake.name: mistake.source() for mistake in mistakes(exercise)}
    assert EXERCISES[exercise].solution() not in sources.values()
    assert len(set(sources.values())) == len(sources)
    for name, source in sources.items():
        compile(source, name, "exec")


def test_every_mistake_says_what_is_wrong_and_which_words_would_say_it():
    for mistake in ALL:
        assert mistake.wrong and bool(mistake.edit) != bool(mistake.body), mistake
        assert mistake.named or mistake.right, mistake
        for pattern in (mistake.named, mistake.points, mistake.untrue):
            re.compile(pattern)


@pytest.mark.parametrize("mistake", SAMPLE, ids=str)
def test_a_mistake_is_judged_wrong_in_the_same_words_twice(mistake, tmp_path):
    first, second = (judge(mistake, tmp_path) for _ in range(2))
    assert first == second
    assert first.words and first.verdict != "MISSED"
    assert str(tmp_path) not in first.words


def test_the_right_solution_is_what_no_mistake_is(tmp_path):
    (mistake, *_) = mistakes("merge")
    right = judge(type(mistake)("merge", "none", "nothing", right="it is the solution"), tmp_path)
    assert right.verdict == "right" and not right.words
    missed = right.mistake.__class__("merge", "none", "nothing")
    assert judge(missed, tmp_path).verdict == "MISSED"


def test_the_measure_prints_words_and_sums(capsys):
    main(["merge"])
    said = capsys.readouterr().out
    for mistake in mistakes("merge"):
        assert (f"{mistake}: " in said) != mistake.held_out
    assert re.search(r"^merge +5 ", said, re.MULTILINE) and re.search(r"^named or pointed to: \d of 5, ", said, re.M)
    assert max(map(len, summary([]))) <= 100


def test_words_that_a_pattern_calls_untrue_are_so_whatever_else_they_name():
    mistake = type(ALL[0])("merge", "none", "nothing", named="a pair", points="the list", untrue="never")
    said = ["the list, never a pair", "the list has a pair", "the list", "WRONG"]
    assert [mistake.says(words) for words in said] == ["untrue", "named", "pointed to", "only WRONG"]
