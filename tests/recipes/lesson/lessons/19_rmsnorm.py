# %% [markdown]
# # 19. RMSNorm
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

# %% [markdown]
# ## Last lesson's questions
#
# They were answered where they were asked.

# %% [markdown]
# ## Your turn: rmsnorm
#
# ```
# python -m lessons start 19     writes lessons/work/rmsnorm.py
# python -m lessons check 19     against the definition and numerical derivatives
# ```

# %%
assert all(check_layer("rmsnorm"))
