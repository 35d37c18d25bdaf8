import pytest

from .comparison import NEEDS_TORCH


@pytest.fixture(scope="package", autouse=True)
def one_torch_thread():
    """These tensors are too small to share out, and a test suite is seldom alone on its machine."""
    torch = pytest.importorskip("torch", reason=NEEDS_TORCH)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
