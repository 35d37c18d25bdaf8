"""The same GPT in PyTorch, with autograd in place of the hand-written backward.

It follows nanoGPT's model (pre-norm blocks, head tied to the token embedding, the same initialisation,
dropout places and weight-decay groups), so it serves twice: as the truth the parity tests compare with, and as
the opponent the benchmarks race against. It therefore stays as fast as PyTorch lets a plain model be: fused attention,
`nn.Linear`, no Python in the inner loops.

Its modules carry a GPT-2 checkpoint's names, so `wte.weight` or `h.0.attn.c_attn.weight` mean here what they mean
in `tinygpt`. One difference remains: `nn.Linear` keeps its weight as (out, in), a checkpoint as (in, out).
`load`, `gradients` and `parameters_numpy` translate, and nothing outside this file needs to know.
"""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

GELU = {"gelu": "none", "gelu_new": "tanh"}  # a checkpoint's word for the activation -> PyTorch's


class LayerNorm(nn.Module):
    """`nn.LayerNorm` with a bias only where the configuration asks for one."""

    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.n_embd))
        self.bias = nn.Parameter(torch.zeros(config.n_embd)) if config.bias else None
        self.eps = getattr(config, "layer_norm_epsilon", 1e-5)

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.n_head = config.n_head
        self.dropout = config.dropout

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (
            part.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, T, C) -> (B, H, T, D)
            for part in self.c_attn(x).split(C, dim=2)  # (B, T, C) -> (B, T, 3C) -> three of (B, T, C)
        )
        rate = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=rate, is_causal=True)  # -> (B, H, T, D)
        out = out.transpose(1, 2).reshape(B, T, C)  # (B, H, T, D) -> (B, T, C)
        return F.dropout(self.c_proj(out), self.dropout, self.training)


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)
        self.approximate = GELU[config.activation_function]
        self.dropout = config.dropout

    def forward(self, x):
        hidden = F.gelu(self.c_fc(x), approximate=self.approximate)  # (B, T, C) -> (B, T, 4C)
        return F.dropout(self.c_proj(hidden), self.dropout, self.training)  # (B, T, 4C) -> (B, T, C)


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1 = LayerNorm(config)
        self.attn = Attention(config)
        self.ln_2 = LayerNorm(config)
        self.mlp = MLP(config)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class TorchGPT(nn.Module):
    """A GPT from a `tinygpt.GPTConfig`, or from anything with the same fields.

    The configuration's dropout takes effect in training mode, which, as for every PyTorch module, is the mode it
    starts in. Choose the dtype and the device as usual: `TorchGPT(config).to("cuda", torch.float64)`.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = LayerNorm(config)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                std = 0.02 / math.sqrt(2 * config.n_layer) if name.endswith("c_proj.weight") else 0.02
                nn.init.normal_(parameter, std=std)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, idx, targets=None):
        """`idx` (B, T) -> logits, loss.

        With `targets` (B, T): the logits of every position, (B, T, V), and the mean cross-entropy in nats over the
        targets that are not -1 (NaN where all are). Without: the logits of the last position, (B, 1, V), and None.
        """
        positions = torch.arange(idx.shape[1], device=idx.device)
        x = self.wte(idx) + self.wpe(positions)  # (B, T) -> (B, T, C)
        x = F.dropout(x, self.config.dropout, self.training)
        for block in self.h:
            x = block(x)
        x = self.ln_f(x)
        if targets is None:
            return F.linear(x[:, -1:], self.wte.weight), None  # (B, 1, C) -> (B, 1, V)
        logits = F.linear(x, self.wte.weight)  # (B, T, C) -> (B, T, V)
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)

    def configure_optimizer(self, weight_decay, learning_rate, betas):
        """AdamW that decays matrices and embeddings, and leaves biases and LayerNorms alone."""
        groups = [
            {"params": [p for p in self.parameters() if p.dim() >= 2], "weight_decay": weight_decay},
            {"params": [p for p in self.parameters() if p.dim() < 2], "weight_decay": 0.0},
        ]
        fused = True if self.wte.weight.is_cuda else None  # None leaves the choice to PyTorch
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=fused)

    @torch.no_grad()
    def generate(self, idx, max_new_tokens, temperature=1.0, top_k=None):
        """`idx` (B, T) -> (B, T + max_new_tokens), each token drawn from the whole forward pass over the last
        `block_size` tokens: nothing is cached. Call `eval()` first, unless dropout is wanted."""
        for _ in range(max_new_tokens):
            logits, _ = self(idx[:, -self.config.block_size :])
            logits = logits[:, -1] / temperature  # (B, 1, V) -> (B, V)
            if top_k is not None:
                kept = torch.topk(logits, min(top_k, logits.shape[-1])).values
                logits = logits.masked_fill(logits < kept[:, -1:], -math.inf)
            token = torch.multinomial(F.softmax(logits, dim=-1), num_samples=1)  # (B, V) -> (B, 1)
            idx = torch.cat((idx, token), dim=1)
        return idx

    @torch.no_grad()
    def load(self, params):
        """Copies in a checkpoint's weights, {name: NumPy array}, and returns the model.

        Raises ValueError if the names or a shape are not exactly this model's.
        """
        own = self._as_checkpoint(dict(self.named_parameters()))
        if own.keys() != set(params):
            missing, unknown = sorted(own.keys() - set(params)), sorted(set(params) - own.keys())
            raise ValueError(f"the names differ from this model's: {missing} are missing, {unknown} are unknown to it")
        for name, parameter in own.items():
            if parameter.shape != params[name].shape:
                raise ValueError(f"{name} is {tuple(parameter.shape)} here, but {params[name].shape} was given")
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(params[name])))
        return self

    def parameters_numpy(self):
        """{name: array}, copies of the weights, in a checkpoint's names and shapes."""
        return self._to_numpy({name: parameter.detach() for name, parameter in self.named_parameters()})

    def gradients(self):
        """{name: array}, copies of the gradients that `loss.backward()` left, in a checkpoint's names and shapes."""
        return self._to_numpy({name: parameter.grad for name, parameter in self.named_parameters()})

    def _as_checkpoint(self, tensors):
        """Views of per-parameter tensors with the linear weights turned: (out, in) -> (in, out)."""
        linear = {f"{name}.weight" for name, module in self.named_modules() if isinstance(module, nn.Linear)}
        return {name: tensor.T if name in linear else tensor for name, tensor in tensors.items()}

    def _to_numpy(self, tensors):
        return {name: np.array(tensor.cpu().numpy()) for name, tensor in self._as_checkpoint(tensors).items()}
