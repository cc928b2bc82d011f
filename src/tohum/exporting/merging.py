"""Merging: an adapter and its base -> one model folder, read back and held against the two before it appears."""

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tohum.errors import ConfigError, FailedError
from tohum.evaluation.certificate import certify, reference
from tohum.exporting.export import DTYPES, stored_dtype
from tohum.exporting.readers import folder_reader
from tohum.files import refuse_existing, try_place, write_directory, write_json
from tohum.finetuning.adapter_folder import NOTE, SCORE, base_folder, is_adapter, labels_of, load_adapted
from tohum.finetuning.reading import reading_of
from tohum.loading.classifier import load_classifier, save_classifier
from tohum.loading.find import find_model
from tohum.loading.folder import LoadedModel, save_model
from tohum.lora.merge import Drift, merge
from tohum.lora.store import Stored
from tohum.model.classifier import Classifier
from tohum.tokenizing.gguf_fields import SAMPLE
from tohum.tokenizing.template import load_template, save_template

ALLOWED_CLASS_DIFFERENCE = {"fp32": 1e-3, "fp16": 0.1, "bf16": 0.5}  # of the scores' spread


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What was written, what rounding did to the weights, and how near it is to base and adapter."""

    dtype: str
    drift: Drift
    certificate: dict[str, Any]


def merge_adapter(path: Path, *, out: Path, base: Path | None, dtype: str | None, force: bool,
                  say: Callable[[str], None]) -> Merged:
    """Raises ConfigError, CheckpointError; FailedError where the certificate does not hold, and nothing is left."""
    if not force:
        refuse_existing(out, force=False)
    try_place(out)
    folder, note = find_model(path)
    if note:
        say(note)
    if not is_adapter(folder):
        raise ConfigError(f"{folder}: is a whole model, not an adapter; there is nothing to merge")
    under = base_folder(folder, base)
    loaded, stored = load_adapted(folder, base=base)
    labels = tuple(labels_of(folder))
    dtype = dtype or stored_dtype(under)
    work = merge_classes if SCORE in stored.adapter.extra else merge_language
    found: list[Merged] = []

    def fill(draft: Path) -> None:
        found.append(work(draft, loaded, stored, labels, dtype))

        if SCORE in stored.adapter.extra:
            write_json(draft / NOTE, {"labels": list(labels)} | asdict(reading_of(path)))

    refuse_existing(out, force)
    write_directory(out, fill)
    return found[0]


def merge_language(draft: Path, loaded: LoadedModel, stored: Stored, labels: tuple[str, ...], dtype: str) -> Merged:
    """A language model: the same certificate as that of an export."""
    original = reference(loaded.network, loaded.tokenizer, SAMPLE)
    loaded.network.to(DTYPES[dtype])
    drift = merge(loaded.network)
    save_model(draft, loaded.config, loaded.network.state_dict(), loaded.tokenizer, ends=loaded.ends)
    template = load_template(loaded.folder, loaded.tokenizer)
    if template:
        save_template(draft, template)
    with contextlib.closing(folder_reader(draft)) as reader:
        certificate = certify(original, reader, SAMPLE, dtype)
    if not certificate.holds:
        raise FailedError(f"the merged model differs by {certificate.max_logit_difference:.3g} from base and adapter "
                          f"({certificate.allowed_difference:.3g} are allowed); nothing was kept\n"
                          "try --dtype fp32, or report this")
    return Merged(dtype=dtype, drift=drift, certificate=asdict(certificate))


@torch.no_grad()
def merge_classes(draft: Path, loaded: LoadedModel, stored: Stored, labels: tuple[str, ...], dtype: str) -> Merged:
    """A classifier: its scores of the beginnings of a text of many scripts."""
    score = stored.adapter.extra[SCORE]
    names = labels or tuple(map(str, range(len(score))))
    classifier = Classifier(loaded.network, len(score)).eval()
    classifier.score.weight.copy_(score)
    before = class_scores(classifier, loaded)
    loaded.network.to(DTYPES[dtype])
    drift = merge(loaded.network)
    score = score.to(DTYPES[dtype])
    save_classifier(draft, loaded.config, loaded.network.state_dict() | {SCORE: score}, names, loaded.tokenizer)
    after = class_scores(load_classifier(draft).classifier, loaded)
    difference = float((before - after).abs().max())
    allowed = ALLOWED_CLASS_DIFFERENCE[dtype] * float(before.std())
    if difference > allowed:
        raise FailedError(f"the merged classifier differs by {difference:.3g} from base and adapter ({allowed:.3g} are "
                          "allowed); nothing was kept\ntry --dtype fp32, or report this")
    return Merged(dtype=dtype, drift=drift, certificate={
        "reader": "tohum", "max_logit_difference": difference, "allowed_difference": allowed,
        "greedy_agreement": float((before.argmax(1) == after.argmax(1)).float().mean())})


def class_scores(classifier: Classifier, loaded: LoadedModel) -> Tensor:
    """(texts, C): after every eighth token of the sample."""
    ids = loaded.tokenizer.prompt_ids(SAMPLE)[: loaded.config.context]
    hidden = classifier.network.hidden(torch.tensor([ids]))[0]
    return classifier.read(hidden[::8])
