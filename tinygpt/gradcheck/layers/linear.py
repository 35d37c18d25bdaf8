"""Linear: what it is checked on, and the mistakes it is usually made with."""

from tinygpt.gradcheck.cases import Case, Draw

AXES = {"x": "BTI", "w": "IO"}
NAMES = {"forward": "x w b rows out", "backward": "dout cache x w has_bias rows drows db dw dx"}


def cases(draw: Draw) -> list[Case]:
    B, T, n_in, n_out = draw.sizes(4)
    w = draw.matrix(n_in, n_out)
    return [
        Case("", {"x": draw.array(B, T, n_in), "w": w, "b": draw.bias(n_out)}),
        Case("no bias", {"x": draw.array(B, T, n_in), "w": w, "b": None}),
        Case("one row, w a transposed view", {"x": draw.array(1, n_in), "w": draw.matrix(n_out, n_in).T, "b": None}),
    ]


# fmt: off
MISTAKES = [
    ("dx_reshaped", "layout", ("drows @ w.T", "drows @ w.reshape(w.shape[::-1])"),
     "dx multiplies by w reshaped to (O, I), where w transposed belongs"),
    ("dw_reshaped", "layout", ("rows.T @ drows", "(drows.T @ rows).reshape(w.shape)"),
     "dw is the transpose of the right one, reshaped to fit"),
    ("db_mean", "scale", ("drows.sum", "drows.mean"), "db is the mean over the rows, where their sum belongs"),
    ("dw_mean", "scale", ("rows.T @ drows", "rows.T @ drows / len(rows)"),
     "dw is divided by the number of rows, but the mean is taken in the loss already"),
    ("db_over_everything", "axis", ("drows.sum(axis=0)", "drows.sum(axis=0) * 0 + drows.sum()"),
     "db is summed over the outputs as well, so that every output gets the same number"),
    ("db_over_first_axis_only", "axis", ("drows.sum(axis=0)", "dout.sum(axis=0)"),
     "db is summed over the first axis only, so that it keeps the others"),
    ("db_last_row", "accumulation", ("drows.sum(axis=0)", "drows[-1]"),
     "db is overwritten row after row (=, where += belongs), so only the last row counts"),
    ("dw_last_sequence", "accumulation",
     ("rows.T @ drows", "x[-1].reshape(-1, len(w)).T @ dout[-1].reshape(-1, w.shape[1])"),
     "dw is overwritten sequence after sequence (=, where += belongs), so only the last one counts"),
    ("dw_with_weight_decay", "term", ("rows.T @ drows", "rows.T @ drows + 0.1 * w"),
     "dw has 0.1 w added to it, the gradient of an L2 penalty that is not in the loss"),
    ("dx_of_outer_sum", "formula", ("drows @ w.T", "drows.sum(axis=1, keepdims=True) * w.sum(axis=1)"),
     "dx multiplies by the sum of w over its outputs: the outputs' gradients were summed before the product"),
    ("db_not_computed", "zero", ("drows.sum(axis=0)", "drows.sum(axis=0) * 0"), "db is zero"),
    ("forward_without_bias", "forward", ("out = out + b", ""), ("drows.sum(axis=0)", "drows.sum(axis=0) * 0"),
     "forward leaves out the bias"),
    ("dw_of_x_reshaped", "layout", ("rows.T @ drows", "rows.reshape(rows.shape[::-1]) @ drows"),
     "dw takes x reshaped to (I, N), where the transpose of the rows (N, I) belongs"),
]
