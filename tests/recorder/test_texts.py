"""Any text that the page has room for, and a sentence for every other."""

import json

import pytest

from tests.recorder.recording import small
from tinygpt.errors import UserError
from tinygpt.recorder import page_data, record_step


def test_the_largest_page_has_all_axes_and_is_below_three_megabytes():
    step = record_step("abcdefghijklmnopqrstuvwx", nudging=False)  # 24 characters, as many as c_attn has outputs
    for array in step.of_kind("param", "forward"):
        array.derivative = array.values  # of the size that it has
    assert (len(step.idx), step.config.vocab_size) == (12, 24)
    assert step["wte.weight"].axes == ["token", "channel"] and step["head/out"].axes == ["time", "token"]
    assert step["h.0.attn.c_attn/out"].axes == ["time", "channel"]
    assert all(
        axis or size == 3 for array in step.arrays for axis, size in zip(array.axes, array.values.shape, strict=True)
    )
    assert all(array.kind == "param" or array.terms is not None for array in step.arrays)
    assert len(json.dumps(page_data(step))) < 3_000_000 - 200_000


@pytest.mark.parametrize(
    ("text", "length", "characters"),
    [("aba", 2, 2), ("abcdefgha", 8, 8), ("abcdefghijkla", 12, 12), ("é字🙂\n\0é", 5, 5)],
)
def test_other_texts_make_the_same_arrays(engine, text, length, characters):
    step = small(text)
    assert (len(step.idx), step.config.vocab_size) == (length, characters)
    assert [step.chars[i] for i in step.idx] == list(text[:length])
    assert [step.chars[i] for i in step.targets] == list(text[1 : length + 1])
    assert [array.key for array in step.arrays] == [array.key for array in engine.arrays]
    assert [array.axes for array in step.arrays] == [array.axes for array in engine.arrays]
    assert [a.gradient and a.gradient.key for a in step.arrays] == [
        a.gradient and a.gradient.key for a in engine.arrays
    ]
    assert all(array.followed for array in step.arrays)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the text has 0 characters; expected at least 3"),
        ("ab", "the text has 2 characters; expected at least 3"),
        ("aaaa", "the text has but one character, 'a'"),
        ("abcdefghijklmnopqrstuvwxy", "the text has 25 distinct characters, and the page has room for 24"),
        ("ab\ud800", "a surrogate"),
        (b"abc", "the text is b'abc'; expected characters"),
    ],
)
def test_a_text_that_no_page_can_show_is_a_sentence(text, says):
    with pytest.raises(UserError) as raised:
        record_step(text)
    assert says in str(raised.value)
