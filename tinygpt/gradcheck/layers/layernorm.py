"""LayerNorm: what it is checked on, and the mistakes it is usually made with."""

from tinygpt.gradcheck.cases import Case, Draw

NAMES = {
    "forward": "x w b eps xp centred var rstd xhat out",
    "backward": "dout cache xhat rstd w has_bias rows db dw dxhat along dx",
}


def cases(draw: Draw) -> list[Case]:
    B, T, C = draw.sizes(3, least=3)  # of two channels, xhat is 1 and -1 whatever x is
    x = draw.array(B, T, C) * 2 + 1
    return [
        Case("", {"x": x, "w": draw.gain(C), "b": draw.bias(C)}),
        Case("no bias", {"x": x, "w": draw.gain(C), "b": None}),
        Case("two axes, large eps", {"x": draw.array(1, C), "w": draw.gain(C), "b": draw.bias(C), "eps": 0.3}),
    ]


# fmt: off
_DW = "dout * xhat"
_DX = "dx = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True) - xhat * along)"
MISTAKES = [
    ("mean_term_dropped", "term", (_DX, "dx = rstd * (dxhat - xhat * along)"),
     "dx lacks the term through the mean, - rstd * mean(dxhat)", "in dx the term through the mean"),
    ("variance_term_dropped", "term", (_DX, "dx = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True))"),
     "dx lacks the term through the variance, - rstd * xhat * mean(dxhat * xhat)",
     "in dx the term through the variance"),
    ("statistics_as_constants", "term", (_DX, "dx = rstd * dxhat"),
     "dx takes mean and variance for constants: both terms through them are missing"),
    ("variance_term_added", "sign", ("... - xhat * along", "... + xhat * along"),
     "the term through the variance has the wrong sign in dx"),
    ("mean_term_added", "sign", ("dxhat - dxhat.mean(...)", "dxhat + dxhat.mean(...)"),
     "the term through the mean has the wrong sign in dx"),
    ("rstd_squared", "formula", ("rstd * ...", "rstd * rstd * ..."), "dx has rstd squared, where rstd belongs"),
    ("std_for_rstd", "formula", ("dx = rstd * ...", "dx = (1 / rstd) * ..."),
     "dx is multiplied by the standard deviation, where dividing by it belongs"),
    ("rstd_forgotten", "formula", ("dx = rstd * ...", "dx = ..."), "dx lacks the factor rstd"),
    ("gain_forgotten", "formula", ("dout * w", "dout"), "dx lacks the gain: dout stands where dout * w belongs"),
    ("gain_forgotten_in_variance_term", "formula", ("dxhat * xhat", "dout * xhat"),
     "in dx the term through the variance takes dout, where dout * w belongs"),
    ("variance_term_summed", "scale", ("(dxhat * xhat).mean", "(dxhat * xhat).sum"),
     "in dx the term through the variance is C times what it should be: a sum, where a mean belongs"),
    ("mean_term_summed", "scale", ("dxhat.mean", "dxhat.sum"),
     "in dx the term through the mean is C times what it should be: a sum, where a mean belongs"),
    ("bessel_in_backward", "scale", ("(dxhat * xhat).mean(...)", "(dxhat * xhat).sum(...) / (xhat.shape[-1] - 1)"),
     "in dx the term through the variance is divided by C - 1, where forward divides by C"),
    ("mean_over_time", "axis", ("dxhat.mean(...)", "dxhat.mean(axis=-2, keepdims=True)"),
     "dx takes the mean of dxhat over time, where the mean over the channels belongs"),
    ("means_over_everything", "axis", ("dxhat.mean(...)", "dxhat.mean()"),
     ("(dxhat * xhat).mean(...)", "(dxhat * xhat).mean()"),
     "dx takes its two means over the whole array, where each vector has its own"),
    ("means_over_rows", "axis", ("dxhat.mean(...)", "dxhat.mean(axis=rows)"),
     ("(dxhat * xhat).mean(...)", "(dxhat * xhat).mean(axis=rows)"),
     "dx takes its two means over the rows, as BatchNorm does, where the channels belong"),
    ("gain_applied_last", "formula", ("dxhat = dout * w", "dxhat = dout"), ("dx = rstd * ...", "dx = w * rstd * ..."),
     "dx takes its means of dout and multiplies by w at the end, where dout * w belongs in the means"),
    ("dw_without_xhat", "formula", (_DW, "dout"), "dw is the sum of dout, where the sum of dout * xhat belongs"),
    ("dw_with_centred_input", "formula", (_DW, "dout * xhat / rstd"),
     "dw sums dout times the centred input: xhat's division by the standard deviation is missing"),
    ("dw_with_gain", "formula", (_DW, "dout * w * xhat"), "dw has an extra factor w: dxhat stands where dout belongs"),
    ("db_with_gain", "formula", ("dout.sum(...)", "(dout * w).sum(...)"),
     "db has an extra factor w: dxhat stands where dout belongs"),
    ("dw_mean", "scale", ("(dout * xhat).sum", "(dout * xhat).mean"),
     "dw is the mean over the rows, where their sum belongs"),
    ("db_mean", "scale", ("dout.sum", "dout.mean"), "db is the mean over the rows, where their sum belongs"),
    ("parameters_last_sequence", "accumulation", ("dout.sum(axis=rows)", "dout[-1].sum(axis=rows[:-1])"),
     ("(dout * xhat).sum(axis=rows)", "(dout * xhat)[-1].sum(axis=rows[:-1])"),
     "dw and db are overwritten sequence after sequence (=, where += belongs), so only the last one counts"),
    ("forward_rms", "forward", ("centred = x - x.mean(...)", "centred = x"),
     (_DX, "dx = rstd * (dxhat - xhat * along)"), "forward is RMSNorm: it does not take the mean away"),
    ("forward_bessel", "forward", ("(centred * centred).mean(...)", "(centred * centred).sum(...) / (x.shape[-1] - 1)"),
     ("(dxhat * xhat).mean(...)", "(dxhat * xhat).sum(...) / (xhat.shape[-1] - 1)"),
     "forward divides the variance by C - 1, where C belongs"),
    ("forward_eps_outside", "forward", ("xp.sqrt(var + eps)", "(xp.sqrt(var) + eps)"),
     ("(xhat, rstd, w, b is not None)", "(xhat, rstd, w, b is not None, eps)"),
     ("xhat, rstd, w, has_bias = cache", "xhat, rstd, w, has_bias, eps = cache"),
     (_DX, "dx = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True)) - xhat * along / (1 / rstd - eps)"),
     "forward adds eps to the standard deviation, where it belongs to the variance"),
    ("forward_without_eps", "forward", ("var + eps", "var"), "forward leaves out eps"),
    ("forward_zeros", "forward", ("return out, ...", "return out * 0, ..."),
     ("return dx, dw, db", "return dx * 0, dw * 0, None if db is None else db * 0"),
     "forward returns zeros, and so does backward"),
]
