"""Texts to learn from, their token files, and batches; `load_corpus` finds a text by its name."""

from tinygpt.data.addition import AdditionCorpus
from tinygpt.data.corpus import Batch, Corpus, windows_at
from tinygpt.data.load import STDLIB_CHARACTERS, load_corpus

__all__ = ["STDLIB_CHARACTERS", "AdditionCorpus", "Batch", "Corpus", "load_corpus", "windows_at"]
