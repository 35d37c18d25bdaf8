"""Texts to learn from, their token files, and batches.

`load_corpus` finds a text, encodes it once into `train.bin` and `val.bin` in a cache folder, and maps these files into
memory. A folder that already holds such files, as nanoGPT writes them, is read as it is.
"""

from tinygpt.data.addition import AdditionCorpus
from tinygpt.data.corpus import Batch, Corpus, first_prompt, windows_at
from tinygpt.data.load import STDLIB_CHARACTERS, load_corpus

__all__ = ["STDLIB_CHARACTERS", "AdditionCorpus", "Batch", "Corpus", "first_prompt", "load_corpus", "windows_at"]
