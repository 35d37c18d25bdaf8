"""The length of a step is a reader's own: norm and schedule in a run, and how their functions are judged."""

import ast

import pytest

from lessons.exercises import EXERCISES
from tinygpt.optim import cosine_schedule, global_norm
from tinygpt.own_layers import check, load_own_layers
from tinygpt.own_layers.outcomes import _equal, differs
from tinygpt.run.state import Parts
from tinygpt.train import StepRecord, TrainConfig, start, train

STEPS = 4


@pytest.fixture
def config(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question\n" * 20, encoding="utf-8")
    return TrainConfig(
        data=str(text), out_dir=str(tmp_path / "out"), n_layer=1, n_head=1, n_embd=8, block_size=8, batch_size=2,
        max_iters=STEPS, eval_interval=STEPS, eval_iters=1, warmup_iters=1, log_interval=1, sample_length=0, threads=1,
        device="cpu", seed=1,
    )  # fmt: skip


def records(state):
    return [record for record in train(state) if isinstance(record, StepRecord)]


def test_a_run_takes_each_steps_rate_and_norm_from_its_parts(config):
    asked = []

    def schedule(*arguments):
        asked.append(arguments)
        return 0.25 / (1 + arguments[0])

    def norm(arrays, each):
        return arrays[0].dtype.type(7)

    done = records(start(config, Parts(global_norm=norm, cosine_schedule=schedule)))
    assert [record.lr for record in done] == [0.25, 0.125, 0.25 / 3, 0.0625]
    assert asked[:STEPS] == [(step, config.learning_rate, config.learning_rate / 10, 1, STEPS) for step in range(STEPS)]
    assert {record.grad_norm for record in done} == {7.0}


def test_a_folders_norm_and_schedule_are_a_runs_and_the_engines_give_the_same_numbers(config, tmp_path):
    names = "global_norm", "cosine_schedule"
    for name in names:
        (tmp_path / f"{name}.py").write_text(EXERCISES[name].solution(), encoding="utf-8")
    own = load_own_layers(tmp_path)
    assert sorted(own.used) == sorted(names) and not own.left_out
    state = start(config, own.parts)
    assert state.optimizer.norm is state.parts.global_norm is not global_norm
    assert state.parts.cosine_schedule is not cosine_schedule
    theirs = records(state)
    config.out_dir = str(tmp_path / "again")
    ours = records(start(config))
    assert [(record.lr, record.loss, record.grad_norm) for record in theirs] == [
        (record.lr, record.loss, record.grad_norm) for record in ours
    ]


def test_gradients_that_the_norm_squares_in_place_are_told_of(tmp_path):
    path = tmp_path / "global_norm.py"
    wrong = "def global_norm(arrays, each=map):\n    import numpy as np\n    for x in arrays:\n        x *= x\n"
    path.write_text(f"{wrong}    return np.sqrt(np.stack([x.sum() for x in arrays]).sum())\n", encoding="utf-8")
    assert "left arrays changed" in check("global_norm", path).wrong


def test_a_last_digit_is_no_mistake_and_another_number_or_kind_is():
    assert differs(0.1 + 0.2, 0.3) == ""
    assert differs(0.3001, 0.3) == "0.3001; expected 0.3"
    assert differs("0.3", 0.3) and differs(None, 0.3) and differs(float("nan"), 0.3)
    assert _equal(([1, 2], 3), ([1, 2], 3)) and not _equal(([1, 2], 3), ([1, 2], 4))


@pytest.mark.parametrize(
    "exercise", [e for e in EXERCISES.values() if not e.part.is_kernel], ids=lambda exercise: exercise.name
)
def test_no_file_takes_a_function_from_the_module_that_shows_its_answer(exercise):
    source = exercise.part.source
    module = __import__(source, fromlist=["*"])
    for node in ast.walk(ast.parse(exercise.blank())):
        if isinstance(node, ast.ImportFrom) and node.module == source:
            assert not any(hasattr(getattr(module, alias.name), "__code__") for alias in node.names)
