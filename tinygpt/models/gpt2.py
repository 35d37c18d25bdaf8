# mypy: disable-error-code="misc"
"""GPT-2, on one page: token and position embeddings, a stack of blocks, a last LayerNorm, and a head tied to the
embeddings, with nanoGPT's initialisation.

Radford et al., "Language Models are Unsupervised Multitask Learners", 2019. Forward reads from top to bottom, backward
is the same lines from bottom to top.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from tinygpt.backend import Array, device_module, fold_in
from tinygpt.errors import UserError, brief
from tinygpt.layers import attention, cross_entropy, dropout, embedding, gelu, layernorm, linear, softmax
from tinygpt.layers.dropout import AFTER_ATTENTION, AFTER_MLP, ATTENTION
from tinygpt.models.model import KeyValueCache, Model
from tinygpt.models.pretrained import DROPOUTS, Understood, understood_config
from tinygpt.parameters import Finishing
from tinygpt.random import generator
from tinygpt.recompute import Recomputed
from tinygpt.tensors import Stored
from tinygpt.values import plain, whole_number

GELUS = {"gelu_new": "tanh", "gelu": "none"}  # Hugging Face's names, and the layer's
GPT2_SIZES = {  # name: n_layer, n_head, n_embd
    "gpt2": (12, 12, 768),  # 124,439,808 parameters
    "gpt2-medium": (24, 16, 1024),  # 354,823,168
    "gpt2-large": (36, 20, 1280),  # 774,030,080
    "gpt2-xl": (48, 25, 1600),  # 1,557,611,200
}
LAYERS = 10_000  # at most; ten times the deepest transformers (Wang et al., 2022, arXiv:2203.00555)
FLOAT32_MAX = float(np.finfo(np.float32).max)


class Leaves(Protocol):
    """The leaves that this page computes with, by name: here their definitions, in a table whatever takes their place.
    Softmax serves in sampling alone; attention has its own inside. (A module has no type that could be written down,
    hence the first line of this file.)
    """

    embedding = embedding
    linear = linear
    layernorm = layernorm
    gelu = gelu
    softmax = softmax
    attention = attention
    cross_entropy = cross_entropy
    dropout = dropout


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. The defaults are GPT-2's smallest, 124,439,808 parameters. Raises UserError, naming the
    field, for a value that no model can have.
    """

    block_size: int = 1024  # the longest sequence, in tokens
    vocab_size: int = 50257
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.0
    bias: bool = True  # biases in linear layers and LayerNorms
    activation_function: str = "gelu_new"  # or "gelu", the exact one
    layer_norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        number = int | float | np.floating
        whole = int | np.integer, lambda n: n >= 1, "a whole number of at least 1"
        rules: dict[str, tuple] = dict.fromkeys(("block_size", "vocab_size", "n_head", "n_embd"), whole) | {
            "n_layer": (whole[0], lambda n: 1 <= n <= LAYERS, f"{whole[2]} and at most {LAYERS:,}"),
            "dropout": (number, lambda p: 0 <= p < 1, "a probability, at least 0 and below 1"),
            "layer_norm_epsilon": (number, lambda eps: 0 < eps < FLOAT32_MAX, "a finite number above 0"),
            "bias": (bool | np.bool_, lambda _: True, "True or False"),
            "activation_function": (str, GELUS.__contains__, "gelu_new (tanh) or gelu (exact)"),
        }
        for name, (types, allowed, expected) in rules.items():
            value, kind = plain(getattr(self, name)), type(getattr(type(self), name))  # the type of its default
            if not isinstance(value, types) or (isinstance(value, bool) and kind is not bool) or not allowed(value):
                raise UserError(f"{name} is {brief(value)}; expected {expected}")
            object.__setattr__(self, name, kind(value))  # NumPy's numbers would follow the model into files and dtypes
        n = self.n_embd * (self.vocab_size + self.block_size + 12 * self.n_layer * self.n_embd)
        if n > 10**13:
            about = f"{Decimal(n):.0e}"  # a float may be too small for it
            raise UserError(f"that makes about {about} parameters, more than any machine holds; choose smaller sizes")
        if self.n_embd % self.n_head != 0:
            multiple = brief(-(-self.n_embd // self.n_head) * self.n_head)
            raise UserError(
                f"n_embd is {self.n_embd} and n_head is {brief(self.n_head)}, but every head takes an equal share of "
                f"the channels; make n_embd a multiple of n_head, such as {multiple}"
            )

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "GPTConfig":
        """The configuration of one of OpenAI's models: gpt2, gpt2-medium, gpt2-large or gpt2-xl."""
        if not isinstance(name, str) or name not in GPT2_SIZES:
            raise UserError(f"there is no model preset {brief(name)}; expected one of {', '.join(GPT2_SIZES)}")
        n_layer, n_head, n_embd = GPT2_SIZES[name]
        return cls(**{"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd} | overrides)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every parameter's name and shape, in the order data flows: a Hugging Face GPT-2 checkpoint's."""
        V, T, C = self.vocab_size, self.block_size, self.n_embd
        shapes: dict[str, tuple[int, ...]] = {"wte.weight": (V, C), "wpe.weight": (T, C)}
        block = {
            "ln_1": (C,), "attn.c_attn": (C, 3 * C), "attn.c_proj": (C, C),
            "ln_2": (C,), "mlp.c_fc": (C, 4 * C), "mlp.c_proj": (4 * C, C),
        }  # fmt: skip
        layers = {f"h.{layer}.{name}": shape for layer in range(self.n_layer) for name, shape in block.items()}
        for name, shape in {**layers, "ln_f": (C,)}.items():
            shapes[f"{name}.weight"] = shape
            if self.bias:
                shapes[f"{name}.bias"] = shape[-1:]
        return shapes

    @property
    def n_params(self) -> int:
        """The number of parameters; the head is tied to `wte` and counts once."""
        return sum(prod(shape) for shape in self.shapes().values())

    def to_pretrained(self, bos_token_id: int | None = None, eos_token_id: int | None = None) -> dict[str, Any]:
        """What Hugging Face's config.json says of this model. The tokens that begin and end a text are null where there
        are none, for they would be GPT-2's if nothing were said.
        """
        ends = {"bos_token_id": bos_token_id, "eos_token_id": eos_token_id}
        for name, token in ends.items():
            ends[name] = None if token is None else whole_number(token, name, 0, self.vocab_size - 1)
        ours = asdict(self)
        n_positions, dropout = ours.pop("block_size"), ours.pop("dropout")
        fixed = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "tie_word_embeddings": True}
        return fixed | ours | {"n_positions": n_positions} | dict.fromkeys(DROPOUTS, dropout) | ends

    @classmethod
    def from_pretrained(cls, settings: Mapping[str, Any], source: Path) -> "GPTConfig":
        """The configuration that a config.json, read from `source`, stands for; see `understood_config`. Raises
        UserError for a model that is not GPT-2's architecture.
        """
        fields = understood_config(settings, source)
        try:
            config = cls(**fields)
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
        if (n_inner := settings.get("n_inner")) not in (None, 4 * config.n_embd):
            raise UserError(f"{source} has n_inner = {brief(n_inner)}; this library computes only 4 * n_embd")
        return config


# What the page makes of leaves. Each has a layer's two functions; `ops` is the table of leaves to use.


class MLP:
    """The block's multilayer perceptron: out to four times the width, GELU, and back."""

    @staticmethod
    def forward(
        x: Array, w_fc: Array, b_fc: Array | None, w_proj: Array, b_proj: Array | None,
        approximate: str = "tanh", *, ops: Leaves,
    ) -> tuple[Array, tuple]:  # fmt: skip
        """out = gelu(x @ w_fc + b_fc) @ w_proj + b_proj.

        x: (B, T, C); w_fc: (C, 4C); b_fc: (4C,) or None; w_proj: (4C, C); b_proj: (C,) or None; approximate: which GELU
        (see gelu); ops: the table of layers to use. Returns out: (B, T, C), cache.
        """
        h, fc_cache = ops.linear.forward(x, w_fc, b_fc)  # (B, T, C) -> (B, T, 4C)
        a, gelu_cache = ops.gelu.forward(h, approximate)  # (B, T, 4C)
        out, proj_cache = ops.linear.forward(a, w_proj, b_proj)  # (B, T, 4C) -> (B, T, C)
        return out, (fc_cache, gelu_cache, proj_cache, ops)

    @staticmethod
    def backward(dout: Array, cache: tuple) -> tuple[Array, Array, Array | None, Array, Array | None]:
        """dx: (B, T, C), dw_fc, db_fc, dw_proj, db_proj. dout: (B, T, C)."""
        fc_cache, gelu_cache, proj_cache, ops = cache
        da, dw_proj, db_proj = ops.linear.backward(dout, proj_cache)  # (B, T, C) -> (B, T, 4C)
        dh = ops.gelu.backward(da, gelu_cache)  # (B, T, 4C)
        dx, dw_fc, db_fc = ops.linear.backward(dh, fc_cache)  # (B, T, 4C) -> (B, T, C)
        return dx, dw_fc, db_fc, dw_proj, db_proj


class BlockLeaves(Leaves, Protocol):
    """What a block is made of: the leaves, and the MLP."""

    mlp = MLP


class BlockOps:
    """What a block is made of: a table of leaves, and an MLP beside them; the page's, if the table has none."""

    def __init__(self, leaves: Any, mlp: Any = None):
        self.leaves, self.mlp = leaves, mlp or getattr(leaves, "mlp", MLP)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "leaves"), name)

    def replace(self, mlp: Any = None, **leaves: Any) -> "BlockOps":
        """A copy with some entries exchanged."""
        return BlockOps(self.leaves.replace(**leaves), mlp or self.mlp)


class Block:
    """The transformer block: attention and MLP, each behind a LayerNorm and added to the residual stream (pre-norm).
    Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (GPT-2), section 2.3.
    """

    @staticmethod
    def forward(
        x: Array, params: Mapping[str, Array], n_head: int, approximate: str = "tanh", eps: float = 1e-5,
        dropout: float = 0.0, key: int = 0, row: int = 0, *, ops: BlockLeaves,
    ) -> tuple[Array, tuple]:  # fmt: skip
        """x = x + attention(ln_1(x)); out = x + mlp(ln_2(x)).

        x: (B, T, C); params: the block's arrays by GPT-2's names, `ln_1.weight` to `mlp.c_proj.bias`, the biases left
        out of a model without them; n_head, approximate, eps: see attention, gelu, layernorm; dropout, key, row: see
        dropout; ops: the table of layers to use. Returns out: (B, T, C), cache.
        """
        ops, get = BlockOps(ops), params.get  # None for a bias that the model does without
        a, ln_1 = ops.layernorm.forward(x, params["ln_1.weight"], get("ln_1.bias"), eps)
        qkv, c_attn = ops.linear.forward(a, params["attn.c_attn.weight"], get("attn.c_attn.bias"))  # -> (B, T, 3C)
        a, attention = ops.attention.forward(qkv, n_head, dropout, fold_in(key, ATTENTION), row)  # -> (B, T, C)
        a, c_proj = ops.linear.forward(a, params["attn.c_proj.weight"], get("attn.c_proj.bias"))
        a, drop_1 = ops.dropout.forward(a, dropout, fold_in(key, AFTER_ATTENTION), row)
        x = x + a
        m, ln_2 = ops.layernorm.forward(x, params["ln_2.weight"], get("ln_2.bias"), eps)
        m, mlp = ops.mlp.forward(
            m, params["mlp.c_fc.weight"], get("mlp.c_fc.bias"), params["mlp.c_proj.weight"], get("mlp.c_proj.bias"),
            approximate, ops=ops,
        )  # fmt: skip
        m, drop_2 = ops.dropout.forward(m, dropout, fold_in(key, AFTER_MLP), row)
        return x + m, (ln_1, c_attn, attention, c_proj, drop_1, ln_2, mlp, drop_2, ops)

    @staticmethod
    def backward(dout: Array, cache: tuple) -> tuple[Array, dict[str, Array]]:
        """dx: (B, T, C), and the gradients of params by the same names.

        dout: (B, T, C). Each `x + f(x)` passes its gradient on unchanged and adds f's: why depth does not starve it.
        """
        ln_1, c_attn, attention, c_proj, drop_1, ln_2, mlp, drop_2, ops = cache
        d: dict[str, Array | None] = {}
        dm = ops.dropout.backward(dout, drop_2)
        dm, d["mlp.c_fc.weight"], d["mlp.c_fc.bias"], d["mlp.c_proj.weight"], d["mlp.c_proj.bias"] = ops.mlp.backward(
            dm, mlp
        )
        dm, d["ln_2.weight"], d["ln_2.bias"] = ops.layernorm.backward(dm, ln_2)
        dx = dout + dm
        da = ops.dropout.backward(dx, drop_1)
        da, d["attn.c_proj.weight"], d["attn.c_proj.bias"] = ops.linear.backward(da, c_proj)
        dqkv = ops.attention.backward(da, attention)  # (B, T, C) -> (B, T, 3C)
        da, d["attn.c_attn.weight"], d["attn.c_attn.bias"] = ops.linear.backward(dqkv, c_attn)  # -> (B, T, C)
        da, d["ln_1.weight"], d["ln_1.bias"] = ops.layernorm.backward(da, ln_1)
        return dx + da, {name: gradient for name, gradient in d.items() if gradient is not None}

    @staticmethod
    def decode(
        x: Array, params: Mapping[str, Array], keys: Array, values: Array, start: int, n_head: int,
        approximate: str = "tanh", eps: float = 1e-5, *, ops: BlockLeaves,
    ) -> Array:  # fmt: skip
        """forward of the t positions from `start` on, in the light of all before; for generating, with no backward.

        x: (B, t, C); keys, values: (B, H, S, D), of the first `start` positions, which take in the new ones here.
        Returns out: (B, t, C).
        """
        ops, get, end = BlockOps(ops), params.get, start + x.shape[1]
        a, _ = ops.layernorm.forward(x, params["ln_1.weight"], get("ln_1.bias"), eps)
        qkv, _ = ops.linear.forward(a, params["attn.c_attn.weight"], get("attn.c_attn.bias"))  # -> (B, t, 3C)
        q, keys[:, :, start:end], values[:, :, start:end] = attention.split_heads(qkv, n_head)  # each (B, H, t, D)
        decode = getattr(ops.attention, "decode", attention.decode)  # what stands in for attention may have none
        a = decode(q, keys[:, :, :end], values[:, :, :end])  # -> (B, t, C)
        a, _ = ops.linear.forward(a, params["attn.c_proj.weight"], get("attn.c_proj.bias"))
        x = x + a
        m, _ = ops.layernorm.forward(x, params["ln_2.weight"], get("ln_2.bias"), eps)
        m, _ = ops.mlp.forward(
            m, params["mlp.c_fc.weight"], get("mlp.c_fc.bias"), params["mlp.c_proj.weight"], get("mlp.c_proj.bias"),
            approximate, ops=ops,
        )  # fmt: skip
        return x + m


class LMHeadLoss:
    """The head and its loss: the hidden state times the token embeddings' transpose, into cross-entropy."""

    @staticmethod
    def forward(
        x: Array, w: Array, targets: Array, denominator: Array | float | None = None, need_grad: bool = True,
        *, ops: Leaves,
    ) -> tuple[Array, tuple]:  # fmt: skip
        """loss = cross_entropy(x @ w.T, targets, denominator).

        x: (N, C); w: (V, C), the tied token embeddings; targets: (N,) and denominator: see cross_entropy; need_grad:
        False if backward will not be called, which this definition ignores and its fused twins use; ops: the table of
        layers to use. Returns loss: (), cache.
        """
        logits, linear_cache = ops.linear.forward(x, w.T, None)  # (N, C) @ (C, V) -> (N, V)
        loss, loss_cache = ops.cross_entropy.forward(logits, targets, denominator)
        return loss, (linear_cache, loss_cache, ops)

    @staticmethod
    def backward(dout: Array, cache: tuple) -> tuple[Array, Array]:
        """dx: (N, C), dw: (V, C). dout: ()."""
        linear_cache, loss_cache, ops = cache
        dlogits = ops.cross_entropy.backward(dout, loss_cache)  # (N, V)
        dx, dw_transposed, _ = ops.linear.backward(dlogits, linear_cache)  # (N, V) -> (N, C), (C, V)
        return dx, dw_transposed.T


class GPT(Model):
    """A GPT with its parameters on a device. See `Model` for what it does."""

    config: GPTConfig
    ops: Leaves
    block: Any = Block  # what the page makes of leaves; a reader's own takes its place here
    mlp: Any = MLP
    recompute: str = "none"  # what backward computes again, of RECOMPUTE: less is kept, the gradients are the same
    lm_head_loss: Any = LMHeadLoss
    config_class = GPTConfig
    sizes = GPT2_SIZES
    head = "wte.weight"  # tied to the token embeddings
    layer_prefix = "h.{}."

    def initialise(self, seed: int) -> None:
        """nanoGPT's: weights normal with standard deviation 0.02, smaller by sqrt(2 * n_layer) for the projections back
        into the residual stream (`c_proj`); biases 0, LayerNorm weights 1; the same on every device, in either dtype.
        """
        rng = generator(seed, "initialisation")
        for name, shape in self.config.shapes().items():
            if len(shape) == 2:
                std = 0.02 / math.sqrt(2 * self.config.n_layer) if name.endswith("c_proj.weight") else 0.02
                self.params[name] = rng.standard_normal(shape, dtype=np.float32) * np.float32(std)
            elif name.endswith(".weight"):
                self.params[name] = np.ones(shape, dtype=np.float32)

    def hidden(
        self, idx: Array, dropout: float = 0.0, key: int = 0, row: int = 0, need_grad: bool = True,
        params: Mapping[str, Array] | None = None,
    ) -> tuple[Array, tuple]:  # fmt: skip
        """The final hidden state, (B, T) -> (B, T, C), and the caches of everything on the way. params: what
        `computing` returned, if not the model's own.
        """
        config, ops, params = self.config, self.ops, self.computing() if params is None else params
        layers = self.layers(params)
        approximate, eps = GELUS[config.activation_function], config.layer_norm_epsilon
        positions = device_module(self.device).arange(idx.shape[1])
        tok_emb, wte = ops.embedding.forward(idx, params["wte.weight"])  # (B, T) -> (B, T, C)
        pos_emb, wpe = ops.embedding.forward(positions, params["wpe.weight"])  # (T,) -> (T, C)
        x, drop = ops.dropout.forward(tok_emb + pos_emb, dropout, fold_in(key, config.n_layer), row)
        if (stack := self.fused_stack) is not None:
            x, blocks = stack.forward(
                x, layers, params["ln_f.weight"], params.get("ln_f.bias"), config.n_head, approximate, eps,
                dropout, key, row, need_grad, self.recompute, ops=ops,
            )  # fmt: skip
            return x, (wte, wpe, drop, (stack, blocks), None)
        ops = BlockOps(ops if self._blocks_are_ours else Finishing(ops), self.mlp)
        block, blocks = Recomputed(self.block) if self.recompute == "blocks" else self.block, []
        for layer in range(config.n_layer):
            x, cache = block.forward(
                x, layers[layer], config.n_head, approximate, eps, dropout, fold_in(key, layer), row,
                ops=ops,
            )  # fmt: skip
            if need_grad:
                blocks.append(cache)
        x, ln_f = ops.layernorm.forward(x, params["ln_f.weight"], params.get("ln_f.bias"), eps)
        return x, (wte, wpe, drop, blocks, (block, ln_f))

    @property
    def fused_stack(self) -> Any:
        """What computes all blocks and ln_f at once, where a device has it and all that it stands for is ours."""
        table: Any = self.ops
        return table.fused("stack") if self._blocks_are_ours else None

    @property
    def _blocks_are_ours(self) -> bool:
        return self.block is Block and self.mlp is MLP

    def hidden_backward(self, dx: Array, cache: tuple, grads: Any) -> None:
        """Add the gradients of every parameter, but for the head's, into `grads`. dx: (B*T, C) or (B, T, C)."""
        wte, wpe, drop, blocks, rest = cache
        ops = self.ops
        dx = dx.reshape(*wte[0].shape, self.config.n_embd)  # (B*T, C) -> (B, T, C)
        if rest is None:
            stack, blocks = blocks
            dx = stack.backward(dx, blocks, grads.add_all)
        else:
            block, ln_f = rest
            dx, dw, db = ops.layernorm.backward(dx, ln_f)
            grads["ln_f.weight"] += dw
            if db is not None:
                grads["ln_f.bias"] += db
            for layer in reversed(range(self.config.n_layer)):
                dx, dparams = block.backward(dx, blocks[layer])
                for name, d in dparams.items():
                    grads[f"h.{layer}.{name}"] += d
        dx = ops.dropout.backward(dx, drop)
        dpos = dx.sum(axis=0, dtype=self.precision.accumulation)
        grads["wpe.weight"] += ops.embedding.backward(dpos, wpe)  # one position serves all B rows
        grads["wte.weight"] += ops.embedding.backward(dx, wte)  # added to the head's part: the weights are tied

    def decode(self, idx: Array, start: int, memory: KeyValueCache, params: Mapping[str, Array] | None = None) -> Array:
        """`hidden` of t tokens from `start` on, (B, t) -> (B, t, C); `memory` has those before and takes these in."""
        config, ops, params = self.config, self.ops, self.computing() if params is None else params
        layers = self.layers(params)
        approximate, eps = GELUS[config.activation_function], config.layer_norm_epsilon
        positions = device_module(self.device).arange(start, start + idx.shape[1])
        tok_emb, _ = ops.embedding.forward(idx, params["wte.weight"])
        pos_emb, _ = ops.embedding.forward(positions, params["wpe.weight"])
        x = tok_emb + pos_emb
        if (stack := self.fused_stack) is not None and stack.decodes(x, layers, *memory):
            return stack.decode(
                x, layers, params["ln_f.weight"], params.get("ln_f.bias"), *memory, start, config.n_head,
                approximate, eps,
            )  # fmt: skip
        for layer in range(config.n_layer):
            x = self.block.decode(
                x, layers[layer], memory.keys[layer], memory.values[layer], start, config.n_head,
                approximate, eps, ops=BlockOps(ops, self.mlp),
            )  # fmt: skip
        x, _ = ops.layernorm.forward(x, params["ln_f.weight"], params.get("ln_f.bias"), eps)
        return x

    # Files: a saved model is a Hugging Face checkpoint, with GPT-2's own names and orientation

    def pretrained_tensors(self) -> dict[str, np.ndarray]:
        """The parameters as a file is to hold them. A model without biases gets biases of zero, which every reader of
        GPT-2 knows; `"bias": false` in its config tells `understand_tensors` to leave them out again.
        """
        tensors = self.params.on_host()
        if not self.config.bias:
            for name, weight in list(tensors.items()):
                if name.startswith(("h.", "ln_f.")):
                    tensors[name.removesuffix("weight") + "bias"] = np.zeros(weight.shape[-1], weight.dtype)
        return tensors

    def understand_tensors(self, stored: Stored, source: Path) -> Understood:
        """The parameters by name, of what the weights file `source` holds, none of them read yet. Raises UserError for
        names and shapes that are not this model's.
        """
        return Understood(stored, replace(self.config, bias=True).shapes(), source)

    def check_left_out(self, understood: Understood, source: Path) -> None:
        """Leave out what this model does without. Raises UserError for biases where none may be, and for other masks
        than its own.
        """
        understood.check_masks(self.config.block_size)
        if not self.config.bias:
            understood.without_biases(source.with_name("config.json"))

    def cropped(self, block_size: int) -> "GPT":
        """This model with a shorter context: it keeps the first `block_size` of the position embeddings. Raises
        UserError for a context that is longer.
        """
        block_size = whole_number(block_size, "block_size", 1, self.config.block_size)
        config = replace(self.config, block_size=block_size)
        shorter = type(self)(config, self.device, self.precision.computation, None, self.ops, self.parts)
        for name, array in self.params.items():
            shorter.params[name] = array[:block_size] if name == "wpe.weight" else array
        shorter.drawable = self.drawable
        return shorter


class Cost(NamedTuple):
    """One layer of the model. FLOPs are a forward pass's, for a token of a full context; activations are what is kept
    for backward, in array elements for one token.
    """

    name: str
    params: int
    flops: int
    activations: int


def costs(config: GPTConfig, fused: bool = False, recompute: str = "none") -> list[Cost]:
    """All layers' costs, those of a block's times n_layer; FLOPs of matrix products, 2 for each multiply and add.

    fused: the activations that a card's kernels keep, in place of the definitions': of attention's weights each row's
    highest score and sum of exps, for they are computed again, of GELU x alone, of LayerNorm x in place of xhat.
    recompute: what more is computed again, of RECOMPUTE. The FLOPs are not in the table, nor what a block that is
    computed again holds meanwhile.
    """
    L, H, T, b = config.n_layer, config.n_head, config.block_size, int(config.bias)
    C, V = config.n_embd, config.vocab_size
    norm = C if fused else C + 1  # x; or xhat, rstd
    weights = 2 * H if fused else H * T
    gelu = 4 * C if fused else 2 * 4 * C  # x; or x and Phi(x)
    a = 0 if fused and recompute == "gelu" else 4 * C
    rows = [
        Cost("wte", V * C, 0, 0),
        Cost("wpe", T * C, 0, 0),
        Cost("ln_1", L * (1 + b) * C, 0, L * norm),
        Cost("attn.c_attn", L * (3 * C + b * 3) * C, L * 2 * C * 3 * C, L * C),  # its input
        Cost("attn", 0, L * 2 * 2 * T * C, L * (3 * C + weights)),  # q, k, v; of the FLOPs the masked half, too
        Cost("attn.c_proj", L * (C + b) * C, L * 2 * C * C, L * C),
        Cost("ln_2", L * (1 + b) * C, 0, L * norm),
        Cost("mlp.c_fc", L * 4 * (C + b) * C, L * 2 * C * 4 * C, L * C),
        Cost("mlp.gelu", 0, 0, L * gelu),
        Cost("mlp.c_proj", L * (4 * C + b) * C, L * 2 * 4 * C * C, L * a),
        Cost("ln_f", (1 + b) * C, 0, norm),
        Cost("head (tied to wte)", 0, 2 * C * V, (1 + fused) * C),  # its input's gradient; with kernels its input, too
    ]
    if recompute == "blocks":  # a block's input, which with kernels is the stream and ln_1 of it, up to the next ln_1
        kept = {"ln_1": L * C, "attn.c_attn": L * C, "ln_f": 0} if fused else {"ln_1": L * C, "ln_f": norm}
        rows = [row._replace(activations=kept.get(row.name, 0)) for row in rows[:-1]] + rows[-1:]
    return rows


def training_flops(config: GPTConfig) -> int:
    """The FLOPs of a training step for one token of a full context: forward's, and two products for each of its in
    backward (Kaplan et al., "Scaling Laws for Neural Language Models", 2020, arXiv:2001.08361, section 2.1).
    """
    return 3 * sum(row.flops for row in costs(config))
