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
pretraining    data folder           -> run folder, by a plan for this machine
report         run folder            -> one offline HTML page
"""

__version__ = "0.1.0"
