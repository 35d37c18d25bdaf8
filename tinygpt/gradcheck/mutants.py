"""Wrong layers: the mistakes people make in a backward pass, each as the few words of the source that it changes.

A mutant is made from the definition's source, or in two cases its fast twin's, by replacing some of the text, so what
is wrong with it can be read off, and the rest of it cannot differ. It stands in for its layer through the ops table:

    mutant = find("attention", "dk_transposed")
    ops = DEFINITIONS.replace(attention=mutant.stand_in())

A wrong backward runs on the original's own forward and cache. A wrong forward comes with the backward that is its
true derivative, and only a comparison with the definition tells it from a right layer.
"""

import importlib
import inspect
import textwrap
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType, SimpleNamespace
from typing import Any

from tinygpt.models import gpt2

FAMILIES = {  # what kind of mistake it is
    "scale": "a constant factor too many or too few",
    "sign": "a wrong sign",
    "term": "a term too many or too few",
    "axis": "a sum or mean over the wrong axis",
    "layout": "axes swapped, transposed or in the wrong order",
    "accumulation": "overwritten where it should be added up",
    "mask": "the wrong elements take part",
    "formula": "a wrong local derivative, or the wrong array in it",
    "zero": "not computed",
    "forward": "another function than the layer's",
}


@dataclass(frozen=True)
class Mutant:
    """One wrong layer.

    says: the mistake, as one would tell its author. edits: pairs of texts, what stands in the source of `source` (the
    layer's definition if "") and what stands there instead. term: what the mutant leaves out, where that is a term of a
    sum; right minus wrong is then that term.
    """

    layer: str
    name: str
    family: str
    says: str
    edits: tuple[tuple[str, str], ...]
    source: str = ""
    term: str = ""

    @cached_property
    def module(self) -> ModuleType:
        """The edited source as a module of its own. Raises ValueError if a text to replace is not there just once."""
        original = self._original
        text = inspect.getsource(original)
        if isinstance(original, type):
            text = textwrap.dedent(text.partition("\n")[2]).replace("@staticmethod\n", "")
        for old, new in self.edits:
            if text.count(old) != 1:
                raise ValueError(f"{self.layer}, {self.name}: {old!r} stands {text.count(old)} times in the source")
            text = text.replace(old, new)
        module = ModuleType(f"{self._original.__name__} with {self.name}")
        if isinstance(original, type):
            module.__dict__.update(vars(gpt2))
        exec(compile(text, module.__name__, "exec"), module.__dict__)
        return module

    @property
    def _original(self) -> Any:
        composites = {"mlp": gpt2.MLP, "block": gpt2.Block, "lm_head_loss": gpt2.LMHeadLoss, "model": gpt2}
        if not self.source and self.layer in composites:
            return composites[self.layer]
        return importlib.import_module(self.source or f"tinygpt.layers.{self.layer}")

    def stand_in(self) -> Any:
        """What takes the layer's place: something with `forward` and `backward`; of the model, its class."""
        if self.layer == "model" and self.source:
            return type("GPT", (gpt2.GPT,), {"backward": self.module.Model.backward})
        if self.layer == "model":
            return self.module.GPT
        forward = self.module.forward if self.family == "forward" or self.source else self._original.forward
        return SimpleNamespace(forward=forward, backward=self.module.backward)


def find(layer: str, name: str) -> Mutant:
    """The mutant of that layer and name. Raises KeyError if there is none."""
    return {(mutant.layer, mutant.name): mutant for mutant in MUTANTS}[layer, name]


def _of(layer: str, *rows: tuple, source: str = "") -> list[Mutant]:
    """Mutants from rows of name, family, what it says, the term that it leaves out if it does, and edits."""
    mutants = []
    for name, family, says, *edits in rows:
        term = edits.pop(0) if isinstance(edits[0], str) else ""
        mutants.append(Mutant(layer, name, family, says, tuple(edits), source, term))
    return mutants


# fmt: off
EMBEDDING = _of(
    "embedding",
    ("last_occurrence_wins", "accumulation",
     "a token that occurs n times should receive the sum of n gradients, but only the last one is kept",
     ("scatter_add(dw, idx.reshape(-1), dout.reshape(-1, w.shape[1]))",
      "dw[idx.reshape(-1)] = dout.reshape(-1, w.shape[1])")),
    ("mean_over_occurrences", "accumulation",
     "a token that occurs n times should receive the sum of n gradients, but receives their mean",
     ("    return dw",
      "    xp = array_module(w)\n"
      "    count = (idx.reshape(-1)[:, None] == xp.arange(len(w))).sum(axis=0)\n"
      "    return dw / xp.maximum(count, 1)[:, None]")),
    ("ids_transposed", "layout",
     "batch and time are swapped in the ids, so each gradient goes to another token's row",
     ("idx.reshape(-1)", "idx.T.reshape(-1)")),
    ("next_row", "layout",
     "every gradient lands one row further down, as if ids counted from 1",
     ("idx.reshape(-1)", "(idx.reshape(-1) + 1) % len(w)")),
    ("scaled_by_sqrt_width", "scale",
     "dw has the factor sqrt(C) of the first transformer's embeddings, which GPT-2 does not have",
     ("    return dw", "    return dw * w.shape[1] ** 0.5")),
    ("mean_over_places", "scale",
     "dw is divided by the number of tokens, but the mean is taken in the loss already",
     ("    return dw", "    return dw / idx.size")),
    ("not_computed", "zero",
     "dw is zero: the gradient never reaches the table",
     ("    scatter_add(dw, idx.reshape(-1), dout.reshape(-1, w.shape[1]))", "    pass")),
    ("forward_scaled", "forward",
     "forward multiplies by sqrt(C), as the first transformer did and GPT-2 does not",
     ("out = w[idx]", "out = w[idx] * w.shape[1] ** 0.5"),
     ("    return dw", "    return dw * w.shape[1] ** 0.5")),
)

LINEAR = _of(
    "linear",
    ("dx_reshaped", "layout",
     "dx multiplies by w reshaped to (O, I), where w transposed belongs",
     ("drows @ w.T", "drows @ w.reshape(w.shape[::-1])")),
    ("dw_reshaped", "layout",
     "dw is the transpose of the right one, reshaped to fit",
     ("dw = rows.T @ drows", "dw = (drows.T @ rows).reshape(w.shape)")),
    ("db_mean", "scale",
     "db is the mean over the rows, where their sum belongs",
     ("drows.sum(axis=0)", "drows.mean(axis=0)")),
    ("dw_mean", "scale",
     "dw is divided by the number of rows, but the mean is taken in the loss already",
     ("dw = rows.T @ drows", "dw = rows.T @ drows / len(rows)")),
    ("db_over_everything", "axis",
     "db is summed over the outputs as well, so that every output gets the same number",
     ("drows.sum(axis=0)", "drows.sum(axis=0) * 0 + drows.sum()")),
    ("db_over_first_axis_only", "axis",
     "db is summed over the first axis only, so that it keeps the others",
     ("drows.sum(axis=0)", "dout.sum(axis=0)")),
    ("db_last_row", "accumulation",
     "db is overwritten row after row (=, where += belongs), so only the last row counts",
     ("drows.sum(axis=0)", "drows[-1]")),
    ("dw_last_sequence", "accumulation",
     "dw is overwritten sequence after sequence (=, where += belongs), so only the last one counts",
     ("dw = rows.T @ drows",
      "dw = x[-1].reshape(-1, len(w)).T @ dout[-1].reshape(-1, w.shape[1])")),
    ("dw_with_weight_decay", "term",
     "dw has 0.1 w added to it, the gradient of an L2 penalty that is not in the loss",
     ("dw = rows.T @ drows", "dw = rows.T @ drows + 0.1 * w")),
    ("dx_of_outer_sum", "formula",
     "dx multiplies by the sum of w over its outputs: the outputs' gradients were summed before the product",
     ("drows @ w.T", "drows.sum(axis=1, keepdims=True) * w.sum(axis=1)")),
    ("db_not_computed", "zero",
     "db is zero",
     ("drows.sum(axis=0)", "drows.sum(axis=0) * 0")),
    ("forward_without_bias", "forward",
     "forward leaves out the bias",
     ("out = out + b", "pass"),
     ("drows.sum(axis=0)", "drows.sum(axis=0) * 0")),
)

_DX = "dx = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True) - xhat * along)"
LAYERNORM = _of(
    "layernorm",
    ("mean_term_dropped", "term",
     "dx lacks the term through the mean, - rstd * mean(dxhat)",
     "in dx the term through the mean",
     (_DX, "dx = rstd * (dxhat - xhat * along)")),
    ("variance_term_dropped", "term",
     "dx lacks the term through the variance, - rstd * xhat * mean(dxhat * xhat)",
     "in dx the term through the variance",
     (_DX, "dx = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True))")),
    ("statistics_as_constants", "term",
     "dx takes mean and variance for constants: both terms through them are missing",
     (_DX, "dx = rstd * dxhat")),
    ("variance_term_added", "sign",
     "the term through the variance has the wrong sign in dx",
     ("- xhat * along", "+ xhat * along")),
    ("mean_term_added", "sign",
     "the term through the mean has the wrong sign in dx",
     ("dxhat - dxhat.mean", "dxhat + dxhat.mean")),
    ("rstd_squared", "formula",
     "dx has rstd squared, where rstd belongs",
     ("dx = rstd * (", "dx = rstd * rstd * (")),
    ("std_for_rstd", "formula",
     "dx is multiplied by the standard deviation, where dividing by it belongs",
     ("dx = rstd * (", "dx = (1 / rstd) * (")),
    ("rstd_forgotten", "formula",
     "dx lacks the factor rstd",
     ("dx = rstd * (", "dx = (")),
    ("gain_forgotten", "formula",
     "dx lacks the gain: dout stands where dout * w belongs",
     ("dxhat = dout * w", "dxhat = dout")),
    ("gain_forgotten_in_variance_term", "formula",
     "in dx the term through the variance takes dout, where dout * w belongs",
     ("along = (dxhat * xhat)", "along = (dout * xhat)")),
    ("variance_term_summed", "scale",
     "in dx the term through the variance is C times what it should be: a sum, where a mean belongs",
     ("(dxhat * xhat).mean(", "(dxhat * xhat).sum(")),
    ("mean_term_summed", "scale",
     "in dx the term through the mean is C times what it should be: a sum, where a mean belongs",
     ("dxhat.mean(", "dxhat.sum(")),
    ("bessel_in_backward", "scale",
     "in dx the term through the variance is divided by C - 1, where forward divides by C",
     ("along = (dxhat * xhat).mean(axis=-1, keepdims=True)",
      "along = (dxhat * xhat).sum(axis=-1, keepdims=True) / (xhat.shape[-1] - 1)")),
    ("mean_over_time", "axis",
     "dx takes the mean of dxhat over time, where the mean over the channels belongs",
     ("dxhat.mean(axis=-1", "dxhat.mean(axis=-2")),
    ("means_over_everything", "axis",
     "dx takes its two means over the whole array, where each vector has its own",
     ("dxhat.mean(axis=-1, keepdims=True)", "dxhat.mean()"),
     ("(dxhat * xhat).mean(axis=-1, keepdims=True)", "(dxhat * xhat).mean()")),
    ("means_over_rows", "axis",
     "dx takes its two means over the rows, as BatchNorm does, where the channels belong",
     ("dxhat.mean(axis=-1, keepdims=True)", "dxhat.mean(axis=rows)"),
     ("(dxhat * xhat).mean(axis=-1, keepdims=True)", "(dxhat * xhat).mean(axis=rows)")),
    ("gain_applied_last", "formula",
     "dx takes its means of dout and multiplies by w at the end, where dout * w belongs in the means",
     ("dxhat = dout * w", "dxhat = dout"), ("dx = rstd * (", "dx = w * rstd * (")),
    ("dw_without_xhat", "formula",
     "dw is the sum of dout, where the sum of dout * xhat belongs",
     ("dw = (dout * xhat).sum", "dw = dout.sum")),
    ("dw_with_centred_input", "formula",
     "dw sums dout times the centred input: xhat's division by the standard deviation is missing",
     ("dw = (dout * xhat)", "dw = (dout * xhat / rstd)")),
    ("dw_with_gain", "formula",
     "dw has an extra factor w: dxhat stands where dout belongs",
     ("dw = (dout * xhat)", "dw = (dout * w * xhat)")),
    ("db_with_gain", "formula",
     "db has an extra factor w: dxhat stands where dout belongs",
     ("db = dout.sum", "db = (dout * w).sum")),
    ("dw_mean", "scale",
     "dw is the mean over the rows, where their sum belongs",
     ("dw = (dout * xhat).sum", "dw = (dout * xhat).mean")),
    ("db_mean", "scale",
     "db is the mean over the rows, where their sum belongs",
     ("dout.sum(axis=rows)", "dout.mean(axis=rows)")),
    ("parameters_last_sequence", "accumulation",
     "dw and db are overwritten sequence after sequence (=, where += belongs), so only the last one counts",
     ("db = dout.sum(axis=rows)", "db = dout[-1].sum(axis=rows[:-1])"),
     ("dw = (dout * xhat).sum(axis=rows)", "dw = (dout * xhat)[-1].sum(axis=rows[:-1])")),
    ("forward_rms", "forward",
     "forward is RMSNorm: it does not take the mean away",
     ("centred = x - x.mean(axis=-1, keepdims=True)", "centred = x"),
     (_DX, "dx = rstd * (dxhat - xhat * along)")),
    ("forward_bessel", "forward",
     "forward divides the variance by C - 1, where C belongs",
     ("(centred * centred).mean(axis=-1, keepdims=True)",
      "(centred * centred).sum(axis=-1, keepdims=True) / (x.shape[-1] - 1)"),
     ("along = (dxhat * xhat).mean(axis=-1, keepdims=True)",
      "along = (dxhat * xhat).sum(axis=-1, keepdims=True) / (xhat.shape[-1] - 1)")),
    ("forward_eps_outside", "forward",
     "forward adds eps to the standard deviation, where it belongs to the variance",
     ("rstd = 1 / xp.sqrt(var + eps)", "rstd = 1 / (xp.sqrt(var) + eps)"),
     ("(xhat, rstd, w, b is not None)", "(xhat, rstd, w, b is not None, eps)"),
     ("xhat, rstd, w, has_bias = cache", "xhat, rstd, w, has_bias, eps = cache"),
     (_DX, "dx = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True)) - xhat * along / (1 / rstd - eps)")),
    ("forward_without_eps", "forward",
     "forward leaves out eps",
     ("xp.sqrt(var + eps)", "xp.sqrt(var)")),
    ("forward_zeros", "forward",
     "forward returns zeros, and so does backward",
     ("return out, (xhat", "return out * 0, (xhat"),
     ("return dx, dw, db", "return dx * 0, dw * 0, None if db is None else db * 0")),
)

GELU = _of(
    "gelu",
    ("inner_derivative_missing", "formula",
     "the chain rule stops short: tanh' is there, the derivative of what is inside tanh is not",
     ("2 * phi * (1 - phi) * du", "2 * phi * (1 - phi)")),
    ("cube_without_three", "formula",
     "the derivative of x^3 lacks its 3",
     ("3 * 0.044715", "0.044715")),
    ("tanh_derivative_not_squared", "formula",
     "tanh' is taken as 1 - tanh, where 1 - tanh^2 belongs",
     ("2 * phi * (1 - phi) * du", "(1 - phi) * du")),
    ("density_exponent", "formula",
     "the normal density has exp(-x^2), where exp(-x^2 / 2) belongs",
     ("-0.5 * x * x", "-x * x")),
    ("density_not_normalised", "scale",
     "the normal density in x * density is twice as large as it should be",
     ("(SQRT_2_OVER_PI / 2)", "SQRT_2_OVER_PI")),
    ("tanh_with_exact_density", "formula",
     "the tanh form's Phi' is that of the exact form, the normal density",
     ('if approximate == "tanh":\n        du', 'if approximate == "":\n        du')),
    ("product_rule_first_half", "term",
     "the product rule lacks its second term, x * Phi'",
     "in dx the term x * Phi'",
     ("phi + x * density", "phi")),
    ("product_rule_second_half", "term",
     "the product rule lacks its first term, Phi",
     "in dx the term Phi",
     ("phi + x * density", "x * density")),
    ("density_without_x", "formula",
     "the product rule's second term is Phi', where x * Phi' belongs",
     ("phi + x * density", "phi + density")),
    ("derivative_of_relu", "formula",
     "dx is that of ReLU: dout where x is positive, 0 elsewhere",
     ("dout * (phi + x * density)", "dout * (x > 0)")),
    ("passed_through", "formula",
     "dx is dout: there is no derivative in it",
     ("dout * (phi + x * density)", "dout * (phi * 0 + 1)")),
    ("dout_forgotten", "formula",
     "dx is GELU's derivative alone: it is not multiplied by dout",
     ("dout * (phi + x * density)", "phi + x * density")),
    ("square_forgotten", "formula",
     "the derivative of x^3 has x, where x^2 belongs",
     ("3 * 0.044715 * x * x", "3 * 0.044715 * x")),
    ("forward_erf_unscaled", "forward",
     "forward takes erf(x), where erf(x / sqrt(2)) belongs",
     ("erf(x * SQRT_HALF)", "erf(x)"),
     ("exp(-0.5 * x * x) * (SQRT_2_OVER_PI / 2)", "exp(-x * x) * (2 * SQRT_HALF * SQRT_2_OVER_PI / 2)")),
    ("forward_always_tanh", "forward",
     "forward computes the tanh form where the exact one is asked for",
     ('elif approximate == "none":\n        phi = 0.5 * (1 + erf(x * SQRT_HALF))',
      'elif approximate == "none":\n        return forward(x, "tanh")')),
    ("forward_sigmoid", "forward",
     "forward is the sigmoid approximation, x * sigmoid(1.702 x)",
     ("phi = 0.5 * (1 + xp.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)))",
      "phi = 0.5 * (1 + xp.tanh(0.851 * x))"),
     ("du = SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x)", "du = 0.851")),
)

SOFTMAX = _of(
    "softmax",
    ("diagonal_only", "term",
     "only the diagonal of the Jacobian is there: out * (1 - out) * dout, as for a sigmoid",
     ("out * (dout - (dout * out).sum(axis=-1, keepdims=True))", "out * (1 - out) * dout")),
    ("without_the_sum", "term",
     "dx lacks the term through the normalising sum",
     "in dx the term through the normalising sum",
     ("(dout - (dout * out).sum(axis=-1, keepdims=True))", "dout")),
    ("factor_out_forgotten", "formula",
     "dx lacks the factor out in front",
     ("return out * (", "return (")),
    ("sum_of_dout", "formula",
     "the term through the normalising sum takes dout, where dout * out belongs",
     ("(dout * out).sum(", "dout.sum(")),
    ("mean_for_sum", "scale",
     "the term through the normalising sum is 1/V times what it should be: a mean, where a sum belongs",
     ("(dout * out).sum(", "(dout * out).mean(")),
    ("sum_over_rows", "axis",
     "dout * out is summed over the rows, where the sum over the last axis belongs",
     ("(dout * out).sum(axis=-1", "(dout * out).sum(axis=-2")),
    ("sum_over_everything", "axis",
     "dout * out is summed over the whole array, where each row has its own sum",
     ("(dout * out).sum(axis=-1, keepdims=True)", "(dout * out).sum()")),
    ("sign", "sign",
     "dx has the wrong sign",
     ("return out * (", "return -out * (")),
    ("sum_added", "sign",
     "the term through the normalising sum has the wrong sign",
     ("dout - (dout * out)", "dout + (dout * out)")),
    ("not_computed", "zero",
     "dx is zero, as softmax's is for a dout that is the same along each row",
     ("return out * (", "return 0 * out * (")),
    ("forward_over_rows", "forward",
     "forward normalises over the rows, where the last axis belongs",
     ("x.max(axis=-1", "x.max(axis=-2"), ("exps.sum(axis=-1", "exps.sum(axis=-2"),
     ("(dout * out).sum(axis=-1", "(dout * out).sum(axis=-2")),
)

_FULL = (  # the weights as they would be without the mask, and the mask
    "T = q.shape[-2]\n"
    "    past = xp.arange(T) <= xp.arange(T)[:, None]\n"
    "    full = bmm(q, k, transpose_b=True) * q.shape[-1] ** -0.5\n"
    "    full = xp.exp(full - full.max(axis=-1, keepdims=True))\n"
    "    full = full / full.sum(axis=-1, keepdims=True)\n    "
)
_DSCORES = "dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))"
_SCALED = "dscores = dscores * q.shape[-1] ** -0.5"
ATTENTION = _of(
    "attention",
    ("dk_transposed", "layout",
     "dk multiplies q by dscores, where dscores transposed belongs: keys are its columns",
     ("dk = bmm(dscores, q, transpose_a=True)", "dk = bmm(dscores, q)")),
    ("dq_transposed", "layout",
     "dq multiplies k by dscores transposed, where dscores itself belongs: queries are its rows",
     ("dq = bmm(dscores, k)", "dq = bmm(dscores, k, transpose_a=True)")),
    ("dv_transposed", "layout",
     "dv multiplies dout by the weights, where the weights transposed belong",
     ("dv = bmm(dropped, dout, transpose_a=True)", "dv = bmm(dropped, dout)")),
    ("scale_forgotten", "scale",
     "dq and dk lack the factor 1/sqrt(D)",
     (_SCALED, "pass")),
    ("scale_twice", "scale",
     "dq and dk have the factor 1/sqrt(D) twice",
     (_SCALED, "dscores = dscores / q.shape[-1]")),
    ("scale_of_all_channels", "scale",
     "dq and dk have 1/sqrt(C), where 1/sqrt(D) belongs",
     (_SCALED, "dscores = dscores * C ** -0.5")),
    ("mask_after_softmax", "mask",
     "dscores is taken as if the mask came after the softmax",
     (_DSCORES, _FULL + "dweights = xp.where(past, dweights, 0)\n"
      "    dscores = full * (dweights - (dweights * full).sum(axis=-1, keepdims=True))")),
    ("mask_forgotten", "mask",
     "dscores is taken as if there were no causal mask",
     (_DSCORES, _FULL + "dscores = full * (dweights - (dweights * full).sum(axis=-1, keepdims=True))")),
    ("own_score_masked", "mask",
     "the mask in backward is strict: a position's score with itself has no gradient",
     (_SCALED, _SCALED + "\n    dscores = xp.where(xp.arange(T) < xp.arange(T)[:, None], dscores, 0)")),
    ("dv_without_mask", "mask",
     "dv takes the weights as they would be without the causal mask",
     ("dv = bmm(dropped, dout, transpose_a=True)",
      _FULL + "full = full if keep is None else full * keep / (1 - dropout)\n"
      "    dv = bmm(full, dout, transpose_a=True)")),
    ("softmax_diagonal_only", "term",
     "in dscores only the diagonal of softmax's Jacobian is there",
     (_DSCORES, "dscores = weights * (1 - weights) * dweights")),
    ("softmax_without_the_sum", "term",
     "dscores lacks the term through softmax's normalising sum",
     "in dscores the term through softmax's sum",
     (_DSCORES, "dscores = weights * dweights")),
    ("softmax_sum_over_queries", "axis",
     "in dscores the sum runs over the queries, where the keys belong",
     ("(dweights * weights).sum(axis=-1", "(dweights * weights).sum(axis=-2")),
    ("softmax_factor_forgotten", "formula",
     "dscores lacks the factor weights in front",
     ("dscores = weights * (", "dscores = (")),
    ("softmax_of_dropped", "mask",
     "softmax's backward takes the weights after dropout, where those before it belong",
     ("dscores = weights * (dweights - (dweights * weights)", "dscores = dropped * (dweights - (dweights * dropped)")),
    ("dropout_not_in_dv", "mask",
     "dv takes the weights as they were before dropout",
     ("dv = bmm(dropped,", "dv = bmm(weights,")),
    ("dropout_not_in_dweights", "mask",
     "dweights does not pass through the dropout mask",
     ("dweights = dweights * keep / (1 - dropout)", "pass")),
    ("dropout_scaled_twice", "scale",
     "dweights is divided by 1 - p twice in dropout's backward",
     ("dweights = dweights * keep / (1 - dropout)", "dweights = dweights * keep / (1 - dropout) ** 2")),
    ("packed_as_kqv", "layout",
     "dq and dk stand in each other's place",
     ("xp.stack((dq, dk, dv))", "xp.stack((dk, dq, dv))")),
    ("packed_as_vkq", "layout",
     "dq and dv stand in each other's place",
     ("xp.stack((dq, dk, dv))", "xp.stack((dv, dk, dq))")),
    ("head_and_time_swapped", "layout",
     "the heads are merged without bringing time to the front: head and time are swapped in dqkv",
     ("dqkv.transpose(1, 3, 0, 2, 4)", "dqkv.transpose(1, 2, 0, 3, 4)")),
    ("dout_split_wrongly", "layout",
     "dout is reshaped to (B, H, T, D) without the transpose: head and time are swapped in it",
     ("dout = split_heads(dout, q.shape[1], parts=1)[0]", "dout = dout.reshape(q.shape)")),
    ("dq_from_queries", "formula",
     "dq multiplies dscores by q, where k belongs",
     ("dq = bmm(dscores, k)", "dq = bmm(dscores, q)")),
    ("dk_from_keys", "formula",
     "dk multiplies dscores by k, where q belongs",
     ("dk = bmm(dscores, q,", "dk = bmm(dscores, k,")),
    ("dk_not_computed", "zero",
     "dk is zero",
     ("dk = bmm(dscores, q,", "dk = 0 * bmm(dscores, q,")),
    ("dv_not_computed", "zero",
     "dv is zero",
     ("dv = bmm(dropped,", "dv = 0 * bmm(dropped,")),
    ("forward_unscaled", "forward",
     "forward does not divide the scores by sqrt(D)",
     ("bmm(q, k, transpose_b=True) * q.shape[-1] ** -0.5  # (B, H, T, D)",
      "bmm(q, k, transpose_b=True)  # (B, H, T, D)"),
     (_SCALED, "pass")),
    ("forward_scaled_by_size", "forward",
     "forward divides the scores by D, where sqrt(D) belongs",
     ("bmm(q, k, transpose_b=True) * q.shape[-1] ** -0.5  # (B, H, T, D)",
      "bmm(q, k, transpose_b=True) / q.shape[-1]  # (B, H, T, D)"),
     (_SCALED, "dscores = dscores / q.shape[-1]")),
    ("forward_mask_reversed", "forward",
     "forward's mask is the wrong way round: each position sees itself and what comes after it",
     ("xp.arange(S) <= xp.arange(S - t, S)", "xp.arange(S) >= xp.arange(S - t, S)")),
    ("forward_without_mask", "forward",
     "forward has no causal mask",
     ("scores = xp.where(past, scores, -xp.inf)", "pass")),
    ("forward_sees_the_next_token", "forward",
     "forward's mask is off by one: each position sees the next token",
     ("xp.arange(S - t, S)[:, None]", "xp.arange(S - t, S)[:, None] + 1")),
    ("forward_heads_interleaved", "forward",
     "forward gives each head every H-th channel, where neighbours belong together",
     ("return x.reshape(B, T, parts, n_head, width // parts // n_head).transpose(2, 0, 3, 1, 4)",
      "return x.reshape(B, T, parts, width // parts // n_head, n_head).transpose(2, 0, 4, 1, 3)"),
     ("return x.transpose(0, 2, 1, 3)", "return x.transpose(0, 2, 3, 1)"),
     ("dqkv.transpose(1, 3, 0, 2, 4)", "dqkv.transpose(1, 3, 0, 4, 2)")),
)

_SCALE = "xp.where(counted, dout / denominator, 0)"
CROSS_ENTROPY = _of(
    "cross_entropy",
    ("mean_forgotten", "scale",
     "forward takes a mean, but dlogits is not divided by the number of targets",
     (_SCALE, "xp.where(counted, dout, 0)")),
    ("divided_by_all_targets", "scale",
     "dlogits is divided by the number of all targets, where those that count belong",
     (_SCALE, "xp.where(counted, dout / len(counted), 0)")),
    ("divided_by_vocabulary", "scale",
     "dlogits is divided by V, where the number of targets belongs",
     (_SCALE, "xp.where(counted, dout / shape[-1], 0)")),
    ("dout_forgotten", "scale",
     "dlogits does not multiply by dout, the gradient from above",
     (_SCALE, "xp.where(counted, 1 / denominator, 0)")),
    ("one_hot_forgotten", "term",
     "dlogits is the softmax alone: the one at the target is not taken away",
     "the one at the target",
     ("dlogits[places] -= 1", "pass")),
    ("softmax_forgotten", "term",
     "dlogits is minus one at the target and nothing else: the softmax is missing",
     "the softmax in dlogits",
     ("dlogits[places] -= 1", "dlogits[...] = 0\n    dlogits[places] -= 1")),
    ("one_added_at_target", "sign",
     "one is added at the target, where it belongs subtracted",
     ("dlogits[places] -= 1", "dlogits[places] += 1")),
    ("sign", "sign",
     "dlogits has the wrong sign",
     ("dlogits *= scale[:, None]", "dlogits *= -scale[:, None]")),
    ("ignored_targets_teach", "mask",
     "targets that are ignored have a gradient all the same",
     (_SCALE, "xp.where(counted, dout / denominator, dout / denominator)")),
    ("softmax_not_normalised", "formula",
     "the exponentials are not divided by their sum",
     ("xp.exp(shifted - log_total[:, None])", "xp.exp(shifted)")),
    ("softmax_over_targets", "axis",
     "the softmax is normalised over the targets as well, where it sums to one over the vocabulary",
     ("dlogits = xp.exp(shifted - log_total[:, None])",
      "dlogits = xp.exp(shifted - log_total[:, None])\n    dlogits = dlogits / dlogits.sum(axis=0)")),
    ("forward_sum", "forward",
     "forward is the sum over the targets, where their mean belongs",
     ("denominator = xp.maximum(counted.sum(), 1)", "denominator = xp.ones(())")),
    ("forward_bits", "forward",
     "forward is in bits, where nats belong",
     ("losses = log_total - shifted[places]", "losses = (log_total - shifted[places]) / xp.log(2.0)"),
     (_SCALE, "xp.where(counted, dout / denominator / xp.log(2.0), 0)")),
    ("forward_counts_ignored", "forward",
     "forward's mean counts the targets that are ignored",
     ("xp.maximum(counted.sum(), 1)", "xp.asarray(len(targets))")),
    ("forward_denominator_ignored", "forward",
     "forward does not use the denominator that it is given",
     ("    if denominator is None:", "    if True:")),
    ("forward_sign", "forward",
     "forward has the wrong sign: it is the log-likelihood, and the loss is minus that",
     ("losses = log_total - shifted[places]", "losses = shifted[places] - log_total"),
     (_SCALE, "xp.where(counted, -dout / denominator, 0)")),
)

_KEPT = "dout * keep / (1 - p)"
DROPOUT = _of(
    "dropout",
    ("scaled_twice", "scale", "dx is divided by 1 - p twice", (_KEPT, "dout * keep / (1 - p) ** 2")),
    ("not_scaled", "scale", "dx is not divided by 1 - p", (_KEPT, "dout * keep")),
    ("scaled_by_p", "scale", "dx is divided by p, where 1 - p belongs", (_KEPT, "dout * keep / p")),
    ("mask_forgotten", "mask", "dx has no mask: what was dropped has a gradient", (_KEPT, "dout / (1 - p)")),
    ("mask_inverted", "mask", "the mask is inverted: only what was dropped has a gradient",
     (_KEPT, "dout * ~keep / (1 - p)")),
    ("passed_through", "mask", "dx is dout, as if nothing had been dropped", (_KEPT, "dout * 1")),
    ("forward_not_scaled", "forward", "forward does not scale up what it keeps",
     ("return x * keep / (1 - p)", "return x * keep"), (_KEPT, "dout * keep")),
)

MLP = _of(
    "mlp",
    ("gelu_forgotten", "formula",
     "the gradient does not pass through GELU's derivative",
     ("dh = ops.gelu.backward(da, gelu_cache)", "dh = da")),
    ("gelu_twice", "formula",
     "the gradient passes through GELU's derivative twice",
     ("dh = ops.gelu.backward(da, gelu_cache)",
      "dh = ops.gelu.backward(ops.gelu.backward(da, gelu_cache), gelu_cache)")),
    ("other_gelu", "formula",
     "GELU's derivative is that of its other form",
     ("dh = ops.gelu.backward(da, gelu_cache)",
      'x, _, approximate = gelu_cache\n'
      '    other = {"tanh": "none", "none": "tanh"}[approximate]\n'
      '    dh = ops.gelu.backward(da, ops.gelu.forward(x, other)[1])')),
    ("db_fc_before_gelu", "formula",
     "db_fc sums the gradient before GELU's derivative, where the one after it belongs",
     ("    return dx, dw_fc, db_fc",
      "    db_fc = None if db_fc is None else da.reshape(-1, da.shape[-1]).sum(axis=0)\n    return dx, dw_fc, db_fc")),
    ("dw_fc_before_gelu", "formula",
     "dw_fc takes the gradient before GELU's derivative, where the one after it belongs",
     ("    return dx, dw_fc, db_fc", "    dw_fc = ops.linear.backward(da, fc_cache)[1]\n    return dx, dw_fc, db_fc")),
    ("dw_proj_of_hidden", "formula",
     "dw_proj takes the hidden layer before GELU, where the one after it belongs",
     ("    return dx, dw_fc, db_fc",
      "    dw_proj = ops.linear.backward(dout, (gelu_cache[0], *proj_cache[1:]))[1]\n    return dx, dw_fc, db_fc")),
    ("b_proj_mean", "scale",
     "db_proj is the mean over the rows, where their sum belongs",
     ("    return dx, dw_fc, db_fc",
      "    db_proj = None if db_proj is None else db_proj / (dout.size // dout.shape[-1])\n"
      "    return dx, dw_fc, db_fc")),
    ("forward_default_gelu", "forward",
     "forward does not hand approximate on to GELU",
     ("ops.gelu.forward(h, approximate)", "ops.gelu.forward(h)")),
    ("forward_with_residual", "forward",
     "forward adds its input to the output: the residual path stands in the block",
     ("return out, (fc_cache, gelu_cache, proj_cache, ops)", "return out + x, (fc_cache, gelu_cache, proj_cache, ops)"),
     ("    return dx, dw_fc, db_fc", "    dx = dx + dout\n    return dx, dw_fc, db_fc")),
    ("forward_without_gelu", "forward",
     "forward has no GELU between its two products",
     ("a, gelu_cache = ops.gelu.forward(h, approximate)", "a, gelu_cache = h, None"),
     ("dh = ops.gelu.backward(da, gelu_cache)", "dh = da")),
)

BLOCK = _of(
    "block",
    ("attention_residual_forgotten", "term",
     "the residual path around attention is missing: dx is only what comes back through attention",
     "the residual path around attention",
     ("return dx + da, {", "return da, {")),
    ("mlp_residual_forgotten", "term",
     "the residual path around the MLP is missing: only what comes back through the MLP goes on",
     "the residual path around the MLP",
     ("dx = dout + dm", "dx = dm")),
    ("mlp_branch_forgotten", "term",
     "what comes back through the MLP is not added to the residual stream",
     "what comes back through the MLP",
     ("dx = dout + dm", "dx = dout")),
    ("attention_branch_forgotten", "term",
     "what comes back through attention is not added to the residual stream",
     "what comes back through attention",
     ("return dx + da, {", "return dx, {")),
    ("mlp_residual_twice", "term",
     "the residual path around the MLP is added twice",
     ("dx = dout + dm", "dx = dout + dout + dm")),
    ("stream_without_mlp", "term",
     "dout + da is returned, where dx + da belongs: what came back through the MLP is lost on its way to x",
     ("return dx + da, {", "return dout + da, {")),
    ("attention_residual_twice", "term",
     "the residual path around attention is added twice",
     ("return dx + da, {", "return dx + dx + da, {")),
    ("attention_from_dout", "term",
     "attention's branch starts from dout and misses what came back through the MLP",
     ("da = ops.dropout.backward(dx, drop_1)", "da = ops.dropout.backward(dout, drop_1)")),
    ("ln_1_skipped", "formula",
     "the gradient goes around ln_1: it does not pass through its backward",
     ('da, d["ln_1.weight"]', '_, d["ln_1.weight"]')),
    ("ln_2_skipped", "formula",
     "the gradient goes around ln_2: it does not pass through its backward",
     ('dm, d["ln_2.weight"]', '_, d["ln_2.weight"]')),
    ("layernorms_swapped", "layout",
     "the gradients of ln_1 and ln_2 stand in each other's place",
     ('d["ln_2.weight"], d["ln_2.bias"] =', 'd["ln_1.weight"], d["ln_1.bias"] ='),
     ('da, d["ln_1.weight"], d["ln_1.bias"] =', 'da, d["ln_2.weight"], d["ln_2.bias"] =')),
    ("mlp_dropout_skipped", "mask",
     "what goes back into the MLP does not pass through its dropout mask",
     ("dm = ops.dropout.backward(dout, drop_2)", "dm = dout")),
    ("attention_dropout_skipped", "mask",
     "what goes back into attention's projection does not pass through its dropout mask",
     ("da = ops.dropout.backward(dx, drop_1)", "da = dx")),
    ("forward_without_mlp_residual", "forward",
     "forward leaves the residual path around the MLP out",
     ("return x + m, (", "return m, ("), ("dx = dout + dm", "dx = dm")),
)

LM_HEAD_LOSS = _of(
    "lm_head_loss",
    ("dw_reshaped", "layout",
     "dw is the transpose of the right one, reshaped to fit",
     ("return dx, dw_transposed.T", "return dx, dw_transposed.reshape(dw_transposed.shape[::-1])")),
    ("dw_not_computed", "zero",
     "dw is zero: the head's half of the tied table's gradient is forgotten",
     ("return dx, dw_transposed.T", "return dx, dw_transposed.T * 0")),
    ("dout_forgotten", "scale",
     "dx and dw do not multiply by dout, the gradient from above",
     ("ops.cross_entropy.backward(dout, loss_cache)", "ops.cross_entropy.backward(dout * 0 + 1, loss_cache)")),
    ("dx_times_rows", "scale",
     "dx is multiplied by the number of rows",
     ("return dx, dw_transposed.T", "return dx * len(dx), dw_transposed.T")),
)
LM_HEAD_LOSS += _of(
    "lm_head_loss",
    ("last_chunk_only", "accumulation",
     "dw is overwritten chunk after chunk (=, where += belongs), so only the last one counts",
     ("rows: int | None = None", "rows: int | None = 2"),
     ("dw += dlogits.T", "dw = dlogits.T")),
    ("dout_not_in_dw", "scale",
     "dw, computed in forward, is not multiplied by dout in backward",
     ("return dx * dout, dw * dout", "return dx * dout, dw")),
    source="tinygpt.kernels.cuda.lm_head_loss",
)

_WTE = 'grads["wte.weight"] += ops.embedding.backward(dx, wte)'
MODEL = _of(
    "model",
    ("tied_head_forgotten", "term",
     "the gradient of wte lacks the head's half: the table is used twice",
     "the head's half of wte's gradient",
     ("        grads[self.head] += dw\n", "")),
    source="tinygpt.models.model",
)
MODEL += _of(
    "model",
    ("tied_embedding_forgotten", "term",
     "the gradient of wte lacks the embedding's half: the table is used twice",
     "the embedding's half of wte's gradient",
     (_WTE, "pass")),
    ("embedding_overwrites_head", "accumulation",
     "the embedding's half of wte's gradient overwrites the head's (=, where += belongs)",
     (_WTE, 'grads["wte.weight"][...] = ops.embedding.backward(dx, wte)')),
    ("blocks_overwrite", "accumulation",
     "the blocks' gradients overwrite what was accumulated before (=, where += belongs)",
     ('grads[f"h.{layer}.{name}"] += d', 'grads[f"h.{layer}.{name}"][...] = d')),
    ("positions_last_sequence", "accumulation",
     "wpe's gradient is that of the last sequence, where the sum over all of them belongs",
     ("dx.sum(axis=0), wpe", "dx[-1], wpe")),
    ("positions_mean", "scale",
     "wpe's gradient is the mean over the batch, where the sum belongs",
     ("dx.sum(axis=0), wpe", "dx.mean(axis=0), wpe")),
    ("blocks_in_forward_order", "layout",
     "backward goes through the blocks from the first to the last",
     ("for layer in reversed(range(self.config.n_layer)):", "for layer in range(self.config.n_layer):")),
    ("ln_f_skipped", "formula",
     "the gradient goes around ln_f: it does not pass through its backward",
     ("dx, dw, db = ops.layernorm.backward(dx, ln_f)", "_, dw, db = ops.layernorm.backward(dx, ln_f)")),
    ("embedding_dropout_skipped", "mask",
     "what reaches the embeddings does not pass through their dropout mask",
     ("dx = ops.dropout.backward(dx, drop)", "pass")),
    ("forward_without_positions", "forward",
     "forward does not add the position embeddings",
     ("ops.dropout.forward(tok_emb + pos_emb,", "ops.dropout.forward(tok_emb,"),
     ('grads["wpe.weight"] += ops.embedding.backward(dx.sum(axis=0), wpe)', "pass")),
)
# fmt: on

MUTANTS = [
    *EMBEDDING, *LINEAR, *LAYERNORM, *GELU, *SOFTMAX, *ATTENTION, *CROSS_ENTROPY, *DROPOUT, *MLP, *BLOCK, *LM_HEAD_LOSS,
    *MODEL,
]  # fmt: skip
