"""Which name is whose gradient: `dw`, `grad_w` and `w_grad` are `w`'s, and `dweights` may be `W`'s."""

import re
from collections.abc import Iterable
from typing import Any

FORMS = (
    "d{}", "d_{}", "grad_{}", "{}_grad", "{}_gradient", "grad{}", "gradient_{}", "g_{}", "delta_{}", "dL_d{}", "dLd{}",
    "dloss_d{}", "{}_g",
)  # fmt: skip
ALIKE = ({"w", "weight", "weights", "kernel"}, {"b", "bias", "biases"}, {"x", "input", "inputs", "inp"})
RATES = {"lr", "learningrate", "eta", "alpha", "stepsize"}
TARGETS = {"y", "t", "target", "targets", "ytrue", "label", "labels", "gt", "truth", "groundtruth", "expected"}
OUTPUTS = {"out", "output", "outputs", "y", "a", "yhat", "ypred", "probs", "probabilities", "p", "s", "h", "result"}
HOLDERS = {"grad", "grads", "gradient", "gradients", "dparams", "dparameters", "gradparams", "paramgrads"}
VALUES, THEIRS = {"data", "value", "val", "array", "values"}, {"grad", "gradient", "g", "d", "grads"}  # of one object
ABOVE = re.compile(
    r"d(?!rop|ata|im|en|type|il|ict|iag|ist|epth|ecay|ev|efault)\w*|g|up|upstream\w*|delta\w*|v|cotangent|"
    r"\w*(grad(ient)?s?|error|err|diff)|grad\w*|ct"
)


def plain(name: Any) -> str:
    """A name without what people write differently: case and underscores."""
    return str(name).casefold().replace("_", "")


def is_above(name: str) -> bool:
    """Whether an argument of backward is, by its name, the gradient from above."""
    return ABOVE.fullmatch(name.casefold()) is not None


def find(name: Any, among: Iterable[Any], itself: bool = False) -> Any:
    """That of some names which is the gradient of `name`, the likest first; None if none is. itself: `name` may be."""
    among = [key for key in among if isinstance(key, str)]
    name = str(name)
    exact = [form.format(name) for form in FORMS] + [name] * itself
    if found := [key for wanted in exact for key in among if key == wanted]:
        return found[0]
    alike = next((sorted(group) for group in ALIKE if plain(name) in group), [])
    for other in [plain(name), *alike]:
        wanted = [plain(form.format(other)) for form in FORMS] + [other] * itself
        if found := [key for key in among if plain(key) in wanted]:
            return found[0]
    return None
