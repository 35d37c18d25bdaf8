"""The MLP: what it is checked on, and the mistakes it is usually made with."""

from tinygpt.gradcheck.cases import Case, Draw
from tinygpt.models.gpt2 import MLP
from tinygpt.ops import DEFINITIONS

DEFINITION = MLP
MADE_OF = "linear", "gelu"
NAMES = {
    "forward": "x w_fc b_fc w_proj b_proj approximate ops h fc_cache a gelu_cache out proj_cache",
    "backward": "dout cache fc_cache gelu_cache proj_cache ops da dw_proj db_proj dh dx dw_fc db_fc",
}


def cases(draw: Draw) -> list[Case]:
    B, T, C = draw.sizes(3, most=5)
    weights = {
        "w_fc": draw.matrix(C, 4 * C), "b_fc": draw.bias(4 * C),
        "w_proj": draw.matrix(4 * C, C), "b_proj": draw.bias(C),
    }  # fmt: skip
    x = draw.array(B, T, C)
    biasless = weights | {"b_fc": None, "b_proj": None}
    return [
        Case("tanh", {"x": x, **weights, "approximate": "tanh", "ops": DEFINITIONS}),
        Case("exact, no biases", {"x": x, **biasless, "approximate": "none", "ops": DEFINITIONS}),
    ]


# fmt: off
_GELU = "dh = ops.gelu.backward(da, gelu_cache)"
_RETURN = "return dx, dw_fc, db_fc, dw_proj, db_proj"
MISTAKES = [
    ("gelu_forgotten", "formula", (_GELU, "dh = da"), "the gradient does not pass through GELU's derivative"),
    ("gelu_twice", "formula", (_GELU, "dh = ops.gelu.backward(ops.gelu.backward(da, gelu_cache), gelu_cache)"),
     "the gradient passes through GELU's derivative twice"),
    ("other_gelu", "formula",
     (_GELU, 'x, _, approximate = gelu_cache\nother = {"tanh": "none", "none": "tanh"}[approximate]\n'
      'dh = ops.gelu.backward(da, ops.gelu.forward(x, other)[1])'), "GELU's derivative is that of its other form"),
    ("db_fc_before_gelu", "formula",
     (_RETURN, "db_fc = None if db_fc is None else da.reshape(-1, da.shape[-1]).sum(axis=0)\n" + _RETURN),
     "db_fc sums the gradient before GELU's derivative, where the one after it belongs"),
    ("dw_fc_before_gelu", "formula", (_RETURN, "dw_fc = ops.linear.backward(da, fc_cache)[1]\n" + _RETURN),
     "dw_fc takes the gradient before GELU's derivative, where the one after it belongs"),
    ("dw_proj_of_hidden", "formula",
     (_RETURN, "dw_proj = ops.linear.backward(dout, (gelu_cache[0], *proj_cache[1:]))[1]\n" + _RETURN),
     "dw_proj takes the hidden layer before GELU, where the one after it belongs"),
    ("b_proj_mean", "scale",
     (_RETURN, "db_proj = None if db_proj is None else db_proj / (dout.size // dout.shape[-1])\n" + _RETURN),
     "db_proj is the mean over the rows, where their sum belongs"),
    ("forward_default_gelu", "forward", ("ops.gelu.forward(h, ...)", "ops.gelu.forward(h)"),
     "forward does not hand approximate on to GELU"),
    ("forward_with_residual", "forward", ("return out, ...", "return out + x, ..."),
     (_RETURN, "dx = dx + dout\n" + _RETURN),
     "forward adds its input to the output: the residual path stands in the block"),
    ("forward_without_gelu", "forward", ("ops.gelu.forward(...)", "(h, None)"), (_GELU, "dh = da"),
     "forward has no GELU between its two products"),
    ("forward_always_exact", "forward", ("ops.gelu.forward(h, ...)", "ops.gelu.forward(h, 'none')"),
     "forward takes the exact GELU, whatever approximate says"),
    ("gelus_backward_times_da", "formula", (_GELU, "dh = da * ops.gelu.backward(da, gelu_cache)"),
     "da is multiplied in twice: GELU's backward has multiplied by it already"),
    ("forward_gelu_at_the_end", "forward",
     ("out, proj_cache = ops.linear.forward(a, w_proj, b_proj)",
      "out, proj_cache = ops.linear.forward(a, w_proj, b_proj)\nout, last = ops.gelu.forward(out, approximate)"),
     ("return out, (fc_cache, gelu_cache, proj_cache, ops)",
      "return out, (fc_cache, gelu_cache, (proj_cache, last), ops)"),
     ("ops.linear.backward(dout, proj_cache)",
      "ops.linear.backward(ops.gelu.backward(dout, proj_cache[1]), proj_cache[0])"),
     "forward applies GELU to its output too, behind the second product"),
]
