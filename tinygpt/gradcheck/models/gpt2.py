"""GPT-2: what the model is checked on, and the mistakes it is usually made with."""

from typing import Any

from tinygpt.models.gpt2 import GPT, GPTConfig

DEFINITION = GPT
AXES: dict[str, str] = {}
SMALL = GPTConfig(block_size=8, vocab_size=7, n_layer=2, n_head=2, n_embd=6)
CASES: dict[str, dict[str, Any]] = {  # what differs from SMALL with 5 sequences of 4 tokens
    "": {},
    "fast twins": {"twins": True},
    "through the logits": {"logits": True},
    "exact GELU, no biases": {"activation_function": "gelu", "bias": False},
    "dropout": {"dropout": 0.3},
    "one head, one layer": {"n_head": 1, "n_layer": 1},
    "heads of one channel": {"n_head": 6},
    "one token": {"batch": (1, 1)},
    "ignored targets, part of a batch": {"ignored": True, "denominator": 29.0, "twins": True},
}

# fmt: off
_WTE = 'grads["wte.weight"] += ops.embedding.backward(dx, wte)'
MISTAKES = [
    ("tied_head_forgotten", "term", ('grads[self.head] += dw', ""),
     "the gradient of wte lacks the head's half: the table is used twice", "the head's half of wte's gradient"),
    ("tied_embedding_forgotten", "term", (_WTE, ""),
     "the gradient of wte lacks the embedding's half: the table is used twice",
     "the embedding's half of wte's gradient"),
    ("embedding_overwrites_head", "accumulation", (_WTE, 'grads["wte.weight"][...] = ops.embedding.backward(dx, wte)'),
     "the embedding's half of wte's gradient overwrites the head's (=, where += belongs)"),
    ("blocks_overwrite", "accumulation", ('grads[f"h.{layer}.{name}"] += d', 'grads[f"h.{layer}.{name}"][...] = d'),
     "the blocks' gradients overwrite what was accumulated before (=, where += belongs)"),
    ("positions_last_sequence", "accumulation", ("dx.sum(axis=0, dtype=self.precision.accumulation)", "dx[-1]"),
     "wpe's gradient is that of the last sequence, where the sum over all of them belongs"),
    ("positions_mean", "scale", ("dx.sum(axis=0, dtype=self.precision.accumulation)", "dx.mean(axis=0)"),
     "wpe's gradient is the mean over the batch, where the sum belongs"),
    ("blocks_in_forward_order", "layout", ("reversed(range(self.config.n_layer))", "range(self.config.n_layer)"),
     "backward goes through the blocks from the first to the last"),
    ("ln_f_skipped", "formula", ("dx, dw, db = ops.layernorm.backward(...)", "_, dw, db = ops.layernorm.backward(...)"),
     "the gradient goes around ln_f: it does not pass through its backward"),
    ("embedding_dropout_skipped", "mask", ("dx = ops.dropout.backward(dx, drop)", ""),
     "what reaches the embeddings does not pass through their dropout mask"),
    ("forward_without_positions", "forward",
     ("ops.dropout.forward(tok_emb + pos_emb, ...)", "ops.dropout.forward(tok_emb, ...)"),
     ('grads["wpe.weight"] += ...', ""), "forward does not add the position embeddings"),
]
