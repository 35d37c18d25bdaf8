# %% [markdown]
# # 2. Text to tokens
#
# *45 minutes*
#
# A network computes with numbers, and a text has none. So before anything is learned the text becomes a row of whole
# numbers, the *tokens*, each below a fixed V, the size of the vocabulary. The network will pay for every token in the
# row, and again for every entry of the vocabulary.
#
# **How would you number a text, so that every text can be written, also one with a letter that you have never seen,
# and the row is still short?**

# %%
import re
import sys
from collections import Counter
from itertools import pairwise
from textwrap import fill
from unittest import mock

import tinygpt

sys.path += [f"{tinygpt.__path__[0]}/../lessons"]  # where kit is, whatever folder a notebook runs in
from kit import TEXT, plot, stated

from tinygpt.errors import UserError
from tinygpt.tokenizer import SPLIT, BPETokenizer, CharTokenizer, GPT2Tokenizer, merge

# %% [markdown]
# ## The text, to be read now
#
# All lessons learn from one text, `lessons/text.txt`, written for them. It is short: 1,416 words, seven minutes. The
# first part, "The Counting House", is about a town where every word is counted, and a girl who asks what for. The
# second, "The Rule of the Little Step", is about going down a hill in the fog. What Ada and the oldest counter say to
# each other comes back in lessons 3, 5 and 9, and the way down the hill is what training does, in 5, 13 and 14. So
# read it before you go on: open the file, or say `print(TEXT)` at a Python prompt, which `p` opens in the stepper.

# %%
for paragraph in TEXT[: TEXT.index("After")].strip().split("\n\n"):
    print(fill(paragraph, 76), end="\n\n")
print(f"{len(TEXT.split()):,} words")
stated("1,416", len(TEXT.split()))

# %% [markdown]
# ## Characters
#
# The first thought is a number for each character. Sort those that occur in the text. A character's place in that
# list is its token, also called its *id*.

# %%
characters = sorted(set(TEXT))
id_of = {character: i for i, character in enumerate(characters)}
ids = [id_of[character] for character in TEXT]
print(f"{len(TEXT):,} characters, {len(characters)} different ones:")
print(repr("".join(characters)))
print(TEXT[:12], "->", ids[:12])
engine = CharTokenizer.train(TEXT)
print("the same as the engine's:", ids == engine.encode(TEXT).tolist())
print("and back:", "".join(characters[i] for i in ids) == TEXT)
stated("6,923", len(TEXT))
try:
    engine.encode("Zürich")
except UserError as error:
    print(fill(f"Zürich: {error}", 76))

# %% [markdown]
# The vocabulary is small, and a row of 6,923 tokens is as long as the text. What was not in the text cannot be
# written. To take all characters that there may be is no way out: Unicode has room for 1,114,112.
#
# ## Bytes
#
# A file holds bytes, numbers from 0 to 255. UTF-8 is the usual rule for writing a character as bytes: a, one byte;
# most letters with an accent, two; Chinese and Japanese characters, three.
#
# ```
# character   code point    bytes
# a                   97    97
# é                  233    195 169
# 東              26,481    230 157 177
# ```
#
# With 256 tokens every text can be written. But the row is never shorter than the text, and there are rows of tokens
# that are no text: half of a character is not a character. When decoded it becomes U+FFFD, the sign for what cannot
# be read.

# %%
for character in "aé東":
    print(character, ord(character), list(character.encode()))
print("half of é:", repr(bytes([195]).decode(errors="replace")))
stated("1,114,112", sys.maxunicode + 1)
stated("233", ord("é"))
stated("26,481", ord("東"))
assert list("é東".encode()) == [195, 169, 230, 157, 177] and max(bytes(range(256))) == 255

# %% [markdown]
# ## On paper: byte-pair encoding
#
# Begin with the bytes, and shorten the row step by step. Find the pair of neighbours that occurs most often, give it
# a new number, and write the new number wherever the pair stands. That is one *merge*. (Gage, 1994, to compress
# files; Sennrich, Haddow and Birch, 2016, arXiv:1508.07909, algorithm 1, to cut text for a network.)
#
# Where two pairs occur equally often, a rule has to choose, the same on every machine: the smaller one, comparing
# first numbers, then second ones. The new numbers begin at 256, and so are larger than any byte.
#
# Take a pencil. Here is a row of 14 tokens. Count its pairs, and make three merges, with the names X, Y and Z for the
# new tokens, before you go on:
#
# ```
# b a n a n a _ b a n d a n a
# ```

# %% [markdown]
# ```
# b a n a n a _ b a n d a n a      14 tokens    an 4   na 3   ba 2   a_ _b nd da 1
#                                               X = an
# b X X a _ b X d X a              10 tokens    bX 2   Xa 2   XX a_ _b Xd dX 1
#                                               Y = bX, which spells ban
# Y X a _ Y d X a                   8 tokens    Xa 2   all others 1
#                                               Z = Xa, which spells ana
# Y Z _ Y d Z                       6 tokens    every pair once: we stop
# ```
#
# In the second step two pairs occur twice. b is byte 98 and X is the first new number, 256, so bX, (98, 256), is
# smaller than Xa, (256, 97).
#
# A Python string can stand for a row of tokens, with one character for each, and `str.replace` makes a merge. That is
# not how one would do it in earnest, but it is soon written.


# %%
def most_frequent_pair(rows):
    """rows: {row of tokens, as a string: how often it occurs in the text}."""
    counts = Counter()
    for row, repeats in rows.items():
        for pair in pairwise(row):
            counts[pair] += repeats
    return min(counts, key=lambda pair: (-counts[pair], pair))


def learn(pieces, n_merges):
    """The merges, as pairs of ids, learned from {piece of text: how often}."""
    # latin-1: a character for each byte
    rows = {piece.encode().decode("latin-1"): n for piece, n in pieces.items()}
    merges = []
    for new in range(256, 256 + n_merges):
        a, b = most_frequent_pair(rows)
        rows = {row.replace(a + b, chr(new)): n for row, n in rows.items()}
        merges.append((ord(a), ord(b)))
    return merges


# %%
paper = learn({"banana_bandana": 1}, 3)
row = list(b"banana_bandana")
print(len(row), "tokens:", row)
for new, pair in enumerate(paper, start=256):
    row = merge(row, pair, new)  # the engine's, on a list of ids
    print(f"{len(row):>2} tokens: {row}  after {new} = {pair}")
assert paper == [(97, 110), (98, 256), (256, 97)] and len(row) == 6

# %% [markdown]
# ## Your turn: merge
#
# ```
# python -m lessons start 2     writes lessons/work/merge.py
# python -m lessons check 2     holds it against the engine's
#                               (with --watch: after every save)
# python -m lessons hint 2      if you are stuck
# ```
#
# `merge(ids, pair, new_id)` is one merge on a list of ids, and there is no `replace` for lists. It goes from left to
# right, and a token that was merged cannot be merged again in the same step. The list that came in stays as it is.
# What should it make of three 7s, if the pair is (7, 7)?

# %%
for ids, pair in (([7, 7, 7], (7, 7)), ([1, 2, 1, 2, 1], (1, 2)), ([], (1, 2))):
    print(f"merge({ids}, {pair}, 300) is {merge(ids, pair, 300)}")

# %% [markdown]
# Once it is right, `python -m lessons run 2` shows it at work in a run of some seconds. In a real one it learns the
# tokens, wherever they are learned by merging:
#
# ```
# python train.py --mine lessons/work --tokenizer=bpe --vocab_size=512 \
#     --data=lessons/text.txt
# ```
#
# ## Pieces
#
# The most frequent pair of all in our text: which two characters would you bet on? The first line below says it. And
# why would it be a bad first merge?

# %%
print("pairs of characters:", Counter(pairwise(TEXT)).most_common(3))
assert Counter(pairwise(TEXT)).most_common(1)[0][0] == ("e", " ")

# %% [markdown]
# In our text the most frequent pair of all is an e and the space after it. Merges would soon join the end of one word
# to the beginning of the next. So the text is first cut into *pieces*, and no merge crosses a cut. A piece is a word
# with the space before it, a number, a run of punctuation, or white space. (GPT-2 does much the same: Radford et al.,
# 2019, section 2.2.) It is then enough to look at each different piece once, and to know how often it occurs.

# %%
pieces = re.findall(SPLIT, TEXT)
print(pieces[:8])
print(f"{len(pieces):,} pieces, {len(set(pieces))} different ones")
print("the most frequent:", Counter(pieces).most_common(4))
assert "".join(pieces) == TEXT

# %% [markdown]
# Now learn 256 merges from our text, so that V = 512, and see which tokens come first, and which last: what do you
# expect? The engine learns the same, by a faster way.

# %%
merges = learn(Counter(pieces), 256)
bpe = BPETokenizer.train(TEXT, 512)
engine = [tuple(pair) for pair in bpe.state["merges"]]
print("the same merges as the engine's:", merges == engine)
spelled = [bpe.token_bytes[i].decode() for i in range(256, 512)]
print("first:", spelled[:10])
print("last: ", spelled[-14:-7])
print("      ", spelled[-7:])

# %% [markdown]
# The first merges are letters that often stand together in English. The last ones are words of *this* text. That is
# the choice of V: more merges, shorter rows, and tokens that are met less often. To see it on text from which nothing
# was learned, we learn from the first nine tenths and encode the last tenth. Will a token stand for more bytes there,
# or for fewer, and will more merges help it as much?

# %%
cut = int(0.9 * len(TEXT))
sizes = [256, 264, 272, 288, 320, 384, 448, 512, 640, 768, 900]
parts = TEXT[:cut], TEXT[cut:]
lengths = {256: [len(part) for part in parts]}  # bytes: ours are all ASCII
for size in sizes[1:]:
    tokenizer = BPETokenizer.train(TEXT[:cut], size)
    lengths[size] = [len(tokenizer.encode(part)) for part in parts]
print("              learned from             not seen")
print("vocabulary    tokens  bytes per token  tokens  bytes per token")
for size in (256, 320, 512, 900):
    seen, unseen = lengths[size]
    print(f"{size:>10} {seen:>9,} {cut / seen:>16.2f}", end="")
    print(f" {unseen:>7,} {(len(TEXT) - cut) / unseen:>16.2f}")
stated("2.74", cut / lengths[512][0])
stated("2.45", (len(TEXT) - cut) / lengths[512][1])
stated("3.74", cut / lengths[900][0])
stated("3.01", (len(TEXT) - cut) / lengths[900][1])

with plot("vocabulary") as axes:
    axes.plot(sizes, [cut / lengths[size][0] for size in sizes], label="the text it was learned from")
    axes.plot(sizes, [(len(TEXT) - cut) / lengths[size][1] for size in sizes], label="text it has not seen")
    axes.set(xlabel="size of the vocabulary", ylabel="bytes per token", ylim=(0.9, None))
    axes.legend(frameon=False)

# %% [markdown]
# With 512 tokens each stands for 2.74 bytes of the text they were learned from, and for 2.45 of the rest. With 900 it
# is 3.74 and 3.01. The gap grows: a vocabulary, too, can know its own text better than others.
#
# ## Encoding, and is it right?
#
# To encode a new text, cut it into pieces and apply the merges to each *in the order in which they were learned*. To
# decode, put together the bytes of all tokens. Two things must hold: what comes back is the text, and the engine
# (which leaves the work to OpenAI's `tiktoken`) gives the same ids.


# %%
def encode(text, merges):
    ids = []
    for piece in re.findall(SPLIT, text):
        row = piece.encode().decode("latin-1")
        for new, (a, b) in enumerate(merges, start=256):
            row = row.replace(chr(a) + chr(b), chr(new))
        ids += map(ord, row)
    return ids


texts = [TEXT, "the wet whale", "sheep", "étude", "東京"]
texts += ["Le vieux compteur ouvrit le livre."]
for text in texts:
    ids = encode(text, merges)
    right = bpe.decode(ids) == text and ids == bpe.encode(text).tolist()
    shown = text[:14].strip() + ("..." if len(text) > 14 else "")
    print(f"{shown:<20} {len(text.encode()):>5,} bytes", end=" ")
    print(f"{len(ids):>5,} tokens", "right" if right else "WRONG")
assert all(encode(text, merges) == bpe.encode(text).tolist() for text in texts)
assert all(bpe.decode(encode(text, merges)) == text for text in texts)
print([bpe.decode([i]) for i in encode("the wet sheep", merges)])

# %% [markdown]
# Every text can be written. What is like the text that the merges come from is short, other languages are longer, and
# a script that was never met costs a token for each byte.
#
# ## A bug on purpose
#
# It seems better to take, from left to right, always the *longest* token that fits. Does the text come back from such
# a row? Then what is lost?


# %%
def encode_longest(text, token_bytes):
    ids, id_of = [], {spelled: i for i, spelled in enumerate(token_bytes)}
    for piece in re.findall(SPLIT, text):
        rest = piece.encode()
        while rest:
            longest = max(n for n in range(1, len(rest) + 1) if rest[:n] in id_of)
            ids.append(id_of[rest[:longest]])
            rest = rest[longest:]
    return ids


longest = encode_longest(TEXT, bpe.token_bytes)
print("decodes to the text:", bpe.decode(longest) == TEXT)
differ = {
    piece
    for piece in set(pieces)
    if encode_longest(piece, bpe.token_bytes) != encode(piece, merges)
}  # fmt: skip
print(f"cut in another way: {len(differ)} of {len(set(pieces))} pieces")
for piece in sorted(differ)[:4]:
    both = encode(piece, merges), encode_longest(piece, bpe.token_bytes)
    cuts = ["|".join(bpe.decode([i]) for i in ids) for ids in both]
    print(f"    {cuts[0]:<16} by merges, {cuts[1]}")
assert differ and bpe.decode(longest) == TEXT

# %% [markdown]
# The text comes back, so a round trip alone is not enough. For a network that learned from rows of the one kind would
# be shown rows of the other, and meet words cut as it has never seen them. What catches it is the comparison of ids
# with the definition, merge after merge.
#
# ## GPT-2's encoding
#
# GPT-2 uses the same method with 50,000 merges: 256 bytes, the merges, and one token for the end of a document make V
# = 50,257. `tiktoken` knows this encoding, but fetches its two files at first use. This lesson asks nothing of the
# network, so the next cell uses them if they are here already. If not, it says so, and nothing is missing later.

# %%
stated("50,257", GPT2Tokenizer.vocab_size)
stated("50,000", GPT2Tokenizer.vocab_size - 256 - 1)
# only files that were fetched before
with mock.patch("tiktoken.load.read_file", side_effect=OSError):
    try:
        gpt2 = GPT2Tokenizer()
        n = len(gpt2.encode(TEXT))
        print(f"the text: {n:,} tokens, {len(TEXT) / n:.2f} bytes each")
        sentence = gpt2.encode("The wet whale steered by the same star.")
        print([gpt2.decode([i]) for i in sentence])
    except UserError:
        print("GPT-2's encoding is not on this machine.")
        print("Below stands what this cell prints where it is.")

# %% [markdown]
# ```recorded
# the text: 1,821 tokens, 3.80 bytes each
# ['The', ' wet', ' whale', ' steered', ' by', ' the', ' same', ' star', '.']
# ```
#
# It has never seen our text, and needs fewer tokens than we with 512. It has about a hundred times as many to choose
# from.
#
# ## What it costs
#
# `learn` counts all pairs anew for each merge, and rewrites every row. But most rows do not hold the pair. How many
# do? Guess a percentage.

# %%
rows, changed = [list(piece.encode()) for piece in set(pieces)], 0
for new, pair in enumerate(merges, start=256):
    shorter = [merge(row, pair, new) for row in rows]
    changed += sum(len(after) < len(before) for before, after in zip(rows, shorter, strict=True))
    rows = shorter
looked = len(rows) * len(merges)
print(f"{looked:,} rows looked at, {changed:,} changed: {changed / looked:.1%}")
stated("65,536", 2**16)
stated("1.0%", changed / len(rows) / len(merges))

# %% [markdown]
# Only 1.0% of the rows. The engine keeps, for each pair, the rows that hold it, and counts anew only there.
#
# The larger price is paid by the network, for as long as it lives. Tokens take 2 bytes each in a file (uint16, as
# long as V ≤ 65,536), which is nothing. But each token in the row is one more pass through every layer, and each
# entry of the vocabulary is a row of numbers to be learned, and a score to be computed whenever the next token is
# asked for.

# %% [markdown]
# ## Questions to think about
#
# 1. Some of the 512 tokens do not occur at all in our text once it is encoded, although each was at one time its most
#    frequent pair. How can that be? Which ones are they?
# 2. A word takes the space *before* it along. What would become of the row's length if every space were a piece of
#    its own?
# 3. Merging could go on until every piece is one token. How many of the tokens in the row would then be met only
#    once, and what could be learned about what follows them?
#
# Answers: `python -m lessons answers 2`
#
# ## To read on
#
# - Sennrich, Haddow, Birch: "Neural Machine Translation of Rare Words with Subword Units", 2016, arXiv:1508.07909.
# - Radford et al.: "Language Models are Unsupervised Multitask Learners", 2019, section 2.2: why bytes, and why
#   merges should not cross from one kind of character to another.
# - `tinygpt/tokenizer/bpe.py`: training that touches only what changes; beside it, the other tokenizers.

# %% [markdown]
# ## Answers
#
# **1.** They were used up: wherever " ca" stood in the text, a later merge took it into a longer token. There are 16
# such tokens. They still serve as steps to the others, and where a new text is encoded.

# %%
from textwrap import fill

from kit import TEXT, stated

from tinygpt.tokenizer import BPETokenizer

bpe = BPETokenizer.train(TEXT, 512)
unused = sorted(set(range(256, 512)) - set(bpe.encode(TEXT).tolist()))
print(fill(f"never used: {[bpe.token_bytes[i].decode() for i in unused]}", 76))
assert " ca" in [bpe.token_bytes[i].decode() for i in unused]
stated("16", len(unused))

# %% [markdown]
# **2.** The row would be 42% longer.

# %%
from unittest import mock

from kit import TEXT, stated

from tinygpt.tokenizer import SPLIT, BPETokenizer

along = BPETokenizer.train(TEXT, 512).encode(TEXT)
with mock.patch("tinygpt.tokenizer.bpe.SPLIT", SPLIT.replace(" ?", "")):  # no space before a word
    apart = BPETokenizer.train(TEXT, 512).encode(TEXT)
print(f"space taken along: {len(along):,} tokens, a piece of its own: {len(apart):,}")
stated("42%", len(apart) / len(along) - 1)

# %% [markdown]
# **3.** There would be 1,774 tokens in the row, and 207 of them would be met only once. For what follows such a
# token, one example is all there is. How many examples one needs is what the next lesson is about.

# %%
import re
from collections import Counter

from kit import TEXT, stated

from tinygpt.tokenizer import SPLIT

pieces = Counter(re.findall(SPLIT, TEXT))
once = sum(n == 1 for n in pieces.values())
print(f"whole pieces: {pieces.total():,} tokens, {once} of them met only once")
stated("1,774", pieces.total())
stated("207", once)
