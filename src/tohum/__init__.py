"""Tohum: from raw text to a language model of your own. Read the packages in the order of the data:

documents      any source            -> documents
tokenizing     text                  <-> token ids
data_sampling  token ids             -> (inputs, targets), both (B, T)
embedding      ids (B, T)            -> vectors (B, T, D)
attention      vectors               -> context vectors (B, T, D)
model          ids                   -> logits (B, T, V)
loading        model folder on disk  <-> network
generation     prompt                -> text
training       batches and objective -> weights, exactly resumable
evaluation     network and text      -> loss, perplexity, bits per byte
lora           network               -> the same, frozen, with small trained matrices beside its own
finetuning     rows of a file        -> examples, batches, run folder: what the next three share
classification labelled texts        -> classifier
instruction    questions and answers -> assistant
preference     better, worse answers -> a model that gives the better ones
pretraining    data folder           -> run folder, by a plan for this machine
report         run folder            -> one offline HTML page
exporting      model folder          -> other programs' folders and files, certified

In Python, three lines are enough (see handle.py):

    model = tohum.load("runs/first")
    print(model.generate("The function returns", temperature=0))
    print(model.logprobs("The function returns a list"))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tohum.handle import Model

__version__ = "0.1.0"


def load(path: Any, *, device: str = "auto", dtype: str = "auto", int8: bool = False,
         adapters: Any = None) -> "Model":
    """A model folder or a run (its best checkpoint) -> an object that continues and scores texts.

    int8 keeps its matrices as bytes: a quarter of the memory, faster one token at a time, a little less exact.
    adapters: names and folders of LoRA adapters on this model; `use(name)` switches between them.
    """
    from tohum.handle import Model

    return Model.load(path, device=device, dtype=dtype, int8=int8, adapters=adapters)
