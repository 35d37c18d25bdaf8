"""Do every layer, the model, AdamW and generation compute there what a CPU computes?"""

import math
from typing import Any

import numpy as np
from race.settings import ADAMW

from report.rates import KINDS
from report.report import Report

PLACE, SECONDS = 30, None

GPTS: dict[str, dict[str, Any]] = {
    "model": {},
    "model, dropout": {"dropout": 0.2},
    "model, no biases, exact GELU": {"bias": False, "activation_function": "gelu"},
}
OPTIMISER = "AdamW, 5 steps with clipping"  # which knows no bfloat16
WITH_BF16 = KINDS | {"bf16": ("bfloat16", False, 2e-2)}


def run(report: Report) -> None:
    from tinygpt.backend import tf32_products
    from tinygpt.gradcheck.library import CASES, cases, definition
    from tinygpt.gradcheck.suite import candidates

    title = "Largest relative error of a tensor, the CPU's definitions in float64 being right"
    wholes = {name: {"": whole_tensors(name, "float64", "cpu")} for name in (*GPTS, OPTIMISER)}
    right_tokens, differing, rows = generated("float64", "cpu"), [], {}
    for kind, (dtype, tf32, allowed) in WITH_BF16.items():
        found: dict[str, tuple[float, str]] = {}
        with tf32_products(tf32, "cuda"):
            for layer in CASES:
                drawn = {case: same(inputs, dtype, "cuda") for case, inputs in cases(layer)}
                right = {
                    case: layer_tensors(definition(layer), same(same(inputs, dtype, "cpu"), "float64", "cpu"))
                    for case, inputs in cases(layer)
                }
                for name, entry in candidates(layer, "cuda").items():  # the definition, and what the table has for it
                    if entry is None and dtype == "bfloat16":
                        continue  # NumPy's operations are not for it
                    entry = entry or definition(layer)
                    found[name] = worst({case: layer_tensors(entry, x) for case, x in drawn.items()}, right)
            for name in (*GPTS, *([] if dtype == "bfloat16" else [OPTIMISER])):
                found[name] = worst({"": whole_tensors(name, dtype, "cuda")}, wholes[name])
            differ = int((generated(dtype, "cuda") != right_tokens).sum())
        for name, (error, tensor) in found.items():
            rows.setdefault(name, {"": name}).update({f"{kind}, error": error, f"of ({kind})": tensor})
            if allowed is not None:
                whole = dtype == "bfloat16" and name in GPTS  # through many layers it rounds more
                report.check(f"{name}, {kind}", error, allowed * (2 if whole else 1))
        if allowed is not None and dtype != "bfloat16":
            report.check(f"generated tokens that differ, {kind}", differ, 0)
        columns = dict.fromkeys(column for row in rows.values() for column in row)
        report.table(title, [dict.fromkeys(columns) | row for row in rows.values()])
        differing.append(f"{differ} in {kind}")
    report.say(
        "Allowed: 1e-10 in float64, 1e-5 in float32 and 2e-2 in bf16 (4e-2 for a model), of the same inputs, rounded "
        "to what they are computed in, but for a model's parameters. TF32 is only stated."
    )
    report.say(f"Of {right_tokens.size} tokens that a model generates, there differ {', '.join(differing)}.")
    errors = {
        kind: max(row[f"{kind}, error"] for row in rows.values() if f"{kind}, error" in row) for kind in WITH_BF16
    }
    report.answer("errors are at most " + ", ".join(f"{error:.1e} in {kind}" for kind, error in errors.items()))


def layer_tensors(layer: Any, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    """A layer's output, and its gradient for each input, by name on the host."""
    from tinygpt.backend import array_module, to_host
    from tinygpt.random import generator

    out, cache = layer.forward(**inputs)
    dout = generator(0, "dout").standard_normal(out.shape, dtype=np.float32)
    gradients = layer.backward(array_module(out).asarray(dout, dtype=out.dtype), cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    names = [f"d{name}" for name, x in inputs.items() if x is None or isinstance(x, dict) or is_float(x)]
    found = {"out": out} | dict(zip(names, gradients, strict=True))
    found |= {f"d{name}": d for name, d in found.pop("dparams", {}).items()}
    return {name: to_host(array) for name, array in found.items() if array is not None}


def is_float(x: Any) -> bool:
    return hasattr(x, "dtype") and (x.dtype.kind == "f" or x.dtype.name == "bfloat16")


def same(x: Any, dtype: str, device: str) -> Any:
    """Inputs in a dtype on a device, rounded to float32 before: in every dtype the same numbers. In bfloat16 vectors
    stay in float32, as a model's do.
    """
    from tinygpt.backend import to_device
    from tinygpt.precision import dtype_of

    if isinstance(x, dict):
        return {name: same(value, dtype, device) for name, value in x.items()}
    if not isinstance(x, np.ndarray):
        return x
    if is_float(x):
        x = x.astype(np.float32).astype(dtype_of("float32" if dtype == "bfloat16" and x.ndim < 2 else dtype))
    return to_device(x, device)


def worst(ours: dict[str, dict], right: dict[str, dict]) -> tuple[float, str]:
    """The largest error, and of which tensor (in which case)."""
    from tests.parity.comparison import relative_error

    errors = {}
    for case, tensors in right.items():
        for name, tensor in tensors.items():
            error = relative_error(ours[case][name], tensor)
            errors[f"{name} ({case})" if case else name] = math.inf if math.isnan(error) else error
    name = max(errors, key=lambda name: errors[name])
    return errors[name], name


def small_gpt(dtype: str, device: str, **changes: Any) -> Any:
    """A model of random float32 numbers: on the CPU with the definitions, on a card with the table that it gets."""
    from tests.parity.comparison import randomize
    from tinygpt import GPT, GPTConfig
    from tinygpt.ops import build

    config = GPTConfig(block_size=32, vocab_size=65, n_layer=2, n_head=2, n_embd=64, **changes)
    drawn = GPT(config, "cpu", "float32", seed=None)
    randomize(drawn, np.random.default_rng(0))
    model = GPT(config, device, dtype, ops=build("reference" if device == "cpu" else "auto", device))
    for name, array in drawn.params.items():
        model.params[name] = array
    return model


def whole_tensors(name: str, dtype: str, device: str) -> dict[str, np.ndarray]:
    """A model's logits, loss and gradients, or what AdamW makes of its parameters, by name on the host."""
    from tests.parity.comparison import random_batch
    from tinygpt.backend import to_host
    from tinygpt.optim import AdamW

    model, rng = small_gpt(dtype, device, **GPTS.get(name, {})), np.random.default_rng(1)
    if name == OPTIMISER:
        optimizer, grads = AdamW(model.params, **ADAMW), model.params.zeros_like()
        for _ in range(5):
            for parameter, array in grads.items():
                grads[parameter] = rng.standard_normal(array.shape, dtype=np.float32)
            norm = optimizer.step(grads, lr=1e-2, max_norm=1.0)
        found = {"w": model.params.flat, "m": optimizer.m.flat, "v": optimizer.v.flat, "norm": norm}
    else:
        idx, targets = random_batch(model.config, 3, 32, rng)
        logits, _ = model.forward(idx)
        loss, cache = model.loss(idx, targets, step=3)
        found = {"logits": logits, "loss": loss} | {f"d{n}": d for n, d in model.backward(cache).items()}
    return {name: to_host(array) for name, array in found.items()}


def generated(dtype: str, device: str) -> np.ndarray:
    """48 tokens by likelihood and 48 drawn, past the end of the window."""
    model, prompt = small_gpt(dtype, device), np.zeros((1, 1), np.int64)
    rules: tuple[dict[str, Any], ...] = {"temperature": 0.0}, {"temperature": 0.8, "top_k": 20, "seed": 1}
    return np.concatenate([model.generate(prompt, 48, **rule)[:, 1:] for rule in rules])
