"""GELU: what it is checked on, and the mistakes it is usually made with."""

from tinygpt.gradcheck.cases import Case, Draw

NAMES = {"forward": "x approximate xp phi", "backward": "dout cache x phi approximate du density"}
REFUSED = "approximate", "sigmoid"


def cases(draw: Draw) -> list[Case]:
    B, T, C = draw.sizes(3)
    x = draw.product(B, T, C, fan_in=C) * 2
    return [Case("tanh", {"x": x, "approximate": "tanh"}), Case("exact", {"x": x, "approximate": "none"})]


# fmt: off
_TERMS = "phi + x * density"
MISTAKES = [
    ("inner_derivative_missing", "formula", ("2 * phi * (1 - phi) * du", "2 * phi * (1 - phi)"),
     "the chain rule stops short: tanh' is there, the derivative of what is inside tanh is not"),
    ("cube_without_three", "formula", ("3 * 0.044715", "0.044715"), "the derivative of x^3 lacks its 3"),
    ("tanh_derivative_not_squared", "formula", ("2 * phi * (1 - phi) * du", "(1 - phi) * du"),
     "tanh' is taken as 1 - tanh, where 1 - tanh^2 belongs"),
    ("density_exponent", "formula", ("-0.5 * x * x", "-x * x"),
     "the normal density has exp(-x^2), where exp(-x^2 / 2) belongs"),
    ("density_not_normalised", "scale", ("SQRT_2_OVER_PI / 2", "SQRT_2_OVER_PI"),
     "the normal density in x * density is twice as large as it should be"),
    ("tanh_with_exact_density", "formula",
     ("2 * phi * (1 - phi) * du", "array_module(x).exp(-x * x / 2) * (SQRT_2_OVER_PI / 2)"),
     "the tanh form's Phi' is that of the exact form, the normal density"),
    ("product_rule_first_half", "term", (_TERMS, "phi"),
     "the product rule lacks its second term, x * Phi'", "in dx the term x * Phi'"),
    ("product_rule_second_half", "term", (_TERMS, "x * density"),
     "the product rule lacks its first term, Phi", "in dx the term Phi"),
    ("density_without_x", "formula", (_TERMS, "phi + density"),
     "the product rule's second term is Phi', where x * Phi' belongs"),
    ("derivative_of_relu", "formula", (_TERMS, "x > 0"), "dx is that of ReLU: dout where x is positive, 0 elsewhere"),
    ("passed_through", "formula", (_TERMS, "phi * 0 + 1"), "dx is dout: there is no derivative in it"),
    ("dout_forgotten", "formula", ("dout * ...", "..."), "dx is GELU's derivative alone: it is not multiplied by dout"),
    ("square_forgotten", "formula", ("3 * 0.044715 * x * x", "3 * 0.044715 * x"),
     "the derivative of x^3 has x, where x^2 belongs"),
    ("forward_erf_unscaled", "forward", ("erf(x * SQRT_HALF)", "erf(x)"), ("-0.5 * x * x", "-x * x"),
     ("SQRT_2_OVER_PI / 2", "2 * SQRT_HALF * SQRT_2_OVER_PI / 2"),
     "forward takes erf(x), where erf(x / sqrt(2)) belongs"),
    ("forward_always_tanh", "forward", ("phi = 0.5 * (1 + erf(...))", 'return forward(x, "tanh")'),
     "forward computes the tanh form where the exact one is asked for"),
    ("forward_sigmoid", "forward", ("xp.tanh(...)", "xp.tanh(0.851 * x)"), ("du = ...", "du = 0.851"),
     "forward is the sigmoid approximation, x * sigmoid(1.702 x)"),
    ("forward_always_exact", "forward", ("phi = 0.5 * (1 + xp.tanh(...))", 'return forward(x, "none")'),
     "forward computes the exact form where the tanh form is asked for"),
    ("forward_relu", "forward", ("return x * phi, ...", "phi = x > 0\nreturn x * phi, ..."), (_TERMS, "phi"),
     "forward is ReLU"),
    ("derivative_at_the_output", "formula", ("x, phi, approximate = cache",
      "x, phi, approximate = cache\nx, phi, approximate = forward(x * phi, approximate)[1]"),
     "GELU's derivative is taken at its output, where its input belongs: the cache holds out for x"),
    ("forward_root_of_two_pi", "forward", ("xp.tanh(SQRT_2_OVER_PI * ...)", "xp.tanh(2 / SQRT_2_OVER_PI * ...)"),
     ("du = SQRT_2_OVER_PI * ...", "du = 2 / SQRT_2_OVER_PI * ..."),
     "forward has sqrt(2 pi) in the tanh form, where sqrt(2 / pi) belongs"),
    ("forward_square_for_cube", "forward", ("0.044715 * x * x * x", "0.044715 * x * x"),
     ("3 * 0.044715 * x * x", "2 * 0.044715 * x"), "forward has x**2 in the tanh form, where x**3 belongs"),
    ("exact_with_tanh_derivative", "formula", ("density = array_module(x).exp(-0.5 * x * x) * (SQRT_2_OVER_PI / 2)",
      "density = 2 * phi * (1 - phi) * (SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x))"),
     "the exact form's Phi' is the tanh form's, 2 Phi (1 - Phi) u', where the normal density belongs"),
    ("forward_root_outside_the_brackets", "forward",
     ("SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)", "(SQRT_2_OVER_PI * x + 0.044715 * x * x * x)"),
     ("du = SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x)", "du = SQRT_2_OVER_PI + 3 * 0.044715 * x * x"),
     "forward multiplies x alone by sqrt(2 / pi), where x + 0.044715 x**3 belongs in brackets"),
    ("square_of_phi_for_tanh", "formula", ("2 * phi * (1 - phi) * du", "0.5 * (1 - phi * phi) * du"),
     "tanh' is taken as 1 - Phi^2, where 1 - tanh^2 belongs, and tanh(u) is 2 Phi - 1"),
    ("forward_forms_exchanged", "forward",
     ("phi = 0.5 * (1 + erf(x * SQRT_HALF))",
      "phi = 0.5 * (1 + array_module(x).tanh(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)))"),
     ("phi = 0.5 * (1 + xp.tanh(...))", "phi = 0.5 * (1 + erf(x * SQRT_HALF))"),
     ("density = array_module(x).exp(-0.5 * x * x) * (SQRT_2_OVER_PI / 2)",
      "density = 2 * phi * (1 - phi) * (SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x))"),
     ("density = 2 * phi * (1 - phi) * du", "density = array_module(x).exp(-0.5 * x * x) * (SQRT_2_OVER_PI / 2)"),
     "forward's two forms are exchanged: it computes the exact one for tanh, and the tanh form for none"),
]
