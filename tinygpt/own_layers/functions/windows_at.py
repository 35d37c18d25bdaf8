"""`windows_at`, which cuts a corpus into windows: its calls, and the mistakes it is usually made with."""

import numpy as np

from tinygpt.data.corpus import windows_at
from tinygpt.own_layers.functions import Call, Calls

DEFINITION = windows_at


def calls(rng: np.random.Generator) -> Calls:
    B, T = rng.permutation(np.arange(2, 8))[:2]
    tokens = rng.integers(60_000, size=40).astype(np.uint16)
    yield Call("", (tokens, rng.integers(40 - T, size=B), int(T)))
    yield Call("overlapping windows", (tokens, np.array([3, 4, 3]), 5))
    yield Call("the last window", (tokens, np.array([40 - int(T) - 1]), int(T)))
    yield Call("one token", (tokens, np.array([7, 0]), 1))


# fmt: off
MISTAKES = [
    ("targets are the tokens at the same places as idx, so there is nothing to predict: they belong one place on",
     ("places + 1", "places")),
    ("targets are the tokens one place back, where one place on belongs", ("places + 1", "places - 1")),
    ("the windows stand in the columns, (T, B), where they belong in the rows, (B, T)",
     ("starts[:, None] + np.arange(block_size)", "starts + np.arange(block_size)[:, None]")),
    ("idx and targets keep the dtype of tokens, where int64 is expected",
     ("tokens[places].astype(...)", "tokens[places]"), ("tokens[places + 1].astype(...)", "tokens[places + 1]")),
    ("targets are the tokens' ids plus 1, where the ids of the tokens one place on belong",
     ("tokens[places + 1].astype(np.int64)", "tokens[places].astype(np.int64) + 1")),
    ("the windows begin one place too late", ("np.arange(block_size)", "np.arange(1, block_size + 1)"),
     ("tokens[places + 1]", "tokens[np.minimum(places + 1, len(tokens) - 1)]"),
     ("tokens[places]", "tokens[np.minimum(places, len(tokens) - 1)]")),
    ("starts and the places in a window are added as two rows, where a table is wanted: make a column of starts",
     ("starts[:, None] + ...", "starts + ...")),
    ("the windows are one too long: they are block_size places, and the token behind them stands in targets alone",
     ("np.arange(block_size)", "np.arange(block_size + 1)")),
    ("one array comes back, of windows that hold the last target too: idx is all of it but the last column, and "
     "targets all but the first", ("np.arange(block_size)", "np.arange(block_size + 1)"),
     ("return tokens[places].astype(...), tokens[places + 1].astype(...)", "return tokens[places].astype(np.int64)")),
    ("targets hold one token for each window, the one behind it, where one for every token of the window belongs",
     ("tokens[places + 1]", "tokens[starts + block_size]")),
    ("starts are multiplied by block_size, where they are places in tokens already",
     ("starts[:, None] + ...", "starts[:, None] * block_size + ...")),
    ("idx and targets stand in each other's place",
     ("return tokens[places].astype(...), tokens[places + 1].astype(...)",
      "return tokens[places + 1].astype(np.int64), tokens[places].astype(np.int64)")),
    ("the windows begin one place too late", ("np.arange(block_size)", "np.arange(1, block_size + 1)")),
    ("targets are the window that follows, block_size places on, where the tokens one place on belong",
     ("places + 1", "places + block_size")),
    ("targets are the window that follows, block_size places on, where the tokens one place on belong",
     ("tokens[places + 1]", "np.stack([tokens[s + block_size : s + 2 * block_size] for s in starts])")),
]
