"""The checker finds what is wrong, and nothing else."""

import numpy as np
import pytest

from tinygpt import UserError
from tinygpt.gradcheck import gradient_check
from tinygpt.gradcheck.experiment import Experiment
from tinygpt.layers import attention, cross_entropy, embedding, layernorm, linear, softmax


def square(x):
    return x * x, x


def square_backward(dout, x):
    return 2 * x * dout


X = np.array([[0.5, -1.5, 2.0], [1.0, 3.0, -0.25]])


def test_a_right_backward_passes_and_each_input_has_its_row(rng):
    inputs = {"x": rng.standard_normal((2, 3, 4)), "w": rng.standard_normal((4, 5)), "b": rng.standard_normal(5)}
    report = gradient_check(linear.forward, linear.backward, inputs)
    assert report.passed and report.error < 1e-11
    assert [(row.name, row.shape, row.entries) for row in report.rows] == [
        ("dx", (2, 3, 4), 24),
        ("dw", (4, 5), 20),
        ("db", (5,), 5),
    ]


def test_the_worst_entry_is_shown_with_both_values():
    def backward(dout, x):
        dx = 2 * x * dout
        dx[1, 2] += 0.125
        return dx

    (row,) = gradient_check(square, backward, {"x": X}).rows
    assert row.place == (1, 2) and row.problem == "WRONG"
    assert abs(row.analytic - row.numerical - 0.125) < 1e-10


@pytest.mark.parametrize("wrong", [1e-8, 1e-4, 1.0])
def test_one_entry_that_is_off_by_little_is_found(rng, wrong):
    def backward(dout, cache):
        dx = softmax.backward(dout, cache).copy()
        dx[0, 1] *= 1 + wrong
        return dx

    assert not gradient_check(softmax.forward, backward, [rng.standard_normal((2, 3))]).passed


def test_zeros_pass_for_softmax_with_dout_of_ones_and_not_with_a_random_one(rng):
    zeros = lambda dout, cache: 0 * dout  # noqa: E731
    inputs = {"x": rng.standard_normal((3, 5))}
    assert Experiment(softmax.forward, inputs, dout=1.0).judge(softmax.forward, zeros).passed
    assert not gradient_check(softmax.forward, zeros, inputs).passed


def test_a_true_zero_passes_although_rounding_makes_both_sides_of_it(rng):
    """A key's bias moves a whole row of scores, which softmax does not see."""

    def forward(b, x):
        return softmax.forward(x + b[:, None])

    def backward(dout, cache):
        return softmax.backward(dout, cache).sum(axis=1)

    report = gradient_check(
        forward, backward, {"b": rng.standard_normal(3), "x": rng.standard_normal((3, 5))}, constant=["x"]
    )
    assert report.passed, report


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_a_false_zero_fails_however_small_the_true_gradient_is(size, offset):
    forward = lambda x: (np.sin(size * x) + offset, x)  # noqa: E731
    assert gradient_check(forward, lambda dout, x: size * np.cos(size * x) * dout, {"x": X}).passed
    assert not gradient_check(forward, lambda dout, x: np.zeros_like(x), {"x": X}).passed


@pytest.mark.parametrize("fill", [-1e9, np.finfo(np.float64).min, -np.inf])
def test_large_outputs_that_do_not_move_hide_nothing(fill):
    """Scores masked with a large number: their rounding has no part in the others' derivatives."""
    keep = np.array([[True, False, True], [True, True, False]])
    forward = lambda x: (np.where(keep, x * x, fill), x)  # noqa: E731
    assert gradient_check(forward, lambda dout, x: np.where(keep, 2 * x * dout, 0), {"x": X}).passed
    assert not gradient_check(forward, lambda dout, x: np.zeros_like(x), {"x": X}).passed
    wrong = gradient_check(forward, lambda dout, x: np.where(keep, 2.00001 * x * dout, 0), {"x": X})
    assert not wrong.passed


def test_a_small_entry_among_large_ones_is_looked_at_by_itself():
    x = np.array([30.0, 0.1])
    forward = lambda x: (x**5, x)  # noqa: E731
    assert gradient_check(forward, lambda dout, x: 5 * x**4 * dout, {"x": x}).passed
    report = gradient_check(forward, lambda dout, x: 5 * x**4 * dout * [1, 0], {"x": x})
    assert not report.passed and report.rows[0].place == (1,)
    assert report.rows[0].problem == "WRONG: small entries among larger ones"


def test_integers_and_none_and_numbers_are_passed_on_as_they_are(rng):
    idx = np.array([[1, 0, 1], [1, 2, 0]])
    assert gradient_check(embedding.forward, embedding.backward, {"idx": idx, "w": rng.standard_normal((4, 3))}).passed
    x, w = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
    report = gradient_check(linear.forward, linear.backward, {"x": x, "w": w, "b": None})
    assert report.passed and [row.name for row in report.rows] == ["dx", "dw"]
    logits = rng.standard_normal((2, 3, 4))
    assert gradient_check(cross_entropy.forward, cross_entropy.backward, [logits, idx, None]).passed


def test_a_tuple_of_outputs_has_a_tuple_of_gradients_from_above(rng):
    def forward(x, y):
        return (x * y, x + y), (x, y)

    def backward(dout, cache):
        (dproduct, dsum), (x, y) = dout, cache
        return dproduct * y + dsum, dproduct * x + dsum

    inputs = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    assert gradient_check(forward, backward, inputs).passed
    assert not gradient_check(forward, lambda dout, cache: (dout[0] * cache[1], dout[0] * cache[0]), inputs).passed


def test_a_mapping_of_arrays_has_a_mapping_of_gradients(rng):
    params = {"w": rng.standard_normal((3, 4)), "b": rng.standard_normal(4)}

    def forward(x, params):
        return linear.forward(x, params["w"], params["b"])

    def backward(dout, cache):
        dx, dw, db = linear.backward(dout, cache)
        return dx, {"b": db, "w": dw}

    report = gradient_check(forward, backward, {"x": rng.standard_normal((2, 3)), "params": params})
    assert report.passed and [row.name for row in report.rows] == ["dx", "dw", "db"]


def test_arrays_of_the_same_name_in_two_mappings_are_told_apart():
    forward = lambda a, b: (a["w"] * b["w"], (a["w"], b["w"]))  # noqa: E731
    inputs = {"a": {"w": X}, "b": {"w": X + 1}}
    right = gradient_check(forward, lambda d, cache: ({"w": d * cache[1]}, {"w": d * cache[0]}), inputs)
    assert right.passed and [row.name for row in right.rows] == ["da.w", "db.w"]
    assert not gradient_check(forward, lambda d, cache: ({"w": 7 * d * cache[1]}, {"w": d * cache[0]}), inputs).passed
    deep = {"a": {"inner": {"w": X}}}
    forward = lambda a: square(a["inner"]["w"])  # noqa: E731
    assert gradient_check(forward, lambda d, x: {"inner": {"w": 2 * x * d}}, deep).passed
    assert not gradient_check(forward, lambda d, x: {"inner": {"w": x * d}}, deep).passed


def test_numbers_and_arrays_without_axes_are_inputs_and_outputs_too():
    forward = lambda x, b: (float((x * b).sum()), (x, b))  # noqa: E731
    backward = lambda dout, cache: (dout * cache[1] + 0 * cache[0], float(dout * cache[0].sum()))  # noqa: E731
    report = gradient_check(forward, backward, {"x": X, "b": np.array(0.1)})
    assert report.passed and report.rows[1].shape == ()


def test_what_constant_names_is_not_differentiated(rng):
    inputs = {"x": X, "scale": rng.standard_normal((2, 3))}
    report = gradient_check(lambda x, scale: (x * scale, scale), lambda d, scale: d * scale, inputs, constant=["scale"])
    assert report.passed and len(report.rows) == 1
    with pytest.raises(UserError, match="constant names 'y', which is not an input; expected some of x, scale"):
        gradient_check(lambda x, scale: (x, None), lambda d, _: d, inputs, constant=["y"])


def test_random_masks_are_held_fixed():
    def from_the_module(x):
        keep = np.random.rand(*x.shape) > 0.5  # noqa: NPY002  as readers write it
        return x * keep, keep

    def from_a_generator(x, rng):
        keep = rng.random(x.shape) > 0.5
        return x * keep, keep

    backward = lambda dout, keep: dout * keep  # noqa: E731
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert gradient_check(from_the_module, backward, {"x": X}).passed
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert gradient_check(from_a_generator, backward, {"x": X, "rng": np.random.default_rng(3)}).passed


@pytest.mark.parametrize("p", [0.01, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_a_mask_that_seldom_drops_is_random_all_the_same(p, seed):
    def forward(x, rng):
        keep = rng.random(x.shape) >= p
        return x * x * keep, (x, keep)

    backward = lambda dout, cache: 2 * cache[0] * dout * cache[1]  # noqa: E731
    assert gradient_check(forward, backward, {"x": X, "rng": np.random.default_rng(seed)}).passed


def test_a_forward_that_changes_from_call_to_call_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="forward gives another output each time.*hold its random numbers fixed"):
        gradient_check(lambda x: (x * rng.random(x.shape), None), lambda d, _: d, {"x": X})


def test_inputs_are_taken_in_float64_and_left_as_they_were():
    x = np.asfortranarray(X.astype(np.float32))
    before = x.copy()
    assert gradient_check(square, square_backward, {"x": x}).error < 1e-11
    np.testing.assert_array_equal(x, before)
    x.setflags(write=False)
    assert gradient_check(square, square_backward, {"x": x}).passed


def test_a_mask_that_is_forgotten_in_backward_is_found():
    def forward(x):
        keep = np.random.rand(*x.shape) > 0.3  # noqa: NPY002  as readers write it
        return x * keep, keep

    for seed in range(3):
        assert gradient_check(forward, lambda dout, keep: dout * keep, {"x": np.ones((3, 4))}, seed=seed).passed
        assert not gradient_check(forward, lambda dout, keep: dout, {"x": np.ones((3, 4))}, seed=seed).passed


def test_a_small_output_beside_large_ones_is_held_against_the_definition_too():
    keep = np.tri(4) > 0
    definition = lambda x: (np.where(keep, x, -1e9), None)  # noqa: E731
    shifted = lambda x: (np.where(keep, x + 5e-4, -1e9), None)  # noqa: E731
    x = np.arange(16.0).reshape(4, 4) / 10
    report = gradient_check(shifted, lambda dout, _: np.where(keep, dout, 0), {"x": x}, definition=definition)
    assert report.rows[0].problem == "not what the definition computes" and not report.rows[1].problem


@pytest.mark.parametrize(
    ("change", "problem"),
    [(0, "WRONG: zero"), (-1, "WRONG: its sign"), (2.5, "WRONG: 2.5 times"), (np.array([1, 2, 1]), "WRONG")],
)
def test_a_multiple_of_the_right_gradient_is_said_to_be_one(change, problem):
    report = gradient_check(square, lambda dout, x: change * 2 * x * dout, {"x": X})
    assert report.rows[0].problem == problem


def test_a_report_is_true_if_it_passed():
    assert gradient_check(square, square_backward, {"x": X})
    assert not gradient_check(square, lambda dout, x: dout, {"x": X})


def test_writing_over_forwards_output_or_a_cached_mapping_is_no_ones_loss():
    def forward(x):
        out = np.exp(x)
        return out, out

    report = gradient_check(forward, lambda dout, out: np.multiply(out, dout, out=out), {"x": X})
    assert report.warnings == ["backward wrote to forward's output, which the next layer may have kept"]
    params = {"w": X + 1}
    forward = lambda x, p: (x * p["w"], (x, p))  # noqa: E731
    backward = lambda dout, cache: (dout * cache[1].pop("w"), {"w": dout * cache[0]})  # noqa: E731
    assert gradient_check(forward, backward, {"x": X, "p": params}).passed and params.keys() == {"w"}


def test_writing_to_what_is_not_its_own_is_a_warning_where_the_numbers_are_right():
    def forward(x):
        x += 1
        return x * x, x

    def backward(dout, x):
        dout *= 2 * x
        return dout

    report = gradient_check(square, backward, {"x": X})
    assert report.passed and report.warnings == ["backward wrote to dout"] and not report.problems
    report = gradient_check(forward, square_backward, {"x": X})
    assert report.passed and report.warnings == ["forward wrote to its input x"]
    report = gradient_check(forward, lambda dout, x: dout, {"x": X})
    assert not report.passed and report.problems == ["forward wrote to its input x"]


def test_what_is_not_differentiated_is_watched_too():
    idx, w = np.array([0, 2, 2]), np.ones((3, 2))

    def backward(dout, cache):
        cache[0][...] = 0
        return embedding.backward(dout, cache)

    report = gradient_check(embedding.forward, backward, {"idx": idx, "w": w})
    assert report.problems == ["backward wrote to its input idx"] and report.rows[0].problem == "WRONG"
    np.testing.assert_array_equal(idx, [0, 2, 2])


@pytest.mark.parametrize(
    ("backward", "problem"),
    [
        (lambda dout, x: np.zeros((2, 4)), "has shape (2, 4)"),
        (lambda dout, x: (2 * x * dout).T, r"has shape (3, 2)"),
        (lambda dout, x: 2 * x * dout * np.inf, "not finite"),
        (lambda dout, x: 2 * x * dout + 0j, "has dtype complex128"),
        (lambda dout, x: 2 * x * dout + np.array([[0, 0, 0], [0, 0, np.nan]]), "not finite"),
    ],
)
def test_what_cannot_be_compared_is_said(backward, problem):
    report = gradient_check(square, backward, {"x": X})
    assert not report.passed and report.rows[0].problem == problem


@pytest.mark.parametrize(
    ("forward", "backward", "inputs", "sentence"),
    [
        (lambda x: x, square_backward, {"x": X}, "forward returned one ndarray; expected two things, out and cache"),
        (lambda x: (x, x, x), square_backward, {"x": X}, "forward returned a tuple of 3; expected two"),
        (lambda x: (x > 0, x), square_backward, {"x": X}, "forward's output is bool; expected an array of floats"),
        (lambda x: (x + 0j, x), square_backward, {"x": X}, "forward's output is complex128; a derivative by complex"),
        (square, square_backward, {"x": X + 0j}, "x is complex128; a derivative by complex numbers is not checked"),
        (square, square_backward, {"x": X * [1, np.nan, 1]}, r"x is NaN at \[0, 1\]; expected numbers"),
        (
            lambda x: (np.where(x < -1, np.nan, x), x),
            square_backward,
            {"x": X},
            r"forward's output is NaN at \[0, 1\], though no input",
        ),
        (lambda x: ((), x), square_backward, {"x": X}, "forward returned no outputs"),
        (
            square,
            lambda dout, x: {"x": 2 * x * dout},
            {"x": X},
            "backward returned a mapping; expected the gradients of x",
        ),
        (square, square_backward, {"y": X}, "the inputs do not fit forward: missing a required argument: 'x'"),
        (
            square,
            lambda dout, x: (dout, dout),
            {"x": X},
            r"backward returned 2 gradients, but forward has 1 input .*\(x\)",
        ),
        (square, square_backward, {"x": [1, 2]}, "there is nothing to differentiate"),
        (square, square_backward, X, "inputs is one ndarray; expected forward's arguments as a dict, tuple or list"),
        (square, square_backward, [X, X], r"2 inputs were given, but forward takes 1 by name \(x\)"),
    ],
)
def test_a_mistake_in_the_contract_is_one_sentence(forward, backward, inputs, sentence):
    with pytest.raises(UserError, match=sentence):
        gradient_check(forward, backward, inputs)


def test_a_gradient_that_is_none_names_the_way_out():
    (dx, dy) = gradient_check(lambda x, y: (x * y, y), lambda dout, y: (dout * y, None), {"x": X, "y": X + 1}).rows
    assert not dx.problem and dy.problem == "None, where a gradient was expected; constant=['y'] if it has none"


def test_an_input_of_minus_infinity_has_derivative_zero():
    x = np.array([[0.5, -np.inf, 1.0], [0.1, 0.2, -np.inf]])
    assert gradient_check(softmax.forward, softmax.backward, {"x": x}).passed
    assert gradient_check(softmax.forward, softmax.backward, {"x": x}, max_entries=2).passed


def test_a_mistake_among_entries_that_were_not_chosen_shows_along_the_direction(rng):
    x = rng.standard_normal((40, 50))
    right = gradient_check(square, square_backward, {"x": x}, max_entries=10)
    assert right.passed and right.rows[0].entries == 10
    for seed in range(5):
        place = tuple(rng.integers((40, 50)))

        def backward(dout, x, place=place):
            dx = 2 * x * dout
            dx[place] *= 1.01
            return dx

        assert not gradient_check(square, backward, {"x": x}, max_entries=10, seed=seed).passed


def test_the_definition_tells_a_consistent_layer_from_the_right_one(rng):
    """RMSNorm with its own backward, and zeros both ways, are consistent; LayerNorm they are not."""

    def rmsnorm(x, w):
        rstd = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)
        return x * rstd * w, (x * rstd, rstd, w)

    def rmsnorm_backward(dout, cache):
        xhat, rstd, w = cache
        dxhat = dout * w
        return rstd * (dxhat - xhat * (dxhat * xhat).mean(axis=-1, keepdims=True)), (dout * xhat).sum(axis=0)

    zeros = lambda x, w: (0 * x, (x, w))  # noqa: E731
    zeros_backward = lambda dout, cache: (0 * cache[0], 0 * cache[1])  # noqa: E731
    inputs = {"x": rng.standard_normal((3, 4)), "w": rng.standard_normal(4)}
    for forward, backward in ((rmsnorm, rmsnorm_backward), (zeros, zeros_backward)):
        alone = gradient_check(forward, backward, inputs)
        assert alone.passed and "consistency only" in alone.note
        held = gradient_check(forward, backward, inputs, definition=layernorm.forward)
        assert not held.passed and held.rows[0].problem == "not what the definition computes" and not held.note


def test_a_wrong_shape_of_the_output_is_a_sentence(rng):
    inputs = {"qkv": rng.standard_normal((2, 3, 12)), "n_head": 2}
    flat = lambda qkv, n_head: (attention.forward(qkv, n_head)[0].reshape(2, 12), None)  # noqa: E731
    with pytest.raises(UserError, match=r"forward's output has shape \(2, 12\); expected \(2, 3, 4\)"):
        gradient_check(flat, attention.backward, inputs, definition=attention.forward)
