"""A reader's parts in a recorded step: those of the course as they are, and files as people write them."""

import json

import numpy as np
import pytest

from tests.recorder.recording import FOLDER, line_of, small, solution, spoilt
from tinygpt.errors import UserError
from tinygpt.recorder import mark, page_data
from tinygpt.recorder.blame import InFile

TOGETHER = (  # all parts that a step may take in, those of one step in one recording
    ("linear", "layernorm", "gelu", "embedding", "cross_entropy", "attention", "dropout", "adamw_update"),
    ("lm_head_loss", "mlp", "multi_head", "sum_to", "global_norm"), ("block", "causal_head"), ("head",),
)  # fmt: skip
WITHOUT_ARRAYS = {"dropout", "mlp", "adamw_update", "global_norm"}  # nothing is dropped; made of leaves; the update


def whole(step, engine):
    """Nothing is marked, every array is made of known ones, and the chain rule holds."""
    first = mark(step, engine)
    assert first is None, first
    assert [a.key for a in step.arrays if a.kind != "param" and a.terms is None] == []
    assert [a.key for a in step.arrays if not a.followed] == []
    json.dumps(page_data(step), allow_nan=False)


@pytest.mark.parametrize("names", TOGETHER)
def test_parts_that_are_right_are_recorded_and_not_marked(engine, names):
    step = small(**{name: solution(name) for name in names})
    whole(step, engine)
    files = {call.file for call in step.calls if call.mine}
    assert {array.file for array in step.arrays if array.mine} == {
        f"{FOLDER}/{name}.py" for name in names if name not in WITHOUT_ARRAYS
    }
    assert files <= {f"{FOLDER}/{name}.py" for name in names}
    assert step.parts == list(names) and abs(step.loss - engine.loss) < 1e-12
    assert "every number is the engine's" in page_data(step)["mine"]["says"]


LINEARS = {  # by what is in them: a linear layer that is right
    "loops": """
def forward(x, w, b=None):
    rows = x.reshape(-1, x.shape[-1])
    out = np.zeros((len(rows), w.shape[1]))
    for n in range(len(rows)):
        for o in range(w.shape[1]):
            out[n, o] = rows[n] @ w[:, o]
            if b is not None:
                out[n, o] += b[o]
    return out.reshape(*x.shape[:-1], -1), [x, w, b is not None]

def backward(dout, cache):
    x, w, has_bias = cache
    rows, drows = x.reshape(-1, x.shape[-1]), dout.reshape(-1, w.shape[1])
    dx, n = np.zeros(rows.shape), 0
    while n < len(rows):
        dx[n] = w @ drows[n]
        n += 1
    dw = sum(np.outer(r, d) for r, d in zip(rows, drows))
    return dx.reshape(x.shape), dw, drows.sum(0) if has_bias else None
""",
    "a class for the cache, and helpers": """
from dataclasses import dataclass

@dataclass
class Cache:
    x: np.ndarray
    twice: np.ndarray
    bias: bool

def product(a, b):
    made = np.einsum("...i,io->...o", a, b)
    return made

def forward(x, w, b=None):
    if b is None:
        return product(x, w), Cache(x, 2 * w, False)
    return product(x, w) + b, Cache(x, 2 * w, True)

def backward(dout, cache):
    flat = lambda a: a.reshape(-1, a.shape[-1])
    def of_w():
        return flat(cache.x).T @ flat(dout)
    if (bias := flat(dout).sum(axis=0)) is not None and not cache.bias:
        bias = None
    return product(dout, (cache.twice / 2).T), of_w(), bias
""",
    "a dict, stars, in place, with and try": """
def forward(x, w, b=None):
    with np.errstate(over="ignore"):
        out = x @ w
    try:
        out += b
    except TypeError:
        pass
    cache = {"x": x, "w": w, "bias": b is not None}
    return out, cache

def backward(dout, cache):
    first, *rest = (cache["x"], cache["w"], cache["bias"])
    w, bias = rest
    d = {}
    d["x"], d["w"] = dout @ w.T, np.tensordot(first, dout, axes=(range(first.ndim - 1),) * 2)
    d["b"] = None
    if bias:
        total = np.zeros(w.shape[1])
        np.add.at(total, np.tile(np.arange(w.shape[1]), dout.size // w.shape[1]), dout.ravel())
        d["b"] = total
    return tuple(d.values())
""",
    "lists of lists": """
def forward(x, w, b=None):
    rows = x.reshape(-1, x.shape[-1])
    columns = [[float(r @ w[:, o]) for o in range(w.shape[1])] for r in rows]
    out = np.array(columns)
    if b is not None:
        out = np.array([row + b for row in out])
    return out.reshape(*x.shape[:-1], -1), (x, w, b)

def backward(dout, cache):
    x, w, b = cache
    rows, drows = x.reshape(-1, x.shape[-1]), dout.reshape(-1, w.shape[1])
    gradients = []
    gradients.append((drows @ w.T).reshape(x.shape))
    gradients.append(rows.T @ drows)
    gradients.append(None if b is None else drows.sum(axis=0))
    return gradients
""",
}


@pytest.mark.parametrize("name", LINEARS)
def test_a_layer_that_is_right_however_it_is_written(engine, name):
    whole(small(linear="import numpy as np\n" + LINEARS[name]), engine)


def test_what_cannot_be_followed_is_said_and_no_number_is_wrong(engine):
    source = spoilt(
        "layernorm",
        ("from tinygpt.backend", "import numpy as np\nfrom tinygpt.backend"),
        ("    xhat = centred * rstd\n", "    pieces = iter([centred])\n    xhat = next(pieces) * rstd\n"),
    )
    step = small(layernorm=source)
    assert mark(step, engine) is None
    assert {a.name for a in step.arrays if a.terms is None and a.kind != "param"} == {"xhat"}
    assert {a.name for a in step.arrays if not a.followed} >= {"centred", "rstd"}
    assert "could not be followed" in page_data(step)["mine"]["says"]


def test_what_a_part_keeps_outside_its_cache_is_followed(engine):
    source = spoilt(
        "gelu",
        (
            "    return x * phi, (x, phi, approximate)",
            "    KEPT[x.ctypes.data] = 1 * x\n    return x * phi, (x, phi, approximate)",
        ),
        ("    x, phi, approximate = cache\n", "    x, phi, approximate = cache\n    x = 1 * KEPT[x.ctypes.data]\n"),
        ("from tinygpt.backend", "KEPT = {}\nfrom tinygpt.backend"),
    )
    step = small(gelu=source)
    assert mark(step, engine) is None
    for array in step.arrays:
        if array.mine and array.kind == "backward" and array.name in ("du", "dx"):
            assert array.terms is None or len(array.terms.of)


def test_a_part_that_writes_into_what_it_is_given_does_not_spoil_the_step(engine):
    source = spoilt(
        "layernorm",
        ("centred = x - x.mean(axis=-1, keepdims=True)", "x -= x.mean(axis=-1, keepdims=True)\n    centred = x"),
    )
    step = small(layernorm=source)
    first = mark(step, engine)  # the residual stream loses its mean
    assert (first.path, first.kind) == ("h.0", "forward") or first.mine
    assert all(array.followed for array in step.arrays)
    source = spoilt("layernorm", ("    out = xhat * w\n", "    w *= 1.5\n    out = xhat * w\n"))
    assert mark(small(layernorm=source), engine).path == "h.0.ln_1"


def test_float32_is_recorded_with_nudges_that_are_wide_enough(engine):
    step = small(gelu=spoilt("gelu", ("    return x * phi,", "    phi = phi.astype('float32')\n    return x * phi,")))
    assert step.coarse and mark(step, engine) is None
    for array in step.of_kind("param"):
        right = engine[array.key].derivative
        assert np.abs(array.derivative - right).max() < 1e-3 * max(np.abs(right).max(), 1e-2)


RAISING = [  # part, edit, words of the line that is named, what is said
    ("linear", ("= rows @ w  #", "= rows @ w.T @ w.T  #"), "w.T @ w.T", "raised ValueError"),
    (
        "gelu",
        ("= cache\n", "= cache\n    raise NotImplementedError('soon')\n"),
        "raise NotImpl",
        "raised NotImplementedError",
    ),
    ("gelu", ("= cache\n", "= cache\n    raise SystemExit(3)\n"), "raise SystemExit", "raised SystemExit: 3"),
    (
        "layernorm",
        ("return out, (", "return None, ("),
        "return None",
        "forward returned None as out; expected out of shape",
    ),
    (
        "layernorm",
        ("    return out, (", "    return out\n    ("),
        "return out",
        "expected out of shape (1, 4, 4) and a cache",
    ),
    (
        "layernorm",
        ("return dx, dw, db", "return dx, dw"),
        "return dx",
        "backward returned 2 results, an array of shape",
    ),
    (
        "layernorm",
        ("return dx, dw, db", "return dx[0], dw, db"),
        "return dx",
        "dx of shape (4, 4); expected dx of shape (1, 4, 4)",
    ),
    ("layernorm", ("return dx, dw, db", "return dx, None, db"), "return dx", "None as dw; expected dw of shape (4,)"),
    ("gelu", ("return dout * (", "return dout.tolist()  # ("), "return dout", "returned a list of one thing as dx"),
    ("adamw_update", ("m *= beta1\n", "m *= gamma\n"), "m *= gamma", "raised NameError"),
]


@pytest.mark.parametrize(("name", "edit", "at", "says"), RAISING)
def test_what_a_part_raises_is_a_sentence_with_its_line(name, edit, at, says):
    source = spoilt(name, edit)
    with pytest.raises(UserError) as raised:
        small(**{name: source})
    assert f"{FOLDER}/{name}.py, line {line_of(source, at)}" in str(raised.value) and says in str(raised.value)


def test_the_part_that_returned_what_does_not_fit_is_to_blame_and_not_the_one_that_it_was_handed_to():
    wrong = spoilt("layernorm", ("return dx, dw, db", "return dx[0], dw, db"))
    with pytest.raises(InFile, match=r"layernorm\.py, line \d+: backward returned dx of shape \(4, 4\)") as raised:
        small(linear=solution("linear"), layernorm=wrong)
    assert raised.value.file == f"{FOLDER}/layernorm.py"


UNREADABLE = {"def forward(:\n": "line 1, raised SyntaxError", b"x = '\xff'\n": "raised SyntaxError",
              b"x = '\0'\n": "raised SyntaxError"}  # fmt: skip


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_file_that_is_no_python_is_a_sentence(text):
    with pytest.raises(InFile, match=rf"gelu\.py.* {UNREADABLE[text]}"):
        small(gelu=text)


@pytest.mark.parametrize("what", ["out.tolist()", "out.astype(int)", "out[..., :1] + 0 * out", "out.astype('float16')"])
def test_another_kind_of_result_gives_a_page_or_a_sentence(engine, what):
    source = spoilt("layernorm", ("    return out, (", f"    return {what}, ("))
    try:
        step = small(layernorm=source)
    except UserError as error:
        assert f"{FOLDER}/layernorm.py, line" in str(error)
    else:
        first = mark(step, engine)  # of a list the engine makes an array, and float16 is but rounded
        assert first.path == "h.0.ln_1" if "int" in what or ":" in what else first is None
        json.dumps(page_data(step), allow_nan=False)


def test_a_part_that_is_not_the_same_twice_has_no_derivatives(engine):
    source = spoilt(
        "gelu",
        ("    return x * phi,", "    COUNT.append(1)\n    phi = phi * (1 + 0.01 * len(COUNT))\n    return x * phi,"),
        ("from tinygpt.backend", "COUNT = []\nfrom tinygpt.backend"),
    )
    step = small(gelu=source)
    assert not step.steady and all(array.derivative is None for array in step.arrays)
    assert mark(step, engine).path == "h.0.mlp.gelu"
    assert "another loss each time" in page_data(step)["mine"]["says"]
