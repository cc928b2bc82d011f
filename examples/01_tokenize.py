"""Stage 1: train a small byte-level BPE on the text that Python carries, and look at what it does to a sentence."""

from tohum.documents.source import open_sources
from tohum.tokenizing.training import train

texts = [document.text for source in open_sources(["python-docs"]) for document in source.documents()][:80]
text = "The tokenizer cuts this sentence, ağaç and 🌱 into pieces."

for vocab_size in (257, 512, 2048):
    tokenizer = train(texts, kind="bpe", vocab_size=vocab_size)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    print(f"{vocab_size:>5} entries: {len(ids):>3} tokens  {'|'.join(tokenizer.token_text(i) for i in ids)}")

# A character of several bytes may be several tokens; streaming waits until it is whole.
stream = tokenizer.stream()
print([stream.push(i) for i in tokenizer.encode("ağ🌱")])
