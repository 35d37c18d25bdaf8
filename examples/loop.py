"""The training loop written out: what `python train.py` does, without its threads, its screen and its saved files."""

import numpy as np
from threadpoolctl import threadpool_limits

from tinygpt import GPT, GPTConfig
from tinygpt.data import load_corpus
from tinygpt.optim import AdamW, cosine_schedule

STEPS, B, T = 500, 12, 64

threadpool_limits(1)  # matrices as small as these are not worth a second thread
corpus = load_corpus("stdlib")  # the source code of your own Python's standard library, by characters
model = GPT(GPTConfig(block_size=T, vocab_size=corpus.vocab_size, n_layer=2, n_head=2, n_embd=64, bias=False))
optimizer = AdamW(model.params, betas=(0.9, 0.99))
grads = model.params.zeros_like()
rng = np.random.default_rng(1337)

for step in range(STEPS):
    idx, targets = corpus.batch("train", B, T, rng)  # 2 x (B, T): token ids, and the ids that follow them
    loss, cache = model.loss(idx, targets)  # forward: mean cross-entropy in nats
    grads.flat[...] = 0
    model.backward(cache, grads)  # backward: adds to grads[name], the same names as model.params
    norm = optimizer.step(grads, lr=cosine_schedule(step, 3e-3, 3e-4, 20, STEPS), max_norm=1.0)
    if step % 100 == 0 or step == STEPS - 1:
        print(f"step {step:3}  loss {loss:.3f}  gradient norm {norm:.2f}")

prompt = corpus.tokenizer.encode("def ")[None]  # (1, 4)
print(corpus.tokenizer.decode(model.generate(prompt, 200, temperature=0.8, seed=1)[0]))
