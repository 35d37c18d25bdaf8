"""`merge`, one step of BPE: its calls, and the mistakes it is usually made with."""

import numpy as np

from tinygpt.own_layers.functions import Call, Calls
from tinygpt.tokenizer import merge

DEFINITION = merge


def calls(rng: np.random.Generator) -> Calls:
    yield Call("the pair at the end", ([3, 2, 1, 2], (1, 2), 9))
    yield Call("the pair twice", ([1, 2, 3, 1, 2], (1, 2), 9))
    yield Call("no such pair", ([2, 1, 3, 2, 1], (1, 2), 9))
    yield Call("three of a kind", ([7, 7, 7], (7, 7), 9))
    yield Call("one token", ([5], (5, 5), 9))
    yield Call("no tokens", ([], (5, 5), 9))
    yield Call("equal neighbours", ([int(i) for i in rng.integers(2, size=30)], (1, 1), 9))
    yield Call("ids of two digits", ([11, 2, 1, 2, 12, 1, 21, 2, 1, 22], (1, 2), 9))
    yield Call("many tokens", ([int(i) for i in rng.integers(3, size=40)], (1, 2), 9))


# fmt: off
MISTAKES = [
    ("after a merge the second token of the pair is read once more: step over both", ("i += 2", "i += 1")),
    ("only the first of the pairs is replaced", ("... == pair", "... == pair and new_id not in merged")),
    ("the pairs are taken from right to left: merge([7, 7, 7], (7, 7), 9) is [9, 7]",
     ("merged = []\ni = 0", "merged = []\ni = 0\nids, pair = ids[::-1], pair[::-1]"),
     ("return merged", "return merged[::-1]")),
    ("the last token is lost where no pair ends the list", ("i < len(ids)", "i + 1 < len(ids)")),
    ("the order within the pair is ignored: (1, 2) is not (2, 1)",
     ("(ids[i], ids[i + 1]) == pair", "sorted((ids[i], ids[i + 1])) == sorted(pair)")),
    ("every token of the pair is replaced, wherever it stands",
     ("i + 1 < len(ids) and ...", "ids[i] in pair"), ("i += 2", "i += 1")),
    ("only the first token of the pair is looked at", ("i + 1 < len(ids) and ...", "ids[i] == pair[0]")),
    ("the last token has no neighbour, and ids[i + 1] is looked at all the same: ask first whether there is one",
     ("i + 1 < len(ids) and ...", "(ids[i], ids[i + 1]) == pair")),
    ("a token is taken for the pair where only one of the two is right: both have to be",
     ("i + 1 < len(ids) and ...", "ids[i] == pair[0] or ids[i + 1] == pair[1]")),
    ("the ids are replaced as text, where 21 and 2 hold a 1 and a 2 too: compare whole ids",
     ("return merged", "text = ' '.join(map(str, ids)).replace(f'{pair[0]} {pair[1]}', str(new_id))\n"
                       "return [int(token) for token in text.split()]")),
    ("no pair is ever replaced: pair is a tuple, and no list is equal to one", ("... == pair", "False")),
]
