"""Ids become vectors: a row of a table each; positions are added, or turn queries and keys."""

import torch

from tohum.embedding.learned import LearnedPositions, NoPositions
from tohum.embedding.rotary import RotaryTable, Rotate, frequencies
from tohum.embedding.token import InputEmbedding

torch.manual_seed(0)
torch.set_printoptions(precision=2, sci_mode=False)

# 1. Looking a row up is multiplying by a one-hot row.
embedding = InputEmbedding(6, 4, scale=1.0, position=NoPositions(), dropout=0.0)
ids = torch.tensor([[2, 5, 2]])
vectors = embedding(ids, None)  # (1, 3, 4)
one_hot = torch.nn.functional.one_hot(ids, 6).float()  # (1, 3, 6)
print("vectors of ids", ids.tolist()[0], "\n", vectors[0].detach())
print("equal to one-hot times table:", torch.allclose(vectors, one_hot @ embedding.token.weight))

# 2. Without positions both twos are the same vector. Learned positions tell them apart.
learned = InputEmbedding(6, 4, scale=1.0, position=LearnedPositions(8, 4), dropout=0.0)
for name, layer in (("no positions", embedding), ("learned     ", learned)):
    x = layer(ids, None)[0]
    print(f"{name}: first and last token equal: {torch.equal(x[0], x[2])}")

# 3. Rotary positions turn pairs of coordinates, fast pairs and slow ones.
tokens_per_turn = 2 * torch.pi / frequencies(8, 10_000.0)
print("tokens per full turn:", [round(value) for value in tokens_per_turn.tolist()])

# 4. The product of a turned query and a turned key depends on their distance, not on the place.
table, turn = RotaryTable(8, 64, 10_000.0), Rotate()
query, key = torch.randn(2, 1, 1, 1, 8)
for q_position, k_position in ((5, 3), (45, 43), (60, 58), (5, 4)):
    q = turn(query, table(1, torch.tensor([[q_position]])))
    k = turn(key, table(1, torch.tensor([[k_position]])))
    print(f"query at {q_position:2}, key at {k_position:2}: product {(q * k).sum().item():+.4f}")
