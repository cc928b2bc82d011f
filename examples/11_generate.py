"""Stage 11, generation: a prompt -> scores -> filters -> one token after the other, as text."""

import torch

from tohum.data_sampling.loader import text_batches
from tohum.generation.choice import Choice, filtered
from tohum.generation.text import Ends, generate_text
from tohum.model.init import initialise
from tohum.model.loss import cross_entropy_sum
from tohum.model.network import Network
from tohum.model.presets import PRESETS
from tohum.seeding import generator
from tohum.tokenizing.training import train

torch.set_num_threads(1)
text = "A seed slept all winter long. In spring it woke, and grew into a tree.\n" * 20
tokenizer = train([text], kind="char", vocab_size=None)
network = Network(PRESETS["tiny-qwen3"]().replace(vocab_size=tokenizer.vocab_size))
initialise(network, generator(0, "init"))
ids = tokenizer.encode(text)
optimizer = torch.optim.AdamW(network.parameters(), lr=0.006)
for start in range(250):  # windows that begin anywhere
    batch = next(text_batches(ids[start % 71:], max_length=40, rows=16))
    hidden = network.hidden(batch.inputs)  # (B, T, D)
    loss = cross_entropy_sum(hidden, network.head_weight, batch.targets, dtype=torch.float32)
    optimizer.zero_grad()
    (loss / batch.targets.numel()).backward()
    optimizer.step()
print(f"loss {loss.item() / batch.targets.numel():.2f} nats per character")

with torch.no_grad():
    scores = network.logits(torch.tensor([tokenizer.encode("In sp")]))[:, -1]  # (1, V)
for choice in (Choice(temperature=1.0), Choice(temperature=1.0, top_k=3), Choice(temperature=0.5, min_p=0.1)):
    print(choice, "leaves", int(filtered(scores, choice).isfinite().sum()), "of", scores.shape[1], "tokens")

for temperature in (0.0, 0.7, 1.5):
    done = generate_text(network, tokenizer, ["In spring", "A seed"], choice=Choice(temperature=temperature),
                         max_tokens=40, ends=Ends(texts=[".", "\n"]))
    for prompt, result in zip(("In spring", "A seed"), done, strict=True):
        print(f"temperature {temperature}: {prompt}|{result.text} ({result.finish_reason})")
