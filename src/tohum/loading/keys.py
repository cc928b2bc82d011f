"""Keys of a foreign config.json -> checked values; what would change the computation unread is refused."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tohum.errors import CheckpointError

MAX_JSON_BYTES = 64_000_000  # an index of 100,000 tensors has about 10 MB
MAX_LAYERS = 10_000

# Keys of Hugging Face configs that say nothing about the logits: training, generation, naming, storage.
HARMLESS_NAMES = """
    is_decoder model_type architectures transformers_version torch_dtype dtype use_cache
    initializer_range _name_or_path bos_token_id eos_token_id pad_token_id attention_dropout
    pretraining_tp gradient_checkpointing chunk_size_feed_forward output_attentions
    output_hidden_states return_dict torchscript use_bfloat16 tf_legacy_loss id2label label2id
    num_labels problem_type finetuning_task task_specific_params tokenizer_class prefix
    _attn_implementation attn_implementation _attn_implementation_autoset unsloth_version
    unsloth_fixed max_length min_length do_sample early_stopping num_beams num_beam_groups
    diversity_penalty temperature top_k top_p typical_p repetition_penalty length_penalty
    no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences
    output_scores return_dict_in_generate forced_bos_token_id forced_eos_token_id
    remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
    sep_token_id decoder_start_token_id tie_encoder_decoder cross_attention_hidden_size
"""
HARMLESS = frozenset(HARMLESS_NAMES.split())

# Keys that would change the computation, with the values at which they change nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False,), "add_cross_attention": (False,),
    "pruned_heads": ({},), "quantization_config": (None,), "partial_rotary_factor": (None, 1.0),
    "auto_map": (None,),
}


class Keys:
    """A config.json whose keys are taken one by one; `finish` refuses those that nobody took."""

    def __init__(self, values: Mapping[str, Any], where: str):
        self.left = dict(values)
        self.where = where

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number; without a default the key is required. Raises CheckpointError."""
        return self.typed(key, default, int, "a whole number")

    def layers(self, key: str, default: int) -> int:
        """A number of layers, within reason: a list is made of it. Raises CheckpointError."""
        count = self.integer(key, default)
        if not 1 <= count <= MAX_LAYERS:
            raise CheckpointError(f"{self.where}: {key} = {count}; expected 1 to {MAX_LAYERS:,}")
        return count

    def number(self, key: str, default: float | None = None) -> float:
        """A number. Raises CheckpointError."""
        return float(self.typed(key, default, (int, float), "a number"))

    def flag(self, key: str, default: bool) -> bool:
        """true or false. Raises CheckpointError."""
        value = self.left.pop(key, default)
        if not isinstance(value, bool):
            raise CheckpointError(f"{self.where}: {key} = {value!r}; expected true or false")
        return value

    def choice(self, key: str, known: Mapping[str, Any], default: str) -> Any:
        """The meaning of a name; refuses names that the network has nothing for."""
        value = self.left.pop(key, default)
        if not isinstance(value, str) or value not in known:
            raise CheckpointError(f"{self.where}: {key} = {value!r} is not something this network does; "
                                  f"it knows {', '.join(known)}")
        return known[value]

    def given(self, key: str, default: Any) -> Any:
        """The value as it stands, null included; `default` where the key is absent."""
        return self.left.pop(key, default)

    def optional(self, key: str) -> Any:
        """The value as it stands, None when absent."""
        return self.left.pop(key, None)

    def typed(self, key: str, default: Any, kind: Any, expected: str) -> Any:
        """A value of a type; null counts as absent."""
        value = self.left.pop(key, None)
        value = default if value is None else value
        if value is None:
            raise CheckpointError(f"{self.where}: has no '{key}'; expected {expected}")
        if isinstance(value, bool) or not isinstance(value, kind):
            raise CheckpointError(f"{self.where}: {key} = {value!r}; expected {expected}")
        return value

    def neutral(self, key: str, *allowed: Any) -> None:
        """Refuse the key unless it is absent or has a value at which it changes nothing."""
        value = self.left.pop(key, allowed[0])
        if value not in allowed:
            raise refusal(self.where, key, value)

    def finish(self, harmless: Iterable[str] = ()) -> None:
        """Refuse everything that was neither taken nor is known to be harmless."""
        for key, allowed in NEUTRAL.items():
            self.neutral(key, *allowed)
        for key in sorted(self.left.keys() - HARMLESS - set(harmless)):
            raise refusal(self.where, key, self.left[key])


def refusal(where: str, key: str, value: Any) -> CheckpointError:
    """The line for something that a config asks for and the network does not do."""
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    return CheckpointError(f"{where}: asks for {key} = {shown}, which this network does not do")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises CheckpointError when it is missing, cut off or no object."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(f"{path}: {path.stat().st_size:,} bytes; too large for a file of this kind")
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; a model folder has config.json, model.safetensors, "
                              f"tokenizer.json") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not valid JSON, perhaps cut off: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object {{…}}, found {type(value).__name__}")
    return value
