"""Tensors, a derivative by hand against autograd, and the loss of guessing the next of three words."""

import math

import torch

# 1. A tensor is numbers in a box; its shape says how many along each side.
batch = torch.tensor([[0, 1, 2], [2, 0, 1]])  # B = 2 rows, T = 3 tokens
print(f"shape {tuple(batch.shape)}, {batch.dtype}, row 1 = {batch[1].tolist()}")

# 2. How does y = (w x - 1)^2 change when w changes? By hand: dy/dw = 2 (w x - 1) x.
x, w = 3.0, torch.tensor(2.0, requires_grad=True)
y = (w * x - 1) ** 2
y.backward()
print(f"y = {y.item():.0f}, dy/dw by hand = {2 * (2.0 * x - 1) * x:.0f}, by autograd = {w.grad.item():.0f}")

# 3. A language model turns a context into one score (logit) per word; softmax turns scores into
# probabilities; the loss is the surprise at the word that really came: -ln(its probability).
words = ["the", "cat", "sat"]
logits = torch.tensor([0.5, 1.0, 2.0], requires_grad=True)  # after "the cat"
probabilities = [math.exp(score) / sum(math.exp(s) for s in logits.tolist()) for score in logits.tolist()]
target = words.index("sat")
loss = torch.nn.functional.cross_entropy(logits[None], torch.tensor([target]))
for word, probability in zip(words, probabilities, strict=True):
    print(f"  p({word}) = {probability:.3f}")
print(f"loss by hand {-math.log(probabilities[target]):.4f}, by torch {loss.item():.4f}, guessing {math.log(3):.4f}")

# 4. Its derivative is as simple as can be: probability - 1 for the right word, probability for the others.
loss.backward()
by_hand = [p - (i == target) for i, p in enumerate(probabilities)]
print("d loss / d logits by hand ", [round(value, 3) for value in by_hand])
print("d loss / d logits autograd", [round(value, 3) for value in logits.grad.tolist()])

# 5. Learning is a step against it: the right word becomes likelier.
better = torch.softmax(logits.detach() - 1.0 * logits.grad, dim=0)
print(f"p(sat) before {probabilities[target]:.3f}, after one step {better[target].item():.3f}")
