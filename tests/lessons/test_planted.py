"""Every mistake that a lesson plants is caught, and named with the sentence that the library and the lesson say."""

import re

import pytest

from lessons.cells import find_lessons
from tests.lessons.conftest import LESSONS
from tinygpt.gradcheck import check_layer, diagnose
from tinygpt.gradcheck.mutants import find

PLANTED = [
    (lesson.path.stem, *names)
    for lesson in find_lessons(LESSONS).values()
    for names in re.findall(r'\bfind\("(\w+)", "(\w+)"\)', lesson.path.read_text(encoding="utf-8"))
]


def test_most_lessons_of_layers_plant_one():
    assert len({stem for stem, *_ in PLANTED}) >= 10


@pytest.mark.parametrize("stem, layer, name", PLANTED)
def test_what_a_lesson_plants_is_caught_and_named(stem, layer, name):
    mistake = find(layer, name)
    if layer != "model":  # which takes longer, and is checked where the lesson runs
        assert not all(report.passed for report in check_layer(layer, mistake.stand_in()))
    assert mistake.says in str(diagnose(layer, mistake.stand_in()))
