"""Checkpoints: weights as a model folder, beside them `training/` with the optimizer and the state of the run.

    checkpoints/step-00001000/            a Hugging Face folder (or an adapter in PEFT's layout): opens anywhere
    checkpoints/step-00001000/training/   state.json, optimizer.safetensors: what a resume needs beyond the weights
    last, best                            links to two of them

A checkpoint appears in one rename, after every file has reached the disk. No generator is stored: all randomness
is a function of (seed, step), see tohum/seeding.py.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tohum.errors import CheckpointError, FailedError
from tohum.files import nearest_folder, write_directory, write_json
from tohum.loading.folder import load_weights, save_model
from tohum.loading.weights import write_file
from tohum.model.config import ModelConfig
from tohum.tokenizing.ends import Ends
from tohum.tokenizing.template import ChatTemplate, save_template
from tohum.tokenizing.tokenizer import Tokenizer
from tohum.training.state import TrainState
from tohum.training.step import Parts
from tohum.units import human_bytes

FORMAT = 1
NAME = re.compile(r"step-(\d{8})")


class ModelFiles(Protocol):
    """How what a run trains becomes files that every other program opens."""

    def save(self, folder: Path, network: nn.Module) -> None:
        """Write the trained weights and all that belongs to them into an existing folder."""
        ...

    def load(self, folder: Path, network: nn.Module) -> None:
        """Take the weights back. Raises CheckpointError."""
        ...


@dataclass(frozen=True, kw_only=True)
class WholeModel:
    """A network of its own: the whole model folder."""

    config: ModelConfig
    tokenizer: Tokenizer
    template: ChatTemplate | None = None
    ends: Ends | None = None

    def save(self, folder: Path, network: nn.Module) -> None:
        """Configuration, weights, tokenizer, template."""
        weights = {name: value.detach().cpu() for name, value in network.state_dict().items()}
        save_model(folder, self.config, weights, self.tokenizer, ends=self.ends)
        if self.template:
            save_template(folder, self.template)

    def load(self, folder: Path, network: nn.Module) -> None:
        """The weights alone."""
        network.load_state_dict(load_weights(folder, self.config))


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What must be equal for a resume to be the same run, and the form of its checkpoints."""

    files: ModelFiles
    settings: Mapping[str, Any]  # fingerprint of the data, hash of the recipe …


def save(run: Path, state: TrainState, parts: Parts, identity: Identity) -> Path:
    """Write checkpoints/step-N and point `last` at it; returns its folder. Replaces nothing."""
    folder = run / "checkpoints" / f"step-{state.step:08d}"
    if not folder.is_dir():
        write_directory(folder, lambda draft: fill(draft, state, parts, identity))
    link(run, "last", folder)
    return folder


def fill(draft: Path, state: TrainState, parts: Parts, identity: Identity) -> None:
    """All files of one checkpoint."""
    identity.files.save(draft, parts.network)
    (draft / "training").mkdir()
    tensors = {name: value.detach().cpu().contiguous() for name, value in parts.optimizer.state().items()}
    write_file(draft / "training" / "optimizer.safetensors", tensors)
    write_json(draft / "training" / "state.json",
               {"format": FORMAT, "identity": dict(identity.settings), "state": state.to_json()})


def link(run: Path, name: str, folder: Path) -> None:
    """Point run/name at a checkpoint, in one rename."""
    draft = run / f".{name}.draft"
    draft.unlink(missing_ok=True)
    draft.symlink_to(Path("checkpoints") / folder.name)
    os.replace(draft, run / name)


def steps(run: Path) -> list[int]:
    """Steps of all complete checkpoints, in order."""
    found = [NAME.fullmatch(p.name) for p in (run / "checkpoints").glob("step-*")]
    return sorted(int(m[1]) for m in found if m)


def resume(run: Path, parts: Parts, identity: Identity) -> TrainState | None:
    """Load the newest checkpoint into `parts`; None when there is none. Raises CheckpointError."""
    saved = steps(run)
    if not saved:
        return None
    folder = run / "checkpoints" / f"step-{saved[-1]:08d}"
    stored = read_state(folder)
    for key, value in identity.settings.items():
        if stored["identity"].get(key) != value:
            raise CheckpointError(f"{run}: made with another {key}: {stored['identity'].get(key)}, now {value}\n"
                                  "resume with the same settings, or choose another --out")
    try:
        identity.files.load(folder, parts.network)
        parts.optimizer.restore(load_file(folder / "training" / "optimizer.safetensors"))
    except (SafetensorError, OSError, KeyError) as error:
        raise damaged(folder, "training/optimizer.safetensors", error) from None
    link(run, "last", folder)
    return TrainState.from_json(stored["state"])


def read_state(folder: Path) -> dict[str, Any]:
    """training/state.json of a checkpoint, format checked."""
    try:
        stored = json.loads((folder / "training" / "state.json").read_text("utf-8"))
        if stored["format"] != FORMAT:
            raise CheckpointError(f"{folder}: checkpoint format {stored['format']}, this version reads {FORMAT}")
        return stored
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(folder, "training/state.json", error) from None


def damaged(folder: Path, file: str, error: Exception) -> CheckpointError:
    """The line for a checkpoint that cannot be read."""
    return CheckpointError(f"{folder / file} cannot be read ({error})\n"
                           f"remove {folder} to resume from the checkpoint before it")


def prune(run: Path, keep: int, also: int) -> None:
    """Remove all but the newest `keep` checkpoints and step `also` (the best)."""
    for step in steps(run)[:-keep]:
        if step != also:
            folder = run / "checkpoints" / f"step-{step:08d}"
            doomed = folder.with_name(f".{folder.name}.draft")  # a kill while removing leaves no half checkpoint
            os.rename(folder, doomed)
            shutil.rmtree(doomed)


def sweep(run: Path) -> None:
    """Remove drafts that a killed process left."""
    for draft in [*run.glob(".*.draft"), *(run / "checkpoints").glob(".*.draft")]:
        shutil.rmtree(draft) if draft.is_dir() and not draft.is_symlink() else draft.unlink()


def preflight(run: Path, parts: Parts, identity: Identity, keep: int) -> int:
    """Save once through the real path before any work, then remove it; returns the bytes of a checkpoint.

    A folder that cannot be written or a disk that is too small shows now instead of at the end.
    """
    trial = run / "checkpoints" / ".preflight"
    shutil.rmtree(trial, ignore_errors=True)
    write_directory(trial, lambda draft: fill(draft, TrainState(), parts, identity))
    written = sum(file.stat().st_size for file in trial.rglob("*") if file.is_file())
    shutil.rmtree(trial)
    state: list[Tensor] = [torch.empty(0), *parts.optimizer.state().values()]
    before = sum(t.numel() * t.element_size() for t in state)  # the moments are made by the first step
    trained = sum(p.numel() * p.element_size() for p in parts.network.parameters() if p.requires_grad)
    size = written - before + max(before, 2 * trained)
    free = shutil.disk_usage(nearest_folder(run)).free
    if free < size * (keep + 2):
        raise FailedError(f"{run}: {human_bytes(free)} of disk are free, but this run needs about "
                          f"{human_bytes(size * (keep + 2))} ({keep + 2} checkpoints of {human_bytes(size)})\n"
                          "free some space, choose another --out, or lower training.keep_last")
    return size
