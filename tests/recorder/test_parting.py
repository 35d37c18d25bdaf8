"""Wrong layers of gradcheck's and a learner's: the first array that is marked lies in the wrong function, and where it
can be known, at the wrong line.
"""

import ast

import numpy as np
import pytest

from tests.gradcheck.learners.mistakes import mistakes
from tests.recorder.recording import FOLDER, line_of, small, solution, spoilt
from tinygpt.gradcheck.mutants import find
from tinygpt.recorder import mark, page_data

WRONG = [  # layer, mistake, the function it is in, and of the line that is marked some words
    ("layernorm", "mean_term_dropped", "backward", "dx = rstd * (dxhat - xhat * along)"),
    ("layernorm", "variance_term_summed", "backward", "along = (dxhat * xhat).sum("),
    ("layernorm", "gain_forgotten", "backward", "along = "),  # dxhat is but another name there
    ("layernorm", "dw_mean", "backward", "dw = (dout * xhat).mean("),
    ("layernorm", "forward_eps_outside", "forward", "rstd = 1 / (xp.sqrt(var) + eps)"),
    ("layernorm", "forward_rms", "forward", "var = "),  # likewise centred
    ("linear", "dw_reshaped", "backward", "dw = (drows.T @ rows).reshape("),
    ("linear", "db_mean", "backward", "db = drows.mean("),
    ("attention", "dk_transposed", "backward", "dk = bmm(dscores, q)"),
    ("attention", "softmax_without_the_sum", "backward", "dscores = weights * dweights"),
    ("attention", "scale_forgotten", "backward", "dq = bmm(dscores, k)"),  # the line that is missing stood before it
    ("attention", "packed_as_kqv", "backward", "dqkv = xp.stack((dk, dq, dv))"),
    ("attention", "forward_unscaled", "forward", "scores = bmm(q, k, transpose_b=True)"),
    ("gelu", None, "backward", "density"),
    ("cross_entropy", None, "backward", "dlogits"),
    ("embedding", "last_occurrence_wins", "backward", "dw[idx.reshape(-1)] = dout"),
]


def source_of(layer, name):
    if name is None:
        edits = {
            "gelu": ("density = 2 * phi * (1 - phi) * du", "density = phi * (1 - phi) * du"),
            "cross_entropy": ("    dlogits[places] -= 1\n", "    dlogits[places] -= 2\n"),
        }
        return spoilt(layer, edits[layer])
    return ast.unparse(find(layer, name).tree())


@pytest.mark.parametrize(("layer", "name", "function", "code"), WRONG)
def test_the_first_array_that_is_marked_lies_at_the_wrong_line(engine, layer, name, function, code):
    step = small(**{layer: source_of(layer, name)})
    first = mark(step, engine)
    assert first.mine and first.file == f"{FOLDER}/{layer}.py" and first.call.function == function
    assert code in first.code
    assert not any(array.differs for array in step.arrays[: first.id]) and first.differs
    data = page_data(step)
    assert (
        data["first"] == first.key
        and first.name in data["mine"]["says"]
        and f"line {first.line}" in data["mine"]["says"]
    )


def test_what_is_right_by_itself_and_does_not_belong_where_it_is_returned_is_said_to_be(engine):
    source = spoilt("gelu", ("return x * phi,", "return phi,"))
    step = small(gelu=source)
    assert mark(step, engine).name == "phi" and step.handed_on
    at = f"in what forward returns ({FOLDER}/gelu.py, line {line_of(source, 'return phi,')}): phi is right by itself"
    assert at in page_data(step)["mine"]["says"]


@pytest.mark.parametrize(
    ("exercise", "name", "path", "kind"),
    [
        ("mlp", "gelu_on_the_way_out", "h.0.mlp", "forward"),
        ("lm_head_loss", "reshape_in_backward", "head", "backward"),
    ],
)
def test_of_a_part_that_is_made_of_layers_what_those_made_is_marked(engine, exercise, name, path, kind):
    (wrong,) = (mistake for mistake in mistakes(exercise) if mistake.name == name)
    first = mark(small(**{exercise: wrong.source()}), engine)
    assert first.kind == kind and (first.path + ".").startswith(path + ".")


@pytest.mark.parametrize(
    ("edit", "function", "code"),
    [
        (("    dx = dout + dm\n", "    dx = dm\n"), "backward", "return dx + da"),
        (("    return dx + da,", "    return da,"), "backward", ""),
        (("    x = x + a\n", "    x = a\n"), "forward", "return x + m"),
    ],
)
def test_a_block_without_its_residual_path(engine, edit, function, code):
    first = mark(small(block=spoilt("block", edit)), engine)
    assert first.path.startswith("h.0") and first.kind == function and code in first.code


def test_a_head_whose_keys_are_not_transposed(engine):
    wrong = spoilt("causal_head", ("dk = bmm(dscores, q, transpose_a=True)", "dk = bmm(dscores, q)"))
    first = mark(small(causal_head=wrong), engine)
    assert first.mine and (first.name, first.call.function) == ("dk", "backward")


def test_what_is_furthest_off_is_said_beside_what_should_be_there(engine):
    wrong = spoilt("attention", ("dk = bmm(dscores, q, transpose_a=True)", "dk = bmm(dscores, q)"))
    step = small(attention=wrong)
    dk, k = mark(step, engine), step["h.0.attn/k"]
    assert k.gradient is dk and k.error > 1e-3
    off = abs(dk.values - k.derivative)
    at = np.unravel_index(off.argmax(), off.shape)
    place = f"dk[{','.join(map(str, at))}] is {dk.values[at]:.4g}, where nudging k gives {k.derivative[at]:.4g}."
    data = page_data(step)
    assert data["mine"]["says"].endswith(place) and data["mine"]["at"] == list(at)
    step = small(attention=spoilt("attention", ("* q.shape[-1] ** -0.5  #", "* 1  #")))
    scores, right = mark(step, engine), engine["h.0.attn/scores"]
    at = tuple(page_data(step)["mine"]["at"])
    assert (
        f"is {scores.values[at]:.4g}, where the engine has {right.values[at]:.4g}." in page_data(step)["mine"]["says"]
    )


def test_other_names_are_held_against_nudges(engine):
    source = solution("layernorm")
    for old, new in (("xhat", "z"), ("centred", "c"), ("along", "share"), ("rstd", "r"), ("var", "s2")):
        source = source.replace(old, new)
    assert mark(small(layernorm=source), engine) is None
    wrong = source.replace("dz = dout * w", "dz = dout * w * w")
    assert wrong != source
    first = mark(small(layernorm=wrong), engine)
    assert first.name == "dz" and first.mine


def test_an_update_that_is_another_is_marked_at_the_parameters(engine):
    step = small(adamw_update=spoilt("adamw_update", ("m += (1 - beta1) * dw", "m += beta1 * dw")))
    first = mark(step, engine)
    assert first.kind == "param" and "the update of" in page_data(step)["mine"]["says"]
    step = small(
        global_norm=spoilt(
            "global_norm", ("return xp.sqrt(xp.stack(squares).sum())", "return 99 * xp.sqrt(xp.stack(squares).sum())")
        )
    )
    assert mark(step, engine).kind == "param"
