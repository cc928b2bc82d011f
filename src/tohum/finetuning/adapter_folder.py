"""Adapter folder: a base and its adapter <-> PEFT's files, with the tokenizer, the template and a note of the base.

    adapter_config.json  adapter_model.safetensors      PEFT's layout
    tokenizer.json …  chat_template.jinja  generation_config.json
    tohum.json           hash of the base, names of the classes
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tohum.errors import CheckpointError
from tohum.files import write_json
from tohum.loading.find import CONFIG as MODEL_CONFIG
from tohum.loading.find import find_model
from tohum.loading.folder import LoadedModel, load_model, model_sha256, read_family, write_generation
from tohum.loading.keys import read_json
from tohum.loading.names import FUSED_TRANSPOSED, TRANSPOSED, Table, rules_for
from tohum.loading.weights import write_file
from tohum.lora.adapter import Adapter, Factors, attach, current, linears, size
from tohum.lora.config import LoraConfig
from tohum.lora.rows import TrainedRows
from tohum.lora.store import CONFIG, Place, Stored, parted, read_adapter, read_config, write_adapter
from tohum.model.classifier import Classifier, trunk
from tohum.model.network import Network
from tohum.tokenizing.ends import Ends
from tohum.tokenizing.template import ChatTemplate, save_template
from tohum.tokenizing.tokenizer import Tokenizer

NOTE = "tohum.json"
SCORE = "score.weight"


def places(network: Network, table: Table) -> list[Place]:
    """Every linear of the blocks under the name that the family stores it by."""
    shapes = {name: value.shape for name, value in network.state_dict().items()
              if ".lora_" not in name and not name.endswith((".values", ".factors"))}
    shapes |= {f"{name}.weight": size(linear) for name, linear in linears(network).items()}
    found = []
    for rule in rules_for(table, len(network.blocks), shapes):
        ours = tuple(name.removesuffix(".weight") for name in rule.ours)
        matrices = all(name.startswith("blocks.") and len(shapes[name]) == 2 for name in rule.ours)
        if matrices and rule.theirs.endswith(".weight"):
            found.append(Place(rule.theirs.removesuffix(".weight"), ours,
                               tuple(shapes[name][0] for name in rule.ours),
                               rule.transform in (TRANSPOSED, FUSED_TRANSPOSED)))
    return found


@dataclass(frozen=True, kw_only=True)
class Base:
    """The model under an adapter."""

    folder: Path
    table: Table
    sha256: str

    @classmethod
    def of(cls, folder: Path) -> "Base":
        """Of a model folder. Raises CheckpointError."""
        return cls(folder=folder.absolute(), table=read_family(folder)[0].table, sha256=model_sha256(folder))


@dataclass(frozen=True, kw_only=True)
class AdapterFiles:
    """The checkpoints of a LoRA run; see training/checkpoint.py, `ModelFiles`."""

    base: Base
    lora: LoraConfig
    tokenizer: Tokenizer
    template: ChatTemplate | None = None
    ends: Ends | None = None
    labels: tuple[str, ...] = ()

    def save(self, folder: Path, network: nn.Module) -> None:
        """All files of the adapter folder."""
        inner = trunk(network)
        extra = {SCORE: network.score.weight.detach()} if isinstance(network, Classifier) else {}
        adapter = current(inner, self.lora)
        stored = Stored(adapter=replace(adapter, extra=extra),
                        base=str(self.base.folder), task="SEQ_CLS" if extra else "CAUSAL_LM")
        write_adapter(folder, stored, places(inner, self.base.table), token_module(self.base.table), write_file)
        self.tokenizer.save(folder)
        write_generation(folder, self.tokenizer, self.ends)
        if self.template:
            save_template(folder, self.template)
        write_json(folder / NOTE, {"base_sha256": self.base.sha256, "labels": list(self.labels)})

    def load(self, folder: Path, network: nn.Module) -> None:
        """The factors' values, into the parameters that are there."""
        inner = trunk(network)
        spots = places(inner, self.base.table)
        stored = read_adapter(folder, spots, token_module(self.base.table))
        take_values(inner, parted(stored.adapter, spots, current(inner, self.lora).factors))
        take_rows(inner, stored.adapter)
        if isinstance(network, Classifier):
            take_score(network, stored.adapter, folder)


@torch.no_grad()
def take_values(network: Network, adapter: Mapping[str, Factors]) -> None:
    """Copy factors into existing parameters, which an optimizer may hold."""
    for name, factors in adapter.items():
        layer = network.get_submodule(name)
        for own, value in (("lora_a", factors.a), ("lora_b", factors.b), ("lora_m", factors.m)):
            parameter = getattr(layer, own)
            if parameter is not None and value is not None:
                parameter.copy_(value)


@torch.no_grad()
def take_rows(network: Network, adapter: Adapter) -> None:
    """Copy token rows into the parameter that is there."""
    table = network.embedding.token
    if isinstance(table, TrainedRows):
        table.lora_rows.copy_(torch.stack([adapter.token_rows[i] for i in table.places.tolist()]))


@torch.no_grad()
def take_score(network: Classifier, adapter: Adapter, folder: Path) -> None:
    """A classifier's head. Raises CheckpointError where it is missing or of another size."""
    found: Tensor | None = adapter.extra.get(SCORE)
    if found is None or found.shape != network.score.weight.shape:
        raise CheckpointError(f"{folder}: its {SCORE} is {'missing' if found is None else list(found.shape)}; "
                              f"expected {list(network.score.weight.shape)}")
    network.score.weight.copy_(found)


def token_module(table: Table) -> str:
    """The name of the token table without its last part."""
    return table.token.removesuffix(".weight")


def is_adapter(folder: Path) -> bool:
    """An adapter and no model of its own."""
    return (folder / CONFIG).is_file() and not (folder / MODEL_CONFIG).is_file()


def base_folder(folder: Path, given: Path | None = None) -> Path:
    """The base of an adapter: as given, else where its adapter_config.json points. Raises CheckpointError."""
    named = read_config(folder).get("base_model_name_or_path")
    if given is None and not isinstance(named, str):
        raise CheckpointError(f"{folder / CONFIG}: names no base model; give it with --base")
    path = given or Path(str(named))
    if not path.exists():
        raise CheckpointError(f"{folder / CONFIG}: its base is {path}, which is not here\n"
                              "give the base with --base, or bring it with 'tohum import'")
    return find_model(path)[0]


def load_adapted(folder: Path, *, base: Path | None = None, dtype: torch.dtype | None = torch.float32,
                 device: torch.device | str = "cpu") -> tuple[LoadedModel, Stored]:
    """Base and adapter, attached and not merged. The LoadedModel's folder is the adapter's. Raises CheckpointError."""
    under = base_folder(folder, base)
    check_base(folder, under)
    loaded = load_model(under, dtype=dtype, device=device)
    table = read_family(under)[0].table
    stored = read_adapter(folder, places(loaded.network, table), token_module(table))
    attach(loaded.network, stored.adapter)
    return LoadedModel(folder=folder, config=loaded.network.config, network=loaded.network), stored


def check_base(folder: Path, base: Path) -> None:
    """The base is the one that the adapter was trained on, where that was noted. Raises CheckpointError."""
    noted = read_json(folder / NOTE).get("base_sha256") if (folder / NOTE).is_file() else None
    if noted is not None and noted != model_sha256(base):
        raise CheckpointError(f"{folder}: was trained on weights {noted[:12]}, but {base} holds others\n"
                              "give the base that it was trained on with --base")


def labels_of(folder: Path) -> Sequence[str]:
    """Names of an adapter's classes, none for a language model."""
    found = read_json(folder / NOTE).get("labels") if (folder / NOTE).is_file() else None
    return tuple(str(label) for label in found) if isinstance(found, list) else ()
