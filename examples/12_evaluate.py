"""Stage 12, evaluation: bits per byte of a network, of byte models and of xz, and what is only quoted."""

import torch

from tohum.data_sampling.loader import text_batches
from tohum.documents.source import open_sources
from tohum.evaluation.ngram import backoff_bits_per_byte, xz_bits_per_byte
from tohum.evaluation.overlap import known_word_fraction, longest_shared_run
from tohum.evaluation.perplexity import evaluate
from tohum.evaluation.text import text_ids
from tohum.model.network import Network
from tohum.model.presets import PRESETS
from tohum.tokenizing.training import train

documents = [document for document, _ in zip(open_sources(["python-docs"])[0].documents(), range(120), strict=False)]
text = "\n".join(document.text for document in documents)
cut = int(0.9 * len(text))
learned, held_back = text[:cut].encode(), text[cut:].encode()
for order, bits in backoff_bits_per_byte(learned, held_back).items():
    print(f"byte model that looks {order} bytes back: {bits:.3f} bits per byte")
print(f"xz -9e after the training text:       {xz_bits_per_byte(learned, held_back):.3f} bits per byte")

torch.manual_seed(0)
tokenizer = train([text[:cut]], kind="bpe", vocab_size=512)
network = Network(PRESETS["tiny-qwen3"]().replace(vocab_size=tokenizer.vocab_size))
torch.nn.init.zeros_(network.final_norm.weight)  # all scores equal: a network that knows nothing
found = evaluate(network, text_batches(text_ids(documents[-3:], tokenizer), max_length=64, rows=16),
                 tokenizer.byte_lengths)
print(f"a network that knows nothing:         {found.bits_per_byte:.3f} bits per byte, "
      f"perplexity {found.perplexity:.1f} of {tokenizer.vocab_size} tokens")

sample = "My zorbic function " + text[1000:1040] + " blarg."
print(f"longest run that a sample shares with the text: {longest_shared_run(sample, text)!r}")
print(f"words of the sample that the text knows: {known_word_fraction(sample, text):.0%}")
