"""What the lessons share: the text they rest on, numbers that are stated and proved, plots, and a small trained model.

A lesson is run with its own folder on the path, by `python lessons/07_layernorm.py` and by the stepper. A notebook may
run anywhere, so each lesson adds the folder, which lies beside that of tinygpt, before it says `from kit import ...`.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from tinygpt.models.gpt2 import GPT
from tinygpt.tokenizer import Tokenizer

FOLDER = Path(__file__).resolve().parent
TEXT_FILE = FOLDER / "text.txt"
TEXT = TEXT_FILE.read_text(encoding="utf-8")  # a story of our own: the same on every machine
OUT = FOLDER / "out"

for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):  # a redirected stream's encoding may lack Σ and its like
        stream.reconfigure(errors="replace")
threadpool_limits(1)  # a lesson's matrices are done before a second thread of BLAS has woken up


exploring = False  # True once a reader has been at the stepper's prompt, and may have changed what they like


def stated(text: str, value: Any, within: float | None = None) -> None:
    """Fail unless `value` is what the lesson's words say it is.

    text: a number as it stands in the words, such as "3.30", "1,024" or "97%". value must round to it, or, where the
    number depends a little on the machine, be as near to it as `within`.
    """
    digits = text.replace(",", "").removesuffix("%").replace("−", "-")
    decimals = len(digits.partition("e")[0].partition(".")[2])
    exponent = int(digits.partition("e")[2] or 0)
    number = float(value) * (100 if text.endswith("%") else 1)
    allowed = 0.5000001 * 10.0 ** (exponent - decimals) if within is None else within
    if exploring and not abs(number - float(digits)) <= allowed:
        print(f"(the lesson says {text}, and with your changes it is {number:.6g})")
        return
    assert abs(number - float(digits)) <= allowed, f"the lesson says {text}, but it is {number:.6g}"


@contextlib.contextmanager
def plot(name: str, columns: int = 1, size: tuple[float, float] = (6.4, 3.6)) -> Iterator[Any]:
    """A figure to draw on: `with plot("bump") as axes:`, or a list of `columns` axes side by side.

    Saved as lessons/out/NN_name-<name>.png, and shown in a notebook. Without matplotlib nothing is drawn, and a line
    says so. size: in inches.
    """
    try:
        from matplotlib.figure import Figure  # not pyplot, which looks for a display
    except ImportError:
        yield _Nowhere() if columns == 1 else [_Nowhere()] * columns
        print(f"(no plot of {name}: it needs matplotlib, which pip install -e '.[plot]' brings)")
        return
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, columns)
    yield axes if columns == 1 else list(axes)
    lesson = Path(getattr(sys.modules["__main__"], "__file__", None) or "notebook").stem
    path = OUT / f"{lesson}-{name}.png"
    OUT.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)
    if "get_ipython" in vars(sys.modules["__main__"]):
        from IPython.display import Image, display

        display(Image(path))
    else:
        print(f"plot: {path.relative_to(FOLDER.parent)}")


class _Nowhere:
    """Axes that draw nothing: any method may be called, and gives another of these."""

    def __getattr__(self, name: str) -> "_Nowhere":
        return self

    def __call__(self, *_: Any, **__: Any) -> "_Nowhere":
        return self


TINY: dict[str, Any] = {  # the model that lesson 15 trains, and later lessons use
    "data": str(TEXT_FILE), "out_dir": str(OUT / "tiny-gpt"), "n_layer": 2, "n_head": 2, "n_embd": 48, "block_size": 48,
    "batch_size": 8, "max_iters": 600, "eval_interval": 100, "eval_iters": 8, "warmup_iters": 20, "learning_rate": 1e-2,
    "sample_length": 0, "log_interval": 5, "seed": 1, "threads": 1, "device": "cpu", "bias": True,
}  # fmt: skip


def tiny_gpt() -> tuple[GPT, Tokenizer | None]:
    """The model that lesson 15 trains on the lessons' text, trained now (seconds) if it has not been yet."""
    from tinygpt.run.folder import load_state
    from tinygpt.train import TrainConfig, load_model, start, train

    folder = OUT / "tiny-gpt"
    if not (folder / "last").is_dir() or load_state(folder)[0]["step"] < TINY["max_iters"]:
        for _ in train(start(TrainConfig(**TINY))):
            pass
    return load_model(folder, "cpu")
