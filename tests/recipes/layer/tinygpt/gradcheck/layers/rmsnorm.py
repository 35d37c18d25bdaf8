"""RMSNorm: what it is checked on, and the mistakes it is usually made with."""

from tinygpt.gradcheck.cases import Case, Draw

NAMES = {
    "forward": "x w eps xp rrms xhat",
    "backward": "dout cache xhat rrms w dw dxhat dx",
}


def cases(draw: Draw) -> list[Case]:
    B, T, C = draw.sizes(3, least=3)
    return [
        Case("", {"x": draw.array(B, T, C) * 2, "w": draw.gain(C)}),
        Case("two axes, large eps", {"x": draw.array(1, C), "w": draw.gain(C), "eps": 0.3}),
    ]


# fmt: off
MISTAKES = [
    ("mean_square_as_constant", "term",
     "dx takes the mean square for a constant: the term through it is missing",
     "in dx the term through the mean square",
     ("dxhat - xhat * (dxhat * xhat).mean(...)", "dxhat")),
    ("term_added", "sign",
     "the term through the mean square has the wrong sign in dx",
     ("dxhat - xhat * ...", "dxhat + xhat * ...")),
    ("gain_forgotten", "formula",
     "dx lacks the gain: dout stands where dout * w belongs",
     ("dxhat = dout * w", "dxhat = dout")),
    ("dw_without_xhat", "formula",
     "dw is the sum of dout, where the sum of dout * xhat belongs",
     ("(dout * xhat).sum", "dout.sum")),
]
# fmt: on
