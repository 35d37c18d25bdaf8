"""The page of GPT-2: it says which leaves it uses, and uses no others; what it makes of them can be replaced."""

import ast
import inspect
from types import SimpleNamespace

import numpy as np
import pytest

from tinygpt import GPT, GPTConfig, UserError
from tinygpt.layers import linear
from tinygpt.models import gpt2, model
from tinygpt.ops import DEFINITIONS, Ops, build

CONFIG = GPTConfig(block_size=6, vocab_size=7, n_layer=2, n_head=2, n_embd=6)
IDX, TARGETS = np.array([[1, 2, 3, 1]]), np.array([[2, 3, 1, -1]])


def leaves_used(*modules) -> set[str]:
    """What is asked of a table by name in their source: `ops.linear`, `self.ops.softmax`."""
    nodes = (node for module in modules for node in ast.walk(ast.parse(inspect.getsource(module))))
    tables = "ops", "self.ops"
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) in tables}


def test_the_page_declares_the_leaves_that_it_uses_and_no_others():
    declared = {name for name in vars(gpt2.Leaves) if inspect.ismodule(getattr(gpt2.Leaves, name))}
    assert leaves_used(gpt2, model) - {"mlp", "fused", "replace"} == declared
    assert all(getattr(gpt2.Leaves, name) is getattr(DEFINITIONS, name) for name in declared)


@pytest.mark.parametrize("name", ["block", "mlp", "lm_head_loss", "probabilities", "fused_nothing"])
def test_what_the_page_makes_of_leaves_stands_in_no_table(name):
    assert not hasattr(DEFINITIONS, name) and not hasattr(build(), name)
    with pytest.raises(UserError, match=f"there is no layer '{name}' in the table"):
        DEFINITIONS.replace(**{name: SimpleNamespace()})


def test_a_block_of_ones_own_takes_the_pages_place_forward_backward_and_in_generation():
    calls = []

    def forward(*arguments, **options):
        calls.append("forward")
        return gpt2.Block.forward(*arguments, **options)

    def backward(*arguments):
        calls.append("backward")
        return gpt2.Block.backward(*arguments)

    own = GPT(CONFIG, parts={"block": SimpleNamespace(forward=forward, backward=backward)})
    ours = GPT(CONFIG)
    grads = own.backward(own.loss(IDX, TARGETS)[1])
    assert calls == ["forward"] * 2 + ["backward"] * 2
    np.testing.assert_array_equal(grads.flat, ours.backward(ours.loss(IDX, TARGETS)[1]).flat)
    # It cannot decode, so each token is computed from all before it; the window is cut as with remembered keys.
    np.testing.assert_array_equal(own.generate(IDX, 9, seed=1), ours.generate(IDX, 9, seed=1))


def test_an_mlp_of_ones_own_is_used_in_the_pages_block_and_in_decoding():
    calls = []

    class Spy(gpt2.MLP):
        @staticmethod
        def forward(*arguments, **options):
            calls.append(arguments[0].shape)
            return gpt2.MLP.forward(*arguments, **options)

    model = GPT(CONFIG, parts={"mlp": Spy})
    model.loss(IDX, TARGETS)
    model.generate(IDX, 1)
    assert calls == [(1, 4, 6)] * 4


def test_a_part_that_the_model_has_not_is_one_sentence():
    with pytest.raises(UserError, match="there is no 'blok' in this model"):
        GPT(CONFIG, parts={"blok": None})


def test_the_fused_head_is_used_only_while_every_leaf_it_stands_for_is_ours():
    table = build()
    assert GPT(CONFIG, ops=table).head_loss is table.fused("lm_head_loss") is not None
    assert GPT(CONFIG, ops=table.replace(linear=linear)).head_loss is gpt2.LMHeadLoss
    assert GPT(CONFIG, ops=table.replace(layernorm=table.layernorm)).head_loss is table.fused("lm_head_loss")
    assert GPT(CONFIG, ops=DEFINITIONS).head_loss is gpt2.LMHeadLoss
    own = SimpleNamespace(forward=gpt2.LMHeadLoss.forward, backward=gpt2.LMHeadLoss.backward)
    assert GPT(CONFIG, ops=table, parts={"lm_head_loss": own}).head_loss is own


def test_nothing_is_in_a_table_before_it_is_asked_for():
    table = Ops({}, {})
    assert not [name for name in vars(table) if not name.startswith("_")]
    assert table.gelu is DEFINITIONS.gelu and "gelu" in vars(table)


def test_a_shorter_context_keeps_the_parts_that_are_not_the_pages():
    own = SimpleNamespace(forward=gpt2.Block.forward, backward=gpt2.Block.backward)
    shorter = GPT(CONFIG, ops=DEFINITIONS, parts={"block": own}).cropped(4)
    assert shorter.block is own and shorter.ops is DEFINITIONS and shorter.config.block_size == 4
