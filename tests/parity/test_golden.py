"""The golden values, which tests without PyTorch compare with, are what PyTorch still computes."""

import pytest
from safetensors import safe_open

from .comparison import NEEDS_TORCH, assert_agree

torch = pytest.importorskip("torch", reason=NEEDS_TORCH)

from tests.golden.generate import PATH, generate  # noqa: E402


def contents(path):
    with safe_open(path, "numpy") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}


def test_the_file_is_what_its_generator_makes(tmp_path):
    generate(tmp_path / "gpt.safetensors")
    settings, tensors = contents(PATH)
    new_settings, new_tensors = contents(tmp_path / "gpt.safetensors")
    assert new_settings == settings
    assert_agree(new_tensors, tensors, tolerance=1e-12)


def test_the_file_is_small_enough_to_be_read_with_the_code():
    assert PATH.stat().st_size <= 64 * 1024
