"""The models that are timed, and a step of theirs on either side."""

import gc
import os
from typing import Any

import numpy as np
from race.models import tiny_gpt, torch_gpt
from race.settings import ADAMW, CONFIGS, LEARNING_RATE, MAX_NORM

GENERATING = {"temperature": 0.8, "top_k": 200}  # nanoGPT's


def configurations(stand_in: bool) -> dict[str, dict[str, Any]]:
    """The models and batches to train, what is to be known first at the beginning."""
    baby, gpt2 = CONFIGS["baby"] | {"batch_size": 64}, CONFIGS["gpt2"] | {"block_size": 1024}
    sizes = {12: 12, 4: 4}
    if stand_in:
        baby |= dict(n_layer=1, n_head=2, n_embd=64, block_size=32, batch_size=4)  # heads as small as tensor cores take
        gpt2 |= dict(n_layer=2, n_head=2, n_embd=64, block_size=32, vocab_size=257)
        sizes = {12: 3, 4: 1}
    found = {"baby": baby} | {f"gpt2, B={name}": gpt2 | {"batch_size": size} for name, size in sizes.items()}
    more = {"activation_function": "gelu_new", "bias": False, "threads": os.cpu_count()}
    return {name: settings | more for name, settings in found.items()}


class Ours:
    """tinygpt's training step, as `tinygpt.train` runs it; the losses stay on the card."""

    def __init__(self, kind: str):
        """kind: bf16, TF32 or float32."""
        from tinygpt.backend import tf32_products
        from tinygpt.parallel import Workers

        self.dtype = "bfloat16" if kind == "bf16" else "float32"
        self.products = tf32_products(kind == "TF32", "cuda")
        self.products.__enter__()  # as long as the process lives
        self.workers = Workers(1).__enter__()

    def prepare(self, settings: dict[str, Any], compiled: bool = False) -> None:
        from tinygpt.optim import AdamW

        self.model = tiny_gpt(settings, "cuda", self.dtype)
        self.optimizer, self.grads = AdamW(self.model.params, **ADAMW), self.model.params.zeros_like()

    def step(self, idx: np.ndarray, targets: np.ndarray) -> Any:
        self.grads.flat[...] = 0
        loss = self.workers.gradients(self.model, *self.model.upload(idx, targets), self.grads, idx.size)
        self.optimizer.step(self.grads, LEARNING_RATE, MAX_NORM, self.workers.map)
        return loss

    def generate(self, count: int) -> None:
        self.model.generate(np.zeros((1, 1), np.int64), count, **GENERATING)

    def wait(self) -> None:
        from tinygpt.backend import synchronize

        synchronize("cuda")

    def peak(self) -> int:
        from tinygpt.device import peak_memory

        return peak_memory("cuda") or 0

    def release(self, everything: bool = False) -> None:
        """Give back what the pool keeps: others need room, and the next peak is to be the next turn's own."""
        import cupy

        if everything:
            self.model = self.optimizer = self.grads = None
        gc.collect()
        cupy.get_default_memory_pool().free_all_blocks()


class Theirs:
    """The tests' PyTorch GPT, as nanoGPT trains its own: flash attention where PyTorch chooses it, fused AdamW."""

    def __init__(self, bf16: bool, stand_in: bool):
        import torch

        self.torch, self.bf16, self.device = torch, bf16, "cpu" if stand_in else "cuda"
        torch.set_float32_matmul_precision("high")  # float32 products in TF32

    def prepare(self, settings: dict[str, Any], compiled: bool = False) -> None:
        self.model = torch_gpt(settings).to(self.device)
        self.torch._dynamo.reset()  # or a second batch size would be compiled for all sizes
        self.run = self.torch.compile(self.model, dynamic=False) if compiled else self.model
        self.optimizer = self.model.configure_optimizer(learning_rate=LEARNING_RATE, **ADAMW)

    def step(self, idx: np.ndarray, targets: np.ndarray) -> Any:
        torch = self.torch
        x, y = torch.from_numpy(idx), torch.from_numpy(targets)
        if self.device == "cuda":
            x, y = (tensor.pin_memory().to("cuda", non_blocking=True) for tensor in (x, y))
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            _, loss = self.run(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def generate(self, count: int) -> None:
        """As nanoGPT's sample.py, which does not compile either."""
        torch = self.torch
        self.model.eval()
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            self.model.generate(torch.zeros((1, 1), dtype=torch.int64, device=self.device), count, **GENERATING)
        self.model.train()

    def wait(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def peak(self) -> int:
        return self.torch.cuda.max_memory_reserved() if self.device == "cuda" else 0

    def release(self, everything: bool = False) -> None:
        if everything:
            self.model = self.run = self.optimizer = None
        gc.collect()
        if self.device == "cuda":
            self.torch.cuda.empty_cache()
            self.torch.cuda.reset_peak_memory_stats()
