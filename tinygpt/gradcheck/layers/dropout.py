"""Dropout: what it is checked on, and the mistakes it is usually made with."""

from tinygpt.gradcheck.cases import Case, Draw

NAMES = {"forward": "x p key row xp keep", "backward": "dout cache keep p"}


def cases(draw: Draw) -> list[Case]:
    B, T, C = draw.sizes(3, least=3)
    return [
        Case("p=0.3", {"x": draw.array(B, T, C), "p": 0.3, "key": 3, "row": 5}),
        Case("p=0", {"x": draw.array(B, T, C), "p": 0.0}),
    ]


# fmt: off
_KEPT = "dout * keep / (1 - p)"
MISTAKES = [
    ("scaled_twice", "scale", (_KEPT, "dout * keep / (1 - p) ** 2"), "dx is divided by 1 - p twice"),
    ("not_scaled", "scale", (_KEPT, "dout * keep"), "dx is not divided by 1 - p"),
    ("scaled_by_p", "scale", (_KEPT, "dout * keep / p"), "dx is divided by p, where 1 - p belongs"),
    ("mask_forgotten", "mask", (_KEPT, "dout / (1 - p)"), "dx has no mask: what was dropped has a gradient"),
    ("mask_inverted", "mask", (_KEPT, "dout * ~keep / (1 - p)"),
     "the mask is inverted: only what was dropped has a gradient"),
    ("passed_through", "mask", (_KEPT, "dout * 1"), "dx is dout, as if nothing had been dropped"),
    ("forward_not_scaled", "forward", ("x * keep / (1 - p)", "x * keep"), (_KEPT, "dout * keep"),
     "forward does not scale up what it keeps"),
    ("forward_scaled_by_p", "forward", ("x * keep / (1 - p)", "x * keep / p"), (_KEPT, "dout * keep / p"),
     "forward divides what it keeps by p, where 1 - p belongs"),
    ("forward_mask_inverted", "forward", ("... >= xp.uint32(...)", "... < xp.uint32(...)"),
     "forward keeps what should be dropped, and drops the rest"),
]
