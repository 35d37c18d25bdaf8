"""Several causal heads in one packed array, the third step to `attention`, which also drops weights."""

from tinygpt.backend import Array, array_module
from tinygpt.gradcheck.cases import Case, Draw
from tinygpt.gradcheck.steps.causal_head import CausalHead

AXES = {"qkv": ("B", "T", "3C")}
CAUSAL = True


class MultiHead:
    """Causal attention of several heads, packed: of each token all queries, then all keys, then all values."""

    @staticmethod
    def forward(qkv: Array, n_head: int) -> tuple[Array, tuple]:
        """out = each head's causal attention, side by side.

        qkv: (B, T, 3C), each C being n_head heads of D channels. Returns out: (B, T, C), cache.
        """
        B, T, width = qkv.shape
        C = width // 3
        q, k, v = qkv.reshape(B, T, 3, n_head, C // n_head).transpose(2, 0, 3, 1, 4)  # 3 x (B, H, T, D)
        out, head_cache = CausalHead.forward(q, k, v)  # (B, H, T, D)
        return out.transpose(0, 2, 1, 3).reshape(B, T, C), (n_head, head_cache)

    @staticmethod
    def backward(dout: Array, cache: tuple) -> Array:
        """dqkv: (B, T, 3C), packed as qkv.

        dout: (B, T, C).
        """
        n_head, head_cache = cache
        B, T, C = dout.shape
        dout = dout.reshape(B, T, n_head, C // n_head).transpose(0, 2, 1, 3)  # (B, H, T, D)
        dq, dk, dv = CausalHead.backward(dout, head_cache)
        dqkv = array_module(dq).stack((dq, dk, dv))  # (3, B, H, T, D)
        return dqkv.transpose(1, 3, 0, 2, 4).reshape(B, T, 3 * C)


DEFINITION = MultiHead


def cases(draw: Draw) -> list[Case]:
    H, D = draw.sizes(2, most=4)  # so C is 6, 8 or 12
    B, T = (5, 7) if draw.rng.random() < 0.5 else (7, 5)

    def given(H: int, B: int = B, T: int = T) -> dict:
        return {"qkv": draw.array(B, T, 3 * H * D), "n_head": H}

    return [Case("", given(H)), Case("one head", given(1)), Case("one token", given(H, 1, 1))]


# fmt: off
_SPLIT = "qkv.reshape(B, T, 3, n_head, C // n_head).transpose(2, 0, 3, 1, 4)"
_MERGED = "out.transpose(0, 2, 1, 3).reshape(B, T, C)"
_DOUT = "dout.reshape(B, T, n_head, C // n_head).transpose(0, 2, 1, 3)"
_PACKED = "dqkv.transpose(1, 3, 0, 2, 4)"
_BY_RESHAPE = "qkv.reshape(B, T, 3, C).transpose(2, 0, 1, 3).reshape(3, B, n_head, T, C // n_head)"
_BACK_BY_RESHAPE = "dqkv.reshape(3, B, T, C).transpose(1, 2, 0, 3)"
MISTAKES = [
    ("dout_split_wrongly", "layout", (_DOUT, "dout.reshape(B, n_head, T, C // n_head)"),
     "dout is reshaped to (B, H, T, D) without the transpose: head and time are swapped in it"),
    ("dout_interleaved", "layout", (_DOUT, "dout.reshape(B, T, C // n_head, n_head).transpose(0, 3, 1, 2)"),
     "of dout each head is given every H-th channel, where its D channels are neighbours"),
    ("packed_by_reshape", "layout", (_PACKED, "dqkv"),
     "dqkv is packed by reshape alone: (q/k/v, B, H, T, D) is first to be transposed to (B, T, q/k/v, H, D)"),
    ("packed_by_head", "layout", (_PACKED, "dqkv.transpose(1, 3, 2, 0, 4)"),
     "dqkv is packed as (head, q/k/v), where all of dq comes first, then all of dk, then all of dv"),
    ("packed_with_channels_outermost", "layout", (_PACKED, "dqkv.transpose(1, 3, 0, 4, 2)"),
     "dqkv is packed with each head's channels apart, where they are neighbours: (q/k/v, H, D), not (q/k/v, D, H)"),
    ("head_and_time_swapped", "layout", (_PACKED, "dqkv.transpose(1, 2, 0, 3, 4)"),
     "the heads are merged without bringing time to the front: head and time are swapped in dqkv"),
    ("packed_as_kqv", "layout", ("(dq, dk, dv)", "(dk, dq, dv)"),
     "dq and dk stand in each other's place"),
    ("packed_as_vkq", "layout", ("(dq, dk, dv)", "(dv, dk, dq)"),
     "dq and dv stand in each other's place"),
    ("packed_as_qvk", "layout", ("(dq, dk, dv)", "(dq, dv, dk)"),
     "dk and dv stand in each other's place"),
    ("queries_not_computed", "zero", ("(dq, dk, dv)", "(0 * dq, dk, dv)"), "dq is zero"),
    ("keys_not_computed", "zero", ("(dq, dk, dv)", "(dq, 0 * dk, dv)"), "dk is zero"),
    ("values_not_computed", "zero", ("(dq, dk, dv)", "(dq, dk, 0 * dv)"), "dv is zero"),
    ("forward_without_mask", "forward",
     ("out, head_cache = CausalHead.forward(q, k, v)",
      "from tinygpt.gradcheck.steps.head import Head\nout, head_cache = Head.forward(q, k, v)"),
     "forward has no causal mask"),
    ("forward_heads_interleaved", "forward",
     (_SPLIT, "qkv.reshape(B, T, 3, C // n_head, n_head).transpose(2, 0, 4, 1, 3)"),
     (_MERGED, "out.transpose(0, 2, 3, 1).reshape(B, T, C)"),
     (_DOUT, "dout.reshape(B, T, C // n_head, n_head).transpose(0, 3, 1, 2)"),
     (_PACKED, "dqkv.transpose(1, 3, 0, 4, 2)"),
     "forward gives each head every H-th channel, where neighbours belong together"),
    ("forward_split_interleaved", "forward",
     (_SPLIT, "qkv.reshape(B, T, 3, C // n_head, n_head).transpose(2, 0, 4, 1, 3)"),
     (_PACKED, "dqkv.transpose(1, 3, 0, 4, 2)"),
     "forward splits each C as (D, H), so that a head gets every H-th channel: it is (H, D), neighbours together"),
    ("forward_heads_split_by_reshape", "forward", (_SPLIT, _BY_RESHAPE),
     (f"{_PACKED}.reshape(B, T, 3 * C)", f"{_BACK_BY_RESHAPE}.reshape(B, T, 3 * C)"),
     "forward splits the heads by reshape alone: (B, T, H, D) comes first, and then the transpose to (B, H, T, D)"),
    ("forward_split_at_once", "forward", (_SPLIT, "qkv.reshape(3, B, n_head, T, C // n_head)"), (_PACKED, "dqkv"),
     "forward splits by one reshape to (3, B, H, T, D): (B, T, 3, H, D) comes first, and then the transpose"),
    ("forward_heads_merged_by_reshape", "forward", (_MERGED, "out.reshape(B, T, C)"),
     (_DOUT, "dout.reshape(B, n_head, T, C // n_head)"),
     "forward merges the heads by reshape alone, without the transpose to (B, T, H, D) before it"),
    ("forward_heads_by_reshape", "forward", (_SPLIT, _BY_RESHAPE), (_MERGED, "out.reshape(B, T, C)"),
     (_DOUT, "dout.reshape(B, n_head, T, C // n_head)"),
     (f"{_PACKED}.reshape(B, T, 3 * C)", f"{_BACK_BY_RESHAPE}.reshape(B, T, 3 * C)"),
     "forward splits and merges the heads by reshape alone: each needs the transpose of (B, T, H, D) and (B, H, T, D)"),
    ("forward_channels_by_head", "forward",
     (_SPLIT, "qkv.reshape(B, T, n_head, 3, C // n_head).transpose(3, 0, 2, 1, 4)"),
     (_PACKED, "dqkv.transpose(1, 3, 2, 0, 4)"),
     "forward splits the channels as (head, q/k/v), where all queries come first, then all keys, then all values"),
    ("forward_packed_as_kqv", "forward", ("q, k, v = ...", "k, q, v = ..."),
     ("(dq, dk, dv)", "(dk, dq, dv)"),
     "forward takes the channels for keys, queries, values: the queries come first"),
    ("forward_packed_as_vkq", "forward", ("q, k, v = ...", "v, k, q = ..."),
     ("(dq, dk, dv)", "(dv, dk, dq)"),
     "forward takes the channels for values, keys, queries: the queries come first"),
    ("forward_heads_in_reverse", "forward", ("out, head_cache = CausalHead.forward(q, k, v)",
      "out, head_cache = CausalHead.forward(q, k, v)\nout = out[:, ::-1]"),
     (_DOUT, f"{_DOUT}[:, ::-1]"),
     "forward puts the heads side by side in reverse: the first head's channels come first"),
]
