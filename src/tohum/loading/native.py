"""Our own form: the full ModelConfig in config.json and our names, for models that no family expresses.

Its model_type is unknown to transformers, which therefore refuses the folder instead of computing other
logits.
"""

from typing import Any

from tohum.errors import CheckpointError
from tohum.loading.family import Family
from tohum.loading.keys import Keys
from tohum.loading.names import Table, same
from tohum.model.config import ModelConfig

BLOCK_PARTS = ("attention_norm", "attention_post_norm", "feed_forward_norm", "feed_forward_post_norm",
               "attention.query", "attention.key", "attention.value", "attention.output",
               "attention.query_norm", "attention.key_norm",
               "feed_forward.gate", "feed_forward.up", "feed_forward.down", "feed_forward.router",
               *(f"feed_forward.experts.{{}}.{part}" for part in ("gate", "up", "down")))
NAMES = ("embedding.token.weight", "embedding.position.weight",
         *(f"blocks.{{}}.{part}.{kind}" for part in BLOCK_PARTS for kind in ("weight", "bias")),
         "final_norm.weight", "final_norm.bias", "head.weight")


def read_config(keys: Keys) -> ModelConfig:
    """config.json -> ModelConfig."""
    values = keys.optional("spec")
    if not isinstance(values, dict):
        raise CheckpointError(f"{keys.where}: has no 'spec'; it is not a config.json that this program wrote")
    return ModelConfig.model_validate(values)


def write_config(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig -> config.json."""
    return {"spec": config.model_dump(mode="json")}


FAMILY = Family(model_type="tohum", architecture="Network", read=read_config, write=write_config,
                table=Table(rules=tuple(same(name, name) for name in NAMES), token="embedding.token.weight",
                            head="head.weight"))
