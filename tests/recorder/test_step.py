"""A recorded step is the engine's, and all that is said of its numbers holds for every one of them."""

import base64
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.recorder.recording import apart
from tinygpt.errors import UserError
from tinygpt.models.gpt2 import GPT
from tinygpt.ops import DEFINITIONS
from tinygpt.optim import AdamW, adamw_update
from tinygpt.recorder import page_data
from tinygpt.recorder.instrument import Source
from tinygpt.recorder.pairs import by_chain_rule

ROOT = Path(__file__).parents[2]
NEVER_FORMED = {"centred", "var", "rstd", "exps", "phi", "denominator", "shifted", "log_total", "losses"}
LINEAR = {  # lines whose results are sums of products: of what they are made of, or of it and something that stays
    "h.0.attn/q", "h.0.attn/scores", "h.0.attn/out", "h.1.mlp.c_fc/out", "h.0/x", "head/out", "h.0.ln_1/centred",
    "embed/x", "wte/out", "h.0.mlp.c_fc/out~2",
}  # fmt: skip


def engine_alone(step):
    """The engine's own model with the recorded parameters, its loss and gradients, and nothing that listens."""
    net = GPT(step.config, dtype="float64", ops=DEFINITIONS, seed=None)
    for array in step.of_kind("param"):
        net.params[array.name] = array.values
    loss, cache = net.loss(step.idx[None], step.targets[None])
    return net, float(loss), net.backward(cache)


def test_the_loss_is_the_engines_to_the_last_bit(step):
    net, loss, _ = engine_alone(step)
    assert step.loss == loss == float(step["loss/loss"].values)


def test_gradients_are_the_engines_to_the_last_bit_and_what_nudges_give(step):
    _, _, grads = engine_alone(step)
    for array in step.of_kind("param"):
        assert np.array_equal(array.update.gradient, grads[array.name])
        assert np.array_equal(array.gradient.values, grads[array.name])
        assert apart(array.update.gradient, array.derivative) < 1e-7


def test_the_chain_rule_gives_the_derivative_of_every_element(step):
    sums, held = by_chain_rule(step.arrays), 0
    for array in step.of_kind("param", "forward"):
        if array.key != "loss/loss":
            assert apart(sums[array.id], array.derivative) < 2e-7, array.key
            held += array.values.size
    assert held > 8600 and all(array.followed for array in step.arrays)


def test_every_array_is_made_of_known_ones_that_were_made_before(step):
    for array in step.of_kind("forward", "backward"):
        assert array.terms is not None, array.key
        of, source, element, by = array.terms
        assert len(of) or array.key in ("loss/denominator", "loss/dout")
        assert (source < array.id).all() and (of < array.values.size).all() and np.isfinite(by).all()
        assert all(element[source == one].max() < step.arrays[one].values.size for one in set(source.tolist()))
        kinds = {step.arrays[one].kind for one in source}
        assert "backward" not in kinds or array.kind == "backward"


@pytest.mark.parametrize("key", sorted(LINEAR))
def test_of_a_straight_line_the_products_are_the_value(step, key):
    array, total = step[key], np.zeros(step[key].values.size)
    for of, source, element, by in zip(*array.terms, strict=True):
        total[of] += by * step.arrays[source].values.ravel()[element]
    products = {"h.0.attn/scores": 2, "h.0.attn/out": 2, "h.1.mlp.c_fc/out": 2, "head/out": 2}  # of two that both move
    assert apart(total / products.get(key, 1), array.values.ravel()) < 1e-9


def test_backward_is_straight_in_the_gradient_that_comes_in(step):
    carried = {step["loss/dout"].id}  # what is made of it, and so not what is made of forward's arrays alone
    for array in step.of_kind("backward"):
        of, source, element, by = array.terms
        kept = np.isin(source, list(carried))
        if kept.any():
            carried.add(array.id)
            total = np.zeros(array.values.size)
            values = [
                step.arrays[one].values.ravel()[place] for one, place in zip(source[kept], element[kept], strict=True)
            ]
            np.add.at(total, of[kept], by[kept] * np.array(values))
            assert apart(total, array.values.ravel()) < 1e-8, array.key
    assert len(carried) > 80


def test_which_arrays_have_a_gradient_and_which_the_engine_never_forms(step):
    without = [array for array in step.of_kind("forward") if array.gradient is None]
    assert Counter(array.name for array in without) == {
        "centred": 5, "var": 5, "rstd": 5, "exps": 2, "phi": 2, "denominator": 1, "shifted": 1, "log_total": 1,
        "losses": 1,
    }  # fmt: skip
    assert {array.name for array in without} == NEVER_FORMED
    having = [array for array in step.of_kind("forward") if array.gradient]
    assert len(having) == 58 and all(apart(a.gradient.values.ravel(), a.derivative.ravel()) < 1e-7 for a in having)


def test_gradients_that_are_known_by_name(step):
    pairs = {
        "h.0.attn/scores": "dscores", "h.0.attn/weights": "dweights", "h.1.attn/q": "dq", "h.1.attn/v": "dv",
        "h.0.ln_1/xhat": "dxhat", "ln_f/xhat": "dxhat", "head/out": "dlogits", "h.0/x": "dx", "wpe/out": "dpos",
    }  # fmt: skip
    assert {key: step[key].gradient.name for key in pairs} == pairs


def test_adamw_has_made_of_a_parameter_what_its_numbers_say(step):
    said = step.update
    total = np.sqrt(sum((array.update.gradient**2).sum() for array in step.of_kind("param")))
    assert said["norm"] == pytest.approx(total) and said["scale"] == pytest.approx(1 / (total + 1e-6))
    for array in step.of_kind("param"):
        one = array.update
        w, m, v = array.values.copy(), one.m0.copy(), one.v0.copy()
        decay = said["weight_decay"] if one.decayed else 0.0
        rule = (said[name] for name in ("step", "lr", "beta1", "beta2", "eps"))
        adamw_update(w, one.gradient * said["scale"], m, v, *rule, decay)
        assert apart(m, one.m) < 1e-12 and apart(v, one.v) < 1e-12 and apart(w, one.after) < 1e-12
        assert one.decayed == (array.values.ndim == 2) and one.m0.any()


def test_the_step_lowers_the_loss_of_its_own_batch(step):
    net, _, grads = engine_alone(step)
    assert 0 < step.after < step.loss
    optimizer = AdamW(net.params, update=adamw_update)
    for array in step.of_kind("param"):
        optimizer.m[array.name], optimizer.v[array.name] = array.update.m0, array.update.v0
    optimizer.steps = step.update["step"] - 1
    optimizer.step(grads, step.update["lr"], step.update["max_norm"])
    assert float(net.loss(step.idx[None], step.targets[None])[0]) == step.after


def test_forward_and_backward_of_a_layer_are_at_one_place(step):
    for call in step.calls:
        if call.of is not None:
            assert call.path == call.of.path and call.of.module == call.module
    paths = {call.path for call in step.calls if call.backward and call.function == "backward"}
    assert {"h.0.ln_1", "h.1.attn.c_attn", "h.0.attn", "h.1.mlp.gelu", "ln_f", "head", "loss", "wte", "wpe"} <= paths


def test_what_a_number_was_made_from_can_be_asked_for(step):
    scores, q = step["h.0.attn/scores"], step["h.0.attn/q"]
    terms = step.made_from("h.0.attn/scores", 0, 1, 3, 2)
    assert [(term.array.key, term.place) for term in terms] == [
        *(("h.0.attn/q", (0, 1, 3, d)) for d in range(4)), *(("h.0.attn/k", (0, 1, 2, d)) for d in range(4)),
    ]  # fmt: skip
    total = sum(term.by * term.array.values[term.place] for term in terms if term.array is q)
    assert total == pytest.approx(scores.values[0, 1, 3, 2])
    assert len(step.made_from("loss/loss")) == 9  # losses and how many there are
    assert step.made_from("wte.weight", 0, 0) == []


def test_a_step_and_its_arrays_say_briefly_what_they_are(step):
    assert repr(step["h.0.attn/scores"]) == "<h.0.attn/scores (1, 2, 8, 8)>"
    assert repr(step).startswith("<a step on 'the cat sat on the mat. ': ") and len(repr(step)) < 120


def test_what_is_not_there_is_said_with_what_is(step):
    with pytest.raises(UserError, match=r"no array 'h.0.attn/score'; expected a key such as h.0.attn/scores"):
        step["h.0.attn/score"]
    for index in ((), (0, 1, 3), (0, 2, 0, 0), (0, 0, 0, -1)):
        with pytest.raises(UserError, match=r"h.0.attn/scores is \(1, 2, 8, 8\), and has no element"):
            step.made_from("h.0.attn/scores", *index)


def test_keys_are_unique_and_say_where(step):
    keys = [array.key for array in step.arrays]
    assert len(set(keys)) == len(keys)
    assert {"h.0.attn/scores", "h.1.ln_2/xhat", "h.0.attn.c_attn.weight", "wte/dw", "loss/loss"} <= set(keys)


def test_lines_are_those_of_the_files(step):
    for key, code, comment in (
        ("h.0.attn/out", "out = bmm(weights, v)", "(B, H, T, T) @ (B, H, T, D) -> (B, H, T, D)"),
        ("h.0.attn.c_attn/out", "out = rows @ w", "(N, I) @ (I, O) -> (N, O)"),
        ("embed/x", "tok_emb + pos_emb", ""),
    ):
        array = step[key]
        assert (array.code, array.comment) == (code, comment)
    longest = step["loss/dout"]
    assert (
        longest.code.startswith("dout = device_module(self.device).ones(") and longest.file == "tinygpt/models/model.py"
    )
    for array in step.of_kind("forward", "backward"):
        lines = (ROOT / array.file).read_text(encoding="utf-8").split("\n")[array.line - 1 : array.end]
        assert array.code.split("(")[0].split("=")[0].strip() in " ".join(lines)


def test_code_and_comment_of_several_lines():
    text = """a = f(  # first
    x,
    y,
)  # second, of (B, T)
for t in range(3):
    s = x[t]  # noqa: E741
    out[t] = s
"""
    source = Source(text, "<text>")
    assert source.code(1, 4) == "a = f(x, y)" and source.comment(1, 4) == "first second, of (B, T)"
    assert source.code(5, 7, loop=True) == "for t in range(3): s = x[t]; out[t] = s" and source.comment(5, 7) == ""


def test_axes_of_every_array_are_told_though_sizes_are_alike(step):
    T, V, sizes = 8, step.config.vocab_size, {"batch": {1}, "one": {1}, "head": {2}, "channel": {4, 8, 24, 32}}
    for array in step.arrays:
        assert len(array.axes) == array.values.ndim
        for size, axis in zip(array.values.shape, array.axes, strict=True):
            assert size in (sizes | {"time": {T}, "token": {V}, "": {3}})[axis], array.key
    named = {
        "wte.weight": ["token", "channel"], "wpe.weight": ["time", "channel"], "h.1.ln_2.bias": ["channel"],
        "h.0.attn/scores": ["batch", "head", "time", "time"], "h.0.attn/q": ["batch", "head", "time", "channel"],
        "h.0.ln_1/var": ["batch", "time", "one"], "head/out": ["time", "token"], "loss/losses": ["time"],
        "wpe/dw": ["time", "channel"], "h.0.attn.c_proj/out": ["time", "channel"], "head/dw~2": ["token", "channel"],
        "h.0.attn/dqkv": ["", "batch", "head", "time", "channel"], "h.1.attn.c_proj/dw": ["channel", "channel"],
    }  # fmt: skip
    assert {key: step[key].axes for key in named} == named


def numbers(text, dtype="<f4"):
    return np.frombuffer(base64.b64decode(text), dtype)


def test_the_data_unpacks_to_the_arrays(step):
    data = json.loads(json.dumps(page_data(step), allow_nan=False))
    assert data["first"] is None and data["mine"] is None and data["loss"] == step.loss
    assert [data["chars"][i] for i in data["idx"]] == list("cat sat ") and len(data["arrays"]) == len(step.arrays)
    calls = {call["id"]: call for call in data["calls"]}
    assert all(call["parent"] is None or call["parent"] in calls for call in calls.values())
    for said, array in zip(data["arrays"], step.arrays, strict=True):
        assert said["key"] == array.key and said["id"] == array.id and said["shape"] == list(array.values.shape)
        assert np.array_equal(numbers(said["v"]), array.values.ravel().astype("<f4")), array.key
        assert said["call"] is None or calls[said["call"]]["path"] == array.path
        if array.terms is not None:
            packed = said["terms"]
            places = numbers(packed["s"], "<u2" if packed["wide"] else "u1")
            of = np.repeat(np.arange(array.values.size), numbers(packed["n"], "<u2"))
            assert np.array_equal(of, array.terms.of)
            assert np.array_equal(np.array(packed["src"] or [0])[places], array.terms.source)
            assert np.array_equal(numbers(packed["i"], "<u2"), array.terms.element)
            assert np.array_equal(numbers(packed["c"]), array.terms.by.astype("<f4"))
        if array.kind == "param":
            assert np.array_equal(numbers(said["g"]), array.update.gradient.ravel().astype("<f4"))
            for name, right in (("after", array.update.after), ("v1", array.update.v), ("m0", array.update.m0)):
                assert np.array_equal(numbers(said[name]), right.ravel().astype("<f4"))
        assert ("fd" in said) == (array.kind != "backward")
