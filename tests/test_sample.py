import numpy as np
import pytest

from tinygpt.errors import UserError
from tinygpt.sample import draw, probabilities, text_stream
from tinygpt.tokenizer import BPETokenizer

LOGITS = np.log(np.array([[0.1, 0.4, 0.2, 0.3]]))


def test_temperature_one_is_softmax():
    np.testing.assert_allclose(probabilities(LOGITS), [[0.1, 0.4, 0.2, 0.3]], rtol=1e-14)


def test_temperature_sharpens_flattens_and_at_zero_decides():
    np.testing.assert_allclose(probabilities(LOGITS, 0.5), np.array([[1, 16, 4, 9]]) / 30, rtol=1e-14)
    np.testing.assert_array_equal(probabilities(LOGITS, 0.0), [[0, 1, 0, 0]])
    np.testing.assert_allclose(probabilities(LOGITS, 1e9), 0.25, rtol=1e-6)


def test_extreme_temperatures_and_logits_stay_probabilities():
    np.testing.assert_array_equal(probabilities(LOGITS, 1e-310), [[0, 1, 0, 0]])
    np.testing.assert_array_equal(probabilities(np.array([[1e4, -1e4]], np.float32)), [[1, 0]])
    with pytest.raises(UserError, match="logits are not finite"):
        probabilities(np.array([[np.nan, 1.0]]))


def test_top_k_keeps_the_k_likeliest():
    np.testing.assert_allclose(probabilities(LOGITS, top_k=2), [[0, 4 / 7, 0, 3 / 7]], rtol=1e-14)
    np.testing.assert_allclose(probabilities(LOGITS, top_k=99), [[0.1, 0.4, 0.2, 0.3]], rtol=1e-14)


@pytest.mark.parametrize(
    ("top_p", "expected"),
    [
        (0.05, [0, 1, 0, 0]),  # always at least one
        (0.39, [0, 1, 0, 0]),
        (0.41, [0, 4 / 7, 0, 3 / 7]),
        (0.69, [0, 4 / 7, 0, 3 / 7]),
        (0.71, [0, 4 / 9, 2 / 9, 3 / 9]),
        (1.0, [0.1, 0.4, 0.2, 0.3]),
    ],
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(top_p, expected):
    np.testing.assert_allclose(probabilities(LOGITS, top_p=top_p), [expected], rtol=1e-13)


def test_rows_are_cut_separately():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]))
    np.testing.assert_allclose(probabilities(logits, top_p=0.8)[0], [7 / 9, 2 / 9, 0], rtol=1e-13)
    np.testing.assert_allclose(probabilities(logits, top_p=0.8)[1], [0, 1 / 3, 2 / 3], rtol=1e-13)


def test_draws_follow_the_distribution():
    probs = np.repeat([[0.1, 0.0, 0.9]], 20_000, axis=0)
    drawn = draw(probs, np.random.default_rng(0))
    assert set(drawn.tolist()) == {0, 2}  # never what has no probability
    assert abs((drawn == 0).mean() - 0.1) < 5 * np.sqrt(0.09 / 20_000)


def test_draw_survives_the_ends_of_the_unit_interval():
    class Ends:
        def random(self, shape):
            return np.array([[0.0], [np.nextafter(1, 0)]])

    np.testing.assert_array_equal(draw(np.array([[0.0, 0.5, 0.5], [0.5, 0.5, 0.0]]), Ends()), [1, 1])


def pieces(text: str, stop: str = "") -> list[str]:
    data = text.encode()
    return list(text_stream(range(len(data)), lambda ids: bytes(data[i] for i in ids), stop))


def test_a_character_appears_when_its_bytes_are_complete():
    assert pieces("aé🙂b") == ["a", "é", "🙂", "b"]


def test_bytes_cut_off_at_the_end_are_replaced():
    assert "".join(text_stream([0, 1], lambda ids: [b"a", "é".encode()[:1]][ids[0]])) == "a\N{REPLACEMENT CHARACTER}"


def test_text_ends_before_the_stop_text_wherever_the_tokens_cut_it():
    assert "".join(pieces("one\ntwo\n\nthree", stop="\n\n")) == "one\ntwo"
    assert "".join(pieces("one\ntwo\n", stop="\n\n")) == "one\ntwo\n"  # held back, then released at the end
    assert "".join(pieces("aaab", stop="aab")) == "a"
    tokenizer = BPETokenizer.train("the end of the end of the end", vocab_size=260)
    ids = tokenizer.encode("of the end of").tolist()
    assert "".join(text_stream(ids, tokenizer.decode_bytes, stop="end")) == "of the "


def test_nothing_more_is_drawn_after_the_stop_text():
    asked = []

    def tokens():
        for i in range(100):
            asked.append(i)
            yield i

    "".join(text_stream(tokens(), lambda ids: b"x" if ids[0] != 3 else b"!", stop="!"))
    assert len(asked) == 4


def test_the_likeliest_token_takes_no_more_memory_than_the_logits():
    logits = np.zeros((2, 10**6), np.float32)  # of which a square matrix would take 8 TB
    logits[0, 7] = logits[1, 999_999] = 1
    assert probabilities(logits, temperature=0).argmax(axis=-1).tolist() == [7, 999_999]
