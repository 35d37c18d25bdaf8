"""What every model's page shares: the loss and its gradients, generating text, saving and loading, and the checks.

A page (`gpt2.py`) derives its model from `Model` and says what is its own: configuration, names and shapes, forward and
backward up to the final hidden state, one step of decoding.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygpt import checkpoint, sample
from tinygpt.backend import Array, device_module, fold_in, to_device, to_host
from tinygpt.device import check_memory, resolve_device
from tinygpt.errors import UserError, brief
from tinygpt.files import read_json
from tinygpt.layers.cross_entropy import IGNORED
from tinygpt.model_folder import model_files, model_folder, named_path
from tinygpt.models.inputs import as_token_array, check_cache, check_dout, check_grads, check_ids, check_mapping
from tinygpt.ops import build
from tinygpt.parameters import Adding, Finishing, Parameters
from tinygpt.precision import dtype_of, precision_of
from tinygpt.random import checked_seed, generator
from tinygpt.tensors import stored_in
from tinygpt.values import SMALLEST, real_number, whole_number


class Computing(dict):
    """Parameters by name as a forward pass takes them where that is not as they are kept; and `layers`, each layer's by
    their names within it.
    """

    def __init__(self, params: Mapping[str, Array], layers: list[dict[str, Array]]):
        super().__init__(params)
        self.layers = layers


class KeyValueCache(NamedTuple):
    """The keys and values of all positions so far, which generation need not compute again: (n_layer, B, H, S, D)."""

    keys: Array
    values: Array


class Model:
    """A model with its parameters on a device.

    params: the parameters by name, `Parameters`; config; device: "cpu" or "cuda"; precision: the entry of PRECISIONS
    that `dtype` names, "float32", "float64" or, on a card, "bfloat16"; dtype: what it computes in; ops: the table of
    leaves it computes with. seed: of the initialisation and of dropout; None leaves the parameters zero, for loading
    into. parts: by name, what takes the place of something that the page makes of leaves (such as "block"), or of a
    rule of sampling, "probabilities" or "draw".
    """

    # What a page says of its model:
    config_class: Any
    sizes: Mapping[str, Any]  # the pretrained models that can be downloaded
    head: str  # the name of the parameter that the head multiplies by: (V, C)
    layer_prefix: str  # how the names of a layer's parameters begin
    block: Any  # one of its layers
    lm_head_loss: Any  # the head with its loss
    initialise: Callable[[int], None]  # fill the parameters, from a seed
    hidden: Callable[..., tuple[Array, tuple]]  # idx, dropout, key, row, need_grad, params -> the last one, cache
    hidden_backward: Callable[[Array, tuple, Any], None]  # its gradient, cache, grads to add to
    decode: Callable[..., Array]  # new tokens, the first one's position, memory, params -> their hidden state
    pretrained_tensors: Callable[[], dict[str, np.ndarray]]  # the parameters as a file holds them
    understand_tensors: Callable[[Any, Path], Any]  # what a file holds as the parameters by name, not read yet
    check_left_out: Callable[[Any, Path], None]  # and then what of it is not used

    drawable: int | None = None  # the ids below it are drawn, where the rest is padding that no tokenizer knows
    probabilities: Any = staticmethod(sample.probabilities)
    draw: Any = staticmethod(sample.draw)

    def __init__(
        self, config: Any, device: str = "cpu", dtype: Any = "float32", seed: int | None = 1337,
        ops: Any = None, parts: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        if not isinstance(config, self.config_class):
            kind, example = type(self).__name__, f"{type(self).__name__}({self.config_class.__name__}(n_layer=2))"
            load = f" (what is saved is loaded with {kind}.from_pretrained)" if isinstance(config, str | Path) else ""
            raise UserError(f"a {kind} got {brief(config)} for its config; expected one such as in {example}{load}")
        self.config = config
        self.device, _ = resolve_device(device)
        self.precision = precision_of(dtype, self.device, getattr(ops, "reference", False))
        self.dtype = dtype_of(self.precision.computation)
        if ops is not None and not hasattr(ops, "fused"):
            raise UserError(f"ops is {brief(ops)}; expected a table of layers, such as tinygpt.ops.build('reference')")
        self.ops: Any = ops if ops is not None else build(device=self.device)
        self.parts = check_mapping(parts)
        for part, own in self.parts.items():
            if not hasattr(type(self), part):
                raise UserError(f"there is no {part!r} in this model that something else could take the place of")
            setattr(self, part, own)
        self.seed = 0 if seed is None else checked_seed(seed)
        needed = config.n_params * np.dtype(self.precision.parameters).itemsize
        check_memory(needed, f"{config.n_params:,} parameters", self.device)
        self.params = Parameters(config.shapes(), self.precision.parameters, self.device)
        self.layer_params = self._by_layer(self.params)
        if seed is not None:
            self.initialise(self.seed)

    # A copy has parameters of its own, and shares what has none: layers are pure functions.

    def __deepcopy__(self, memo: dict) -> Any:
        other = copy.copy(self)
        other.params = copy.deepcopy(self.params, memo)
        other.layer_params = other._by_layer(other.params)
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "layer_params"}  # views of params

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.layer_params = self._by_layer(self.params)

    def computing(self) -> Mapping[str, Array]:
        """The parameters as a forward pass takes them: `params`, or with matrices in bfloat16, cast now. Nobody keeps
        them, so that whatever is written into `params` is seen.
        """
        params = self.params.cast(self.dtype)
        return params if params is self.params else Computing(params, self._by_layer(params))

    def layers(self, params: Any) -> list[dict[str, Array]]:
        """Each layer's parameters by their names within the layer. params: what `computing` returned."""
        return self.layer_params if params is self.params else params.layers

    def _by_layer(self, params: Mapping[str, Array]) -> list[dict[str, Array]]:
        return [
            {name[len(prefix) :]: array for name, array in params.items() if name.startswith(prefix)}
            for prefix in map(self.layer_prefix.format, range(self.config.n_layer))
        ]

    def forward(self, idx: Array) -> tuple[Array, tuple]:
        """The logits of the token after each position.

        idx: (B, T) integers in [0, vocab_size), T at most block_size. Returns logits: (B, T, V); cache, which
        `backward(cache, dout=dlogits)` takes. No dropout. Raises UserError for ids or shapes that do not fit.
        """
        params = self.computing()
        x, hidden_cache = self.hidden(self._tokens(idx), params=params)
        logits, head_cache = self.ops.linear.forward(x, params[self.head].T, None)  # (B, T, C) -> (B, T, V)
        return logits.astype(self.precision.accumulation, copy=False), (logits.shape, hidden_cache, head_cache)

    def loss(
        self, idx: Array, targets: Array, denominator: float | None = None, need_grad: bool = True,
        step: int = 0, row: int = 0,
    ) -> tuple[Array, tuple | None]:  # fmt: skip
        """The mean cross-entropy, in nats, of the targets that are not -1; 0 where all are.

        idx, targets: (B, T) integers. denominator: divides the sum of losses in place of the number of counted
        targets, so that shards and micro-batches sum to the whole. need_grad: False for evaluation, which drops
        nothing out, keeps nothing and returns None for the cache. step, row: which dropout masks: the training step,
        and the place of idx[0] in the whole batch. Returns loss: (), on the device; cache for `backward`. Raises
        UserError for what is none of these.
        """
        step, row = whole_number(step, "step"), whole_number(row, "row")
        if denominator is not None and not (hasattr(denominator, "get") and np.ndim(denominator) == 0):  # a card's
            real_number(denominator, "denominator", "a number above 0", SMALLEST)
        idx, targets = self.upload(idx, targets)
        dropout, params = self.config.dropout if need_grad else 0.0, self.computing()
        x, hidden_cache = self.hidden(idx, dropout, fold_in(self.seed, step), row, need_grad, params)
        x, targets = x.reshape(-1, x.shape[-1]), targets.reshape(-1)  # (B, T, C) -> (B*T, C), (B, T) -> (B*T,)
        head, ours = self.head_loss, self.lm_head_loss is type(self).lm_head_loss
        ops = self.ops if ours else Finishing(self.ops)
        loss, head_cache = head.forward(x, params[self.head], targets, denominator, need_grad, ops=ops)
        return loss, (head, hidden_cache, head_cache) if need_grad else None

    @property
    def head_loss(self) -> Any:
        """The head with its loss: the page's, or a fused twin of that, or whatever took the page's place."""
        ours = self.lm_head_loss is type(self).lm_head_loss
        return ours and self.ops.fused("lm_head_loss") or self.lm_head_loss

    def backward(self, cache: Any, grads: Any = None, dout: Array | None = None) -> Any:
        """The gradient of every parameter, added into `grads`.

        cache: from `loss` or `forward`. grads: a mapping with the keys and shapes of `params`; new zeros if None.
        dout: the gradient with respect to what came with it: a loss (), 1 if None; logits (B, T, V). Returns grads.
        Raises UserError for another cache, and for grads with other names or shapes.
        """
        check_cache(cache)
        if grads is not None:
            check_grads(grads, self.params)
        head, hidden_cache, head_cache = cache  # head: the logits' shape after forward
        after_forward = isinstance(head, tuple)
        if dout is not None:
            check_dout(dout, head if after_forward else ())
        elif after_forward:
            raise UserError("backward of forward's cache needs dout, the gradient of your loss with respect to logits")
        totals = self.params.zeros_like() if grads is None else grads
        grads = Adding(totals) if self.device == "cuda" else totals
        if not after_forward:
            dout = device_module(self.device).ones((), self.precision.accumulation) if dout is None else dout
            dx, dw = head.backward(dout, head_cache)
        else:
            dx, dw_transposed, _ = self.ops.linear.backward(dout, head_cache)
            dw = dw_transposed.T
        grads[self.head] += dw
        self.hidden_backward(dx, hidden_cache, grads)
        return totals

    # Generation

    def generate(
        self, idx: Array, max_new_tokens: int, temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, seed: int | None = None, exact_window: bool = False,
    ) -> np.ndarray:  # fmt: skip
        """Continue each row of `idx` by `max_new_tokens` tokens: (B, T) -> (B, T + max_new_tokens), on the host. The
        rules are those of `sample.probabilities`; the rest is as in `stream`.
        """
        idx = self._prompt(idx)
        new = list(self.stream(idx, max_new_tokens, temperature, top_k, top_p, seed, exact_window))
        return np.concatenate([idx, *(tokens[:, None] for tokens in new)], axis=1)

    def stream(
        self, idx: Array, max_new_tokens: int, temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, seed: int | None = None, exact_window: bool = False,
    ) -> Iterator[np.ndarray]:  # fmt: skip
        """`generate`, one time step at a time: yields the next token of each row, (B,) int64 on the host.

        seed: of the draws; None for a different one each time. Keys and values of past positions are remembered. When
        the window of block_size tokens is full, its older half is dropped and the rest encoded anew (positions are
        absolute, so nothing remembered survives a shift); `exact_window` instead slides by one token at a time as
        nanoGPT does, with nothing remembered, and is slower. Raises UserError for what is none of these.
        """
        rules = sample.check_rules(temperature, top_k, top_p)
        max_new_tokens = whole_number(max_new_tokens, "max_new_tokens", 0)
        seed = None if seed is None else checked_seed(seed)
        return self._stream(self._prompt(idx), max_new_tokens, rules, seed, exact_window)

    def _stream(
        self, tokens: np.ndarray, max_new_tokens: int, rules: tuple, seed: int | None, exact_window: bool
    ) -> Iterator[np.ndarray]:
        rng = generator(seed, "sampling") if seed is not None else np.random.default_rng()
        block_size = self.config.block_size
        tokens = new = tokens[:, -block_size:]
        params = self.computing()
        memory, length = None, 0  # length: how many positions are remembered
        if not exact_window and hasattr(self.block, "decode"):  # a block that took the page's place may have none
            memory = self._memory(len(tokens), min(block_size, tokens.shape[1] + max_new_tokens))
        for _ in range(max_new_tokens):
            start, length = length, length + new.shape[1]
            if length > block_size:
                new = tokens if exact_window else tokens[:, -max(1, block_size // 2) :]
                start, length = 0, new.shape[1]
            if memory is None:
                x, _ = self.hidden(to_device(tokens[:, -length:], self.device), need_grad=False, params=params)
            else:
                x = self.decode(to_device(new, self.device), start, memory, params)
            logits = self.logits(x[:, -1], params[self.head])  # (B, C) -> (B, V): the last position's only
            logits = logits[:, : self.drawable].astype(self.precision.accumulation, copy=False)
            drawn = self.draw(self.probabilities(to_host(logits), *rules, self.ops.softmax), rng)
            yield drawn
            new = drawn[:, None]
            tokens = np.concatenate([tokens, new], axis=1)[:, -block_size:]

    @property
    def logits(self) -> Callable[[Array, Array], Array]:
        """x, w -> x @ w^T for few rows of x: a device's own kernel for that, where it has one."""
        stack = self.ops.fused("stack")
        return (lambda x, w: x @ w.T) if stack is None else stack.logits

    def _memory(self, batch_size: int, capacity: int) -> KeyValueCache:
        config, xp = self.config, device_module(self.device)
        shape = (2, config.n_layer, batch_size, config.n_head, capacity, config.n_embd // config.n_head)
        return KeyValueCache(*xp.empty(shape, dtype=self.dtype))

    # Saving and loading

    def save_pretrained(
        self, folder: str | Path, bos_token_id: int | None = None, eos_token_id: int | None = None
    ) -> None:
        """Write `config.json` and `model.safetensors` into `folder` as a Hugging Face checkpoint. bos_token_id,
        eos_token_id: the tokens that begin and end a text, if any do.
        """
        settings = self.config.to_pretrained(bos_token_id, eos_token_id)
        ends = {name: settings[name] for name in ("bos_token_id", "eos_token_id") if settings[name] is not None}
        generation = ends | {"max_length": self.config.block_size}  # else transformers goes on beyond it, and fails
        checkpoint.write_model(named_path(folder), settings, generation, self.pretrained_tensors())

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str = "cpu", dtype: str = "float32", ops: Any = None,
        parts: Mapping[str, Any] | None = None, checked: bool = False,
    ) -> Any:  # fmt: skip
        """Read a Hugging Face folder, this library's or another's (docs/checkpoints.md has what is read); "gpt2"
        to "gpt2-xl" download OpenAI's weights on first use. checked: True where the files are known to be whole
        already. Raises UserError for files that are missing, damaged, of another shape, or of numbers that no weights
        can be.
        """
        name = str(folder).removeprefix("openai-community/")  # as the hub calls them
        if name in cls.sizes and not Path(folder).exists():
            folder, checked = cls._downloaded(name), True
        config, weights = model_files(folder)
        shape = cls.config_class.from_pretrained(read_json(config), config)
        model = cls(shape, device, dtype, seed=None, ops=ops, parts=parts)
        with stored_in(weights) as stored:
            understood = model.understand_tensors(stored, weights)
            if not checked:
                checkpoint.check_saved(stored.only(understood.stored_names), weights)
            model.check_left_out(understood, weights)
            checkpoint.copy_tensors(understood, model.params, model_folder(folder))
        return model

    @classmethod
    def _downloaded(cls, name: str) -> Path:
        """The folder of the pretrained model of that name. Raises UserError where its files are another model's."""
        expected = cls.config_class.preset(name)

        def check_config(path: Path) -> None:
            found = cls.config_class.from_pretrained(read_json(path), path)
            for setting, value in vars(expected).items():
                if setting != "dropout" and getattr(found, setting) != value:
                    raise UserError(f"{path} has {setting} = {getattr(found, setting)}, but {name} has {value}")

        def check_weights(path: Path) -> None:
            shapes = checkpoint.tensor_shapes(path)
            for parameter, shape in expected.shapes().items():  # what else may be in it is seen when it is read
                found = shapes.get(parameter, shapes.get(f"transformer.{parameter}", "nothing"))
                if found != shape:
                    raise UserError(f"{path} has {brief(found)} for {parameter}, but {name} has {shape}")

        checks = {checkpoint.CONFIG: check_config, checkpoint.WEIGHTS: check_weights}
        return checkpoint.download_model(name, checks, 8 * expected.n_params)  # with what else a file carries along

    # Checks

    def upload(self, idx: Array, targets: Array) -> tuple[Array, Array]:
        """A batch, (B, T) integers each, checked as `loss` checks it, on the model's device, from where `loss` takes it
        as it is. Nobody waits for a card. Raises UserError for ids or shapes that do not fit.
        """
        idx, targets = self._tokens(idx), self._tokens(targets, "targets", lowest=IGNORED)
        if idx.shape != targets.shape:
            raise UserError(f"idx has shape {idx.shape} but targets has shape {targets.shape}; expected the same shape")
        return idx, targets

    def _tokens(self, idx: Array, name: str = "idx", lowest: int = 0) -> Array:
        """`idx` checked, on the device. What is already on a card was checked before it went there."""
        idx = as_token_array(idx, name)
        if idx.ndim != 2 or idx.dtype.kind not in "iu" or 0 in idx.shape:
            way_out = f"; for one sequence give {name}[None]" if idx.ndim == 1 and idx.dtype.kind in "iu" else ""
            raise UserError(
                f"{name} has shape {idx.shape} and dtype {idx.dtype}; expected integers, (B, T) with B and T at least 1"
                f"{way_out}"
            )
        if idx.shape[1] > self.config.block_size:
            raise UserError(
                f"block_size is {self.config.block_size}, but the sequence has {idx.shape[1]} tokens; "
                f"crop it with {name}[:, -{self.config.block_size}:] or train with --block_size={idx.shape[1]}"
            )
        if not isinstance(idx, np.ndarray):
            if self.device == "cpu":
                raise UserError(f"{name} is on a card, and the model on the CPU; give {name}.get()")
            return idx
        check_ids(idx, name, lowest, self.config.vocab_size)
        return to_device(idx, self.device)

    def _prompt(self, idx: Array) -> np.ndarray:
        """A prompt checked, as (B, T) int64 on the host; it may be longer than block_size."""
        idx = to_host(as_token_array(idx, "idx"))
        if idx.size == 0:
            raise UserError("the prompt has no tokens; give at least one, such as a newline")
        self._tokens(idx[:, -self.config.block_size :] if idx.ndim == 2 else idx)
        return idx.astype(np.int64)
