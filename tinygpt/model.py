"""The GPT: token and position embeddings, a stack of blocks, a last LayerNorm, and a head tied to the embeddings.

Forward reads from top to bottom, backward is the same lines from bottom to top.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tinygpt import checkpoint, sample
from tinygpt.backend import Array, device_module, fold_in, generator, resolve_device, to_device, to_host
from tinygpt.errors import UserError
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.ops import Ops, build
from tinygpt.parameters import Parameters

GELUS = {"gelu_new": "tanh", "gelu": "none"}  # Hugging Face's names, and the layer's
GPT2_SIZES = {  # name: n_layer, n_head, n_embd
    "gpt2": (12, 12, 768),  # 124,439,808 parameters
    "gpt2-medium": (24, 16, 1024),  # 354,823,168
    "gpt2-large": (36, 20, 1280),  # 774,030,080
    "gpt2-xl": (48, 25, 1600),  # 1,557,611,200
}


@dataclass(frozen=True)
class Precision:
    """Which dtype does what in a model."""

    parameters: str  # weights, their gradients and AdamW's moments
    computation: str  # activations and their gradients
    accumulation: str  # sums over micro-batches


PRECISIONS = {name: Precision(name, name, name) for name in ("float32", "float64")}


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. The defaults are GPT-2's smallest, 124,439,808 parameters.

    Raises UserError, naming the field, for a value that no model can have.
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
        for name in ("block_size", "vocab_size", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise UserError(f"{name} is {value!r}; expected a whole number of at least 1")
            object.__setattr__(self, name, int(value))  # NumPy's numbers would follow the model into files and dtypes
        size = self.n_embd * (self.vocab_size + self.block_size + 12 * self.n_layer * self.n_embd)
        if size > 10**13:
            raise UserError(
                f"that makes about {size:.0e} parameters, more than any machine holds; choose smaller sizes"
            )
        if self.n_embd % self.n_head != 0:
            raise UserError(
                f"n_embd is {self.n_embd} and n_head is {self.n_head}, but every head takes an equal share of the "
                f"channels; make n_embd a multiple of n_head, such as {-(-self.n_embd // self.n_head) * self.n_head}"
            )
        for name, allowed, expected in (
            ("dropout", lambda p: 0 <= p < 1, "a probability, at least 0 and below 1"),
            ("layer_norm_epsilon", lambda eps: 0 < eps < math.inf, "a number above 0"),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.floating) or not allowed(value):
                raise UserError(f"{name} is {value!r}; expected {expected}")
            object.__setattr__(self, name, float(value))
        if not isinstance(self.bias, bool | np.bool_):
            raise UserError(f"bias is {self.bias!r}; expected True or False")
        object.__setattr__(self, "bias", bool(self.bias))
        if self.activation_function not in tuple(GELUS):
            raise UserError(
                f"activation_function is {self.activation_function!r}; expected gelu_new (tanh) or gelu (exact)"
            )

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "GPTConfig":
        """The configuration of one of OpenAI's models: gpt2, gpt2-medium, gpt2-large or gpt2-xl."""
        if name not in GPT2_SIZES:
            raise UserError(f"there is no model preset {name!r}; expected one of {', '.join(GPT2_SIZES)}")
        n_layer, n_head, n_embd = GPT2_SIZES[name]
        return cls(**{"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd} | overrides)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every parameter's name and shape, in the order data flows: a Hugging Face GPT-2 checkpoint's."""
        V, T, C = self.vocab_size, self.block_size, self.n_embd
        shapes: dict[str, tuple[int, ...]] = {"wte.weight": (V, C), "wpe.weight": (T, C)}
        for layer in range(self.n_layer):
            for name, shape in (
                ("ln_1", (C,)),
                ("attn.c_attn", (C, 3 * C)),
                ("attn.c_proj", (C, C)),
                ("ln_2", (C,)),
                ("mlp.c_fc", (C, 4 * C)),
                ("mlp.c_proj", (4 * C, C)),
            ):
                shapes[f"h.{layer}.{name}.weight"] = shape
                if self.bias:
                    shapes[f"h.{layer}.{name}.bias"] = shape[-1:]
        shapes["ln_f.weight"] = (C,)
        if self.bias:
            shapes["ln_f.bias"] = (C,)
        return shapes

    @property
    def n_params(self) -> int:
        """The number of parameters; the head is tied to `wte` and counts once."""
        return sum(prod(shape) for shape in self.shapes().values())


class GPT:
    """A GPT with its parameters on a device.

    params: the parameters by name, `Parameters`; config; device: "cpu" or "cuda"; precision: the entry of PRECISIONS
    that `dtype` names, "float32" or "float64"; dtype: what it computes in; ops: the table of layers it computes with.

    Initialisation is nanoGPT's: weights normal with standard deviation 0.02, those of the projections back into the
    residual stream (`c_proj`) smaller by sqrt(2 * n_layer); biases 0, LayerNorm weights 1. The same seed gives the
    same numbers on every device and in either dtype. `seed=None` leaves the parameters zero, for loading into.
    """

    def __init__(
        self,
        config: GPTConfig,
        device: str = "cpu",
        dtype: Any = "float32",
        seed: int | None = 1337,
        ops: Ops | None = None,
    ):
        name = getattr(dtype, "__name__", str(dtype))  # numpy.float32 will do as well
        if name not in PRECISIONS:
            raise UserError(f"dtype is {dtype!r}; expected {' or '.join(PRECISIONS)}")
        self.config = config
        self.device, _ = resolve_device(device)
        self.precision = PRECISIONS[name]
        self.dtype = np.dtype(self.precision.computation)
        self.ops = ops if ops is not None else build(device=self.device)
        self.seed = seed if seed is not None else 0
        self.params = Parameters(config.shapes(), self.precision.parameters, self.device)
        prefixes = [f"h.{layer}." for layer in range(config.n_layer)]
        self._blocks = [  # each block's parameters by their names within the block
            {name[len(prefix) :]: array for name, array in self.params.items() if name.startswith(prefix)}
            for prefix in prefixes
        ]
        if seed is not None:
            self._initialise(seed)

    def _initialise(self, seed: int) -> None:
        rng = generator(seed, "initialisation")
        for name, shape in self.config.shapes().items():
            if len(shape) == 2:
                std = 0.02 / math.sqrt(2 * self.config.n_layer) if name.endswith("c_proj.weight") else 0.02
                self.params[name] = rng.standard_normal(shape, dtype=np.float32) * np.float32(std)
            elif name.endswith(".weight"):
                self.params[name] = np.ones(shape, dtype=np.float32)

    # Forward

    def forward(self, idx: Array) -> tuple[Array, tuple]:
        """The logits of the token after each position.

        idx: (B, T) integers in [0, vocab_size), T at most block_size. Returns logits: (B, T, V); cache, which
        `backward(cache, dout=dlogits)` takes. No dropout. Raises UserError for ids or shapes that do not fit.
        """
        x, hidden_cache = self._hidden(self._tokens(idx))
        logits, head_cache = self.ops.linear.forward(x, self.params["wte.weight"].T, None)  # (B, T, C) -> (B, T, V)
        return logits, ("logits", hidden_cache, head_cache)

    def loss(
        self,
        idx: Array,
        targets: Array,
        denominator: float | None = None,
        need_grad: bool = True,
        step: int = 0,
        row: int = 0,
    ) -> tuple[Array, tuple | None]:
        """The mean cross-entropy, in nats, of the targets that are not -1; 0 where all are.

        idx, targets: (B, T) integers. denominator: divides the sum of losses in place of the number of counted
        targets, so that shards and micro-batches sum to the whole. need_grad: False for evaluation, which drops
        nothing out, keeps nothing and returns None for the cache. step, row: which dropout masks: the training step,
        and the place of idx[0] in the whole batch. Returns loss: (), on the device; cache for `backward`.
        """
        idx, targets = self.place(idx, targets)
        dropout = self.config.dropout if need_grad else 0.0
        x, hidden_cache = self._hidden(idx, dropout, fold_in(self.seed, step), row, need_grad)
        rows = x.reshape(-1, x.shape[-1])  # (B, T, C) -> (B*T, C)
        loss, head_cache = self.ops.lm_head_loss.forward(
            rows, self.params["wte.weight"], targets.reshape(-1), denominator, need_grad, ops=self.ops
        )
        return loss, ("loss", hidden_cache, head_cache) if need_grad else None

    def _hidden(
        self,
        idx: Array,
        dropout: float = 0.0,
        key: int = 0,
        row: int = 0,
        need_grad: bool = True,
        memory: sample.KeyValueCache | None = None,
    ) -> tuple[Array, tuple]:
        """The final hidden state, (B, T) -> (B, T, C), and the caches of everything on the way.

        With `memory` the tokens follow those it remembers, and are remembered in turn.
        """
        config, ops, params = self.config, self.ops, self.params
        start = memory.length if memory else 0
        positions = device_module(self.device).arange(start, start + idx.shape[1])
        tok_emb, wte = ops.embedding.forward(idx, params["wte.weight"])  # (B, T) -> (B, T, C)
        pos_emb, wpe = ops.embedding.forward(positions, params["wpe.weight"])  # (T,) -> (T, C)
        x, drop = ops.dropout.forward(tok_emb + pos_emb, dropout, fold_in(key, config.n_layer), row)
        blocks = []
        for layer in range(config.n_layer):
            x, block = ops.block.forward(
                x, self._blocks[layer], config.n_head, GELUS[config.activation_function], config.layer_norm_epsilon,
                dropout, fold_in(key, layer), row, ops=memory.stand_in(ops, layer) if memory else ops,
            )  # fmt: skip
            if need_grad:
                blocks.append(block)
        if memory:
            memory.length += idx.shape[1]
        x, ln_f = ops.layernorm.forward(x, params["ln_f.weight"], params.get("ln_f.bias"), config.layer_norm_epsilon)
        return x, (wte, wpe, drop, blocks, ln_f)

    # Backward

    def backward(self, cache: tuple | None, grads: Any = None, dout: Array | None = None) -> Any:
        """The gradient of every parameter, added into `grads`.

        cache: from `loss` or `forward`. grads: a mapping with the keys and shapes of `params`; new zeros if None.
        dout: the gradient with respect to what forward returned: for `loss` (), 1 if None; for `forward` (B, T, V),
        required. Returns grads.
        """
        if cache is None:
            raise UserError("backward got no cache: loss(..., need_grad=False) keeps none; call it with need_grad=True")
        kind, hidden_cache, head_cache = cache
        grads = self.params.zeros_like() if grads is None else grads
        if kind == "loss":
            dout = device_module(self.device).ones((), dtype=self.dtype) if dout is None else dout
            dx, dwte = self.ops.lm_head_loss.backward(dout, head_cache)
        elif dout is None:
            raise UserError("backward of forward's cache needs dout, the gradient of your loss with respect to logits")
        else:
            dx, dwte_transposed, _ = self.ops.linear.backward(dout, head_cache)
            dwte = dwte_transposed.T
        grads["wte.weight"] += dwte
        self._hidden_backward(dx, hidden_cache, grads)
        return grads

    def _hidden_backward(self, dx: Array, cache: tuple, grads: Any) -> None:
        wte, wpe, drop, blocks, ln_f = cache
        ops = self.ops
        dx = dx.reshape(*wte[0].shape, self.config.n_embd)  # (B*T, C) -> (B, T, C)
        dx, dw, db = ops.layernorm.backward(dx, ln_f)
        grads["ln_f.weight"] += dw
        if db is not None:
            grads["ln_f.bias"] += db
        for layer in reversed(range(self.config.n_layer)):
            dx, dparams = ops.block.backward(dx, blocks[layer])
            for name, d in dparams.items():
                grads[f"h.{layer}.{name}"] += d
        dx = ops.dropout.backward(dx, drop)
        grads["wpe.weight"] += ops.embedding.backward(dx.sum(axis=0), wpe)  # one position serves all B rows
        grads["wte.weight"] += ops.embedding.backward(dx, wte)  # added to the head's part: the weights are tied

    # Generation

    def generate(
        self,
        idx: Array,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        exact_window: bool = False,
    ) -> np.ndarray:
        """Continue each row of `idx` by `max_new_tokens` tokens: (B, T) -> (B, T + max_new_tokens), on the host.

        temperature, top_k, top_p: see `sample.probabilities`; the rest as in `stream`.
        """
        idx = self._prompt(idx)
        new = list(self.stream(idx, max_new_tokens, temperature, top_k, top_p, seed, exact_window))
        return np.concatenate([idx, *(tokens[:, None] for tokens in new)], axis=1)

    def stream(
        self,
        idx: Array,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        exact_window: bool = False,
    ) -> Iterator[np.ndarray]:
        """`generate`, one time step at a time: yields the next token of each row, (B,) int64 on the host.

        seed: of the draws; None for a different one each time. Keys and values of past positions are remembered. When
        the window of block_size tokens is full, its older half is dropped and the rest encoded anew (positions are
        absolute, so nothing remembered survives a shift); `exact_window` instead slides by one token at a time as
        nanoGPT does, with nothing remembered, and is slower.
        """
        sample.check_rules(temperature, top_k, top_p)
        if max_new_tokens < 0:
            raise UserError(f"max_new_tokens is {max_new_tokens}; expected 0 or more")
        tokens = self._prompt(idx)
        return self._stream(tokens, max_new_tokens, (temperature, top_k, top_p), seed, exact_window)

    def _stream(
        self, tokens: np.ndarray, max_new_tokens: int, rules: tuple, seed: int | None, exact_window: bool
    ) -> Iterator[np.ndarray]:
        rng = generator(seed, "sampling") if seed is not None else np.random.default_rng()
        block_size = self.config.block_size
        tokens = new = tokens[:, -block_size:]
        capacity = min(block_size, tokens.shape[1] + max_new_tokens)
        memory = None if exact_window else self._memory(len(tokens), capacity)
        for _ in range(max_new_tokens):
            if memory is None:
                new = tokens
            elif memory.length + new.shape[1] > block_size:
                memory.length = 0
                new = tokens[:, -max(1, block_size // 2) :]
            x, _ = self._hidden(to_device(new, self.device), need_grad=False, memory=memory)
            logits = x[:, -1] @ self.params["wte.weight"].T  # (B, T, C) -> (B, V): the last position's only
            drawn = self.ops.draw(self.ops.probabilities(to_host(logits), *rules), rng)
            yield drawn
            new = drawn[:, None]
            tokens = np.concatenate([tokens, new], axis=1)[:, -block_size:]

    def _memory(self, batch_size: int, capacity: int) -> sample.KeyValueCache:
        config = self.config
        shape = (config.n_layer, batch_size, config.n_head, capacity, config.n_embd // config.n_head)
        return sample.KeyValueCache(shape, self.dtype, device_module(self.device))

    # Saving and loading

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors` into `folder` as a Hugging Face GPT-2 checkpoint."""
        checkpoint.save_pretrained(folder, dataclasses.asdict(self.config), self.params.on_host())

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str = "cpu", dtype: str = "float32", ops: Ops | None = None
    ) -> "GPT":
        """Read a Hugging Face GPT-2 folder, this library's or another's; "gpt2" to "gpt2-xl" download OpenAI's weights
        on first use. Raises UserError for files that are missing, damaged or of another shape.
        """
        if str(folder) in GPT2_SIZES and not Path(folder).exists():
            folder = checkpoint.download_gpt2(str(folder))
        settings, tensors = checkpoint.load_pretrained(folder)
        model = cls(GPTConfig(**settings), device, dtype, seed=None, ops=ops)
        checkpoint.copy_tensors(tensors, model.params, folder)
        return model

    # Checks

    def place(self, idx: Array, targets: Array) -> tuple[Array, Array]:
        """A batch, checked as `loss` checks it, on the model's device, from where `loss` takes it as it is.

        idx, targets: (B, T) integers. To a card the transfer is queued, and nobody waits for it. Raises UserError for
        ids or shapes that do not fit.
        """
        idx, targets = self._tokens(idx), self._tokens(targets, "targets", lowest=IGNORED)
        if idx.shape != targets.shape:
            raise UserError(f"idx has shape {idx.shape} but targets has shape {targets.shape}; expected the same shape")
        return idx, targets

    def _tokens(self, idx: Array, name: str = "idx", lowest: int = 0) -> Array:
        """`idx` checked, on the device. What is already on a card was checked before it went there."""
        if isinstance(idx, list | tuple):
            idx = np.asarray(idx)
        if idx.ndim != 2 or idx.dtype.kind not in "iu" or 0 in idx.shape:
            raise UserError(
                f"{name} has shape {idx.shape} and dtype {idx.dtype}; expected integers, (B, T) with B and T at least 1"
            )
        if idx.shape[1] > self.config.block_size:
            raise UserError(
                f"block_size is {self.config.block_size}, but the sequence has {idx.shape[1]} tokens; "
                f"crop it with {name}[:, -{self.config.block_size}:] or train with --block_size={idx.shape[1]}"
            )
        if not isinstance(idx, np.ndarray):
            return idx
        if idx.min() < lowest or idx.max() >= self.config.vocab_size:
            wrong = idx.min() if idx.min() < lowest else idx.max()
            raise UserError(
                f"{name} has the token id {wrong}, but vocab_size is {self.config.vocab_size}; expected ids from "
                f"{lowest} to {self.config.vocab_size - 1}, so encode the text with this model's own tokenizer"
            )
        return to_device(idx, self.device)

    def _prompt(self, idx: Array) -> np.ndarray:
        """A prompt checked, as (B, T) int64 on the host; it may be longer than block_size."""
        idx = np.asarray(idx if isinstance(idx, list | tuple) else to_host(idx))
        if idx.ndim == 2 and idx.shape[1] == 0:
            raise UserError("the prompt has no tokens; give at least one, such as a newline")
        self._tokens(idx[:, -self.config.block_size :] if idx.ndim == 2 else idx)
        return idx.astype(np.int64)
