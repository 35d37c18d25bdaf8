"""Folders of token files as others leave them, and encodings in the place of GPT-2's."""

import argparse
import pickle
import pydoc
import warnings
from pathlib import Path

import numpy as np

from tinygpt.errors import Note, UserError
from tinygpt.tokenizer import BPETokenizer, CharTokenizer

PROSE = Path(argparse.__file__).read_text(encoding="utf-8")  # which all machines have
OTHER = Path(pydoc.__file__).read_text(encoding="utf-8")
PLAY = "To be, or not to be\nthat is the question.\n" * 20
TRAINED = BPETokenizer.train(PROSE, 700)
SMALL = {"n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 8, "batch_size": 2, "eval_iters": 1, "max_iters": 2,
         "device": "cpu", "threads": 1, "sample_length": 5}  # fmt: skip


class StandIn(BPETokenizer):
    """700 byte pairs in the place of GPT-2's 50,257, which not every machine has."""

    name = "gpt2"
    vocab_size = 700

    def __init__(self):
        super().__init__(TRAINED.state["merges"])
        self.state = {"name": "gpt2"}


class OutOfReach(StandIn):
    """GPT-2's encoding on a machine that neither has nor can fetch it."""

    def encode(self, text):
        raise UserError("GPT-2's encoding is not on this machine; connect to the internet once")

    decode_bytes = encode


def folder_of(folder, ids, dtype=np.uint16, text=None, meta=None):
    """A folder as nanoGPT leaves one, nine tenths of the ids to train on."""
    folder.mkdir(exist_ok=True)
    ids = np.asarray(ids)
    ids[: len(ids) * 9 // 10].astype(dtype).tofile(folder / "train.bin")
    ids[len(ids) * 9 // 10 :].astype(dtype).tofile(folder / "val.bin")
    if text is not None:
        (folder / "input.txt").write_bytes(text.encode())
    if meta is not None:
        (folder / "meta.pkl").write_bytes(pickle.dumps(meta))
    return folder


def token_folder(folder, train, val, text=None):
    folder = folder_of(folder, [], text=text)
    np.array(train, np.uint16).tofile(folder / "train.bin")
    np.array(val, np.uint16).tofile(folder / "val.bin")
    return folder


def characters(text):
    return CharTokenizer.train(text).encode(text)


def nanogpts_meta(text):
    """What nanoGPT's data/shakespeare_char/prepare.py writes."""
    itos = dict(enumerate(sorted(set(text))))
    return {"vocab_size": len(itos), "itos": itos, "stoi": {c: i for i, c in itos.items()}}


def said(call):
    """(what a call returns, the notes it gives)."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        result = call()
    return result, [str(note.message) for note in notes if note.category is Note]
