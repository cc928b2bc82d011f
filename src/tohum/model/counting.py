"""Sizes without building anything: ModelConfig -> parameters, FLOPs per token, bytes of memory part by part.

N = rows * T tokens of a micro-batch, L layers, and the letters of the house: D, H, G, E, V, F hidden width.
"""

from dataclasses import dataclass, fields

from tohum.model.config import AttentionSpec, FeedForwardSpec, LayerSpec, ModelConfig, NormSpec
from tohum.model.feed_forward import GATED
from tohum.model.loss import chunk_rows

FLOAT32_BYTES, BFLOAT16_BYTES = 4, 2
ADAM_BYTES = 2 * FLOAT32_BYTES  # two running means per parameter


def norm_parameters(norm: NormSpec, width: int) -> int:
    """Weight and, for LayerNorm with bias, bias."""
    return width * (2 if norm.kind == "layer" and norm.bias else 1)


def attention_matrices(spec: AttentionSpec, width: int) -> int:
    """Weights of query and output (D x HE each), key and value (D x GE each)."""
    return 2 * width * spec.head_width * (spec.heads + spec.kv_heads)


def feed_forward_matrices(spec: FeedForwardSpec, width: int) -> int:
    """Weights of up and down, and of the gate where there is one (D x F each); of all experts, and the router."""
    return router(spec, width) + (spec.experts.count if spec.experts else 1) * single_matrices(spec, width)


def single_matrices(spec: FeedForwardSpec, width: int) -> int:
    """Of one layer, or of one expert."""
    return (3 if spec.kind in GATED else 2) * width * spec.width


def router(spec: FeedForwardSpec, width: int) -> int:
    """Weights that score the experts."""
    return spec.experts.count * width if spec.experts else 0


def idle_matrices(spec: FeedForwardSpec, width: int) -> int:
    """Weights of the experts that a token is not sent to."""
    return (spec.experts.count - spec.experts.chosen) * single_matrices(spec, width) if spec.experts else 0


def head_norm_parameters(spec: AttentionSpec) -> int:
    """Weights of both QK-norms."""
    return spec.head_width * (spec.heads + spec.kv_heads if spec.qk_norm_across_heads else 2)


def layer_parameters(config: ModelConfig, layer: LayerSpec) -> int:
    """Everything in one block."""
    attention, hidden, width = layer.attention, layer.feed_forward, config.width
    count = attention_matrices(attention, width) + feed_forward_matrices(hidden, width)
    count += attention.bias * attention.head_width * (attention.heads + 2 * attention.kv_heads)
    count += attention.output_bias * width + attention.qk_norm * head_norm_parameters(attention)
    count += hidden.bias * (hidden.width * (2 if hidden.kind in GATED else 1) + width) * (
        hidden.experts.count if hidden.experts else 1)
    return count + (4 if layer.norm_places == "both" else 2) * norm_parameters(config.norm, width)


def parameters(config: ModelConfig) -> int:
    """Exact number of trainable numbers; a tied head is counted once."""
    tables = config.vocab_size * (1 if config.tied else 2) + config.learned_positions * config.context
    layers = sum(layer_parameters(config, layer) for layer in config.layers)
    return tables * config.width + layers + norm_parameters(config.norm, config.width)


def matrix_parameters(config: ModelConfig) -> int:
    """Weights of matrices: blocks and head; a lookup in a table multiplies nothing."""
    inside = sum(attention_matrices(layer.attention, config.width)
                 + feed_forward_matrices(layer.feed_forward, config.width) for layer in config.layers)
    return inside + config.vocab_size * config.width


def active_matrix_parameters(config: ModelConfig) -> int:
    """The same without the experts that a token is not sent to."""
    return matrix_parameters(config) - sum(idle_matrices(layer.feed_forward, config.width) for layer in config.layers)


def forward_flops_per_token(config: ModelConfig, tokens: int) -> float:
    """Floating-point operations of one token's forward pass in rows of `tokens`.

    Two (multiply, add) per matrix weight, and per layer 4 H E T for scores and context. The whole T x T
    square is counted, as is customary (PaLM, arXiv:2204.02311, appendix B), though a causal kernel may skip
    nearly half of it; a layer with a window counts min(T, window) keys.
    """
    attention = sum(4 * layer.attention.heads * layer.attention.head_width
                    * min(tokens, layer.attention.window or tokens) for layer in config.layers)
    return float(2 * active_matrix_parameters(config) + attention)


def flops_per_token(config: ModelConfig, tokens: int) -> float:
    """Training: forward, and backward twice as much (gradients of inputs and of weights).

    6 per matrix weight (head included) + 12 L H E T.
    """
    return 3 * forward_flops_per_token(config, tokens)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of a training step, part by part."""

    parameters: int
    gradients: int
    optimizer: int
    weight_copies: int  # bfloat16 copies of the matrices where they are not read as they are
    activations: int  # what the blocks keep for the backward pass
    loss: int  # one chunk of logits with its gradient, and the gradients of hidden vectors and head

    @property
    def total(self) -> int:
        """Bytes of all parts; they are alive together when the backward pass begins."""
        return sum(getattr(self, part.name) for part in fields(self))


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """What passes through the network at once, and how."""

    rows: int  # B
    tokens: int  # T
    autocast: bool = False  # bfloat16 products over float32 weights
    native: bool = True  # the CPU multiplies bfloat16: float32 weights are read as they are (kernels)
    device: str = "cpu"

    @property
    def n(self) -> int:
        """Tokens in all."""
        return self.rows * self.tokens

    @property
    def compute_bytes(self) -> int:
        """Bytes per number that comes out of a matrix product."""
        return BFLOAT16_BYTES if self.autocast else FLOAT32_BYTES


def training_memory(config: ModelConfig, batch: MicroBatch, *, optimizer_bytes: int = ADAM_BYTES) -> Memory:
    """Memory of one micro-batch forward and backward in eager mode, `optimizer_bytes` per parameter."""
    count, matrices = parameters(config), matrix_parameters(config)
    table = config.vocab_size * config.width
    per_layer = {layer: layer_activations(config, layer, batch) for layer in set(config.layers)}
    stream = batch.n * config.width * FLOAT32_BYTES
    made = batch.compute_bytes if batch.device == "cpu" else FLOAT32_BYTES
    ends = stream + batch.n * (config.width * made + 8)  # what the last norm reads, its output, ids
    copied = batch.autocast * BFLOAT16_BYTES * (not batch.native)
    rows = chunk_rows(config.vocab_size, batch.device, batch.compute_bytes, frozen=False)
    logits = min(batch.n, rows) * config.vocab_size
    in_place = batch.device == "cpu"  # elsewhere logits, and under autocast their bfloat16 forms
    chunk = logits * (batch.compute_bytes if in_place else FLOAT32_BYTES + copied * 2)
    return Memory(parameters=count * FLOAT32_BYTES, gradients=count * FLOAT32_BYTES,
                  optimizer=count * optimizer_bytes, weight_copies=copied * (matrices - table),
                  activations=sum(per_layer[layer] for layer in config.layers) + ends,
                  loss=chunk + stream + table * (FLOAT32_BYTES + 2 * copied))  # gradient; copy of it and of the head


def layer_activations(config: ModelConfig, layer: LayerSpec, batch: MicroBatch) -> int:
    """Bytes that one block keeps for its backward pass."""
    norms = norm_activations(config, layer, batch)
    return norms + attention_activations(config, layer, batch) + feed_forward_activations(config, layer, batch)


def norm_activations(config: ModelConfig, layer: LayerSpec, batch: MicroBatch) -> int:
    """Each norm keeps what it read; away from the CPU a dropout after each half keeps its mask, a byte each."""
    wide = batch.n * config.width
    before = 2 * (layer.norm_places != "post") * wide * FLOAT32_BYTES  # the residual stream
    after = 2 * (layer.norm_places != "pre") * wide * batch.compute_bytes
    return before + after + 2 * (config.dropout > 0 and batch.device != "cpu") * wide


def read_copies(batch: MicroBatch, layer: LayerSpec, readers: int) -> int:
    """Bytes per number for the input of `readers` matrices: one tensor, or under autocast a copy for each.

    On a CPU norms give what the products read (model/norm.py), so there is one copy.
    """
    if not batch.autocast:
        return FLOAT32_BYTES
    return BFLOAT16_BYTES * (1 if batch.device == "cpu" and layer.norm_places != "post" else readers)


def attention_activations(config: ModelConfig, layer: LayerSpec, batch: MicroBatch) -> int:
    """Inputs of projections and QK-norms, queries, keys, values, weights if a kernel keeps them, context."""
    spec = layer.attention
    size, query = batch.compute_bytes, batch.n * spec.heads * spec.head_width
    pair = batch.n * spec.kv_heads * spec.head_width
    kept = batch.n * config.width * read_copies(batch, layer, 3) + spec.qk_norm * (query + pair) * size
    square = batch.rows * spec.heads * batch.tokens**2
    if spec.soft_cap:  # the definition: tanh, weights in float32, their copy or dropout's mask and result
        copies = 2 if config.attention_dropout else int(batch.autocast)
        return kept + square * (size + FLOAT32_BYTES + copies * size) + 4 * query * size
    if config.attention_dropout:  # torch's definition, in float32: weights, dropout's mask, result
        return kept + 3 * (square + query) * FLOAT32_BYTES + query * size
    return kept + (2 * query + 2 * pair) * size + batch.n * spec.heads * FLOAT32_BYTES  # and a sum for each query


def feed_forward_activations(config: ModelConfig, layer: LayerSpec, batch: MicroBatch) -> int:
    """Input, and the hidden layer before and after each step; of every expert that a token passes."""
    spec = layer.feed_forward
    gated, wide = spec.kind in GATED, batch.n * config.width
    kept = {"swiglu": 2, "geglu": 3, "gelu_tanh": 1, "relu2": 2}[spec.kind]  # what `down` reads is made again
    single = wide * read_copies(batch, layer, 2 if gated else 1) \
        + kept * batch.n * spec.width * batch.compute_bytes
    if spec.experts is None:
        return single
    routing = wide * read_copies(batch, layer, 1) + batch.n * spec.experts.count * FLOAT32_BYTES
    return routing + spec.experts.chosen * (single + wide * (batch.compute_bytes + FLOAT32_BYTES))


def cache_bytes(config: ModelConfig, rows: int, length: int, *, number_bytes: int = FLOAT32_BYTES) -> int:
    """Key/value cache for `rows` texts of at most `length` tokens (attention/cache.py)."""
    slots = [min(length, layer.attention.window or length) + 1 for layer in config.layers]
    return sum(2 * rows * held * layer.attention.kv_heads * layer.attention.head_width * number_bytes
               for held, layer in zip(slots, config.layers, strict=True))
