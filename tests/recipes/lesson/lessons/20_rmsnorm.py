# %% [markdown]
# # 20. RMSNorm
#
# *10 minutes*
#
# Models after GPT-2 mostly leave out LayerNorm's mean and its bias, and only divide each vector by its root mean
# square. **Which of the three terms of dx is then gone?**

# %%
import numpy as np

from tinygpt.gradcheck import check_layer
from tinygpt.layers import rmsnorm

x = np.random.default_rng(19).standard_normal((2, 8)) * 3 + 1
out, _ = rmsnorm.forward(x, np.ones(8))
print("the mean square of each row:", (out**2).mean(axis=-1))
assert all(check_layer("rmsnorm"))

# %% [markdown]
# ## Your turn: rmsnorm
#
# ```
# python -m lessons start 20     writes lessons/work/rmsnorm.py
# python -m lessons check 20     against the definition and numerical derivatives
# python -m lessons hint 20      if you are stuck
# python -m lessons run 20       a run with what is right so far
# ```
#
# A run takes it in with `python train.py --mine lessons/work` where a model has it.

# %% [markdown]
# ## Questions to think about
#
# 1. What becomes of a vector whose numbers are all equal?
#
# Answers: `python -m lessons answers 20`

# %% [markdown]
# ## Answers
#
# **1. Equal numbers** are divided by their size and become 1 or −1, where LayerNorm makes 0 of them.
