"""tinygpt: a GPT whose every gradient is written by hand, in plain array code for NumPy and CuPy."""

from tinygpt.errors import UserError
from tinygpt.model import GPT, GPTConfig

__version__ = "0.1.0"
__all__ = ["GPT", "GPTConfig", "UserError", "__version__"]
