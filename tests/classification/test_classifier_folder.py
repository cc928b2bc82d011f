"""Acceptance: classifier folders against transformers, both directions; scores do not depend on padding."""

import pytest
import torch
from benchmarks.families import CASES, perturbed, some_ids
from transformers import AutoModelForSequenceClassification

from tohum.loading.classifier import load_classifier, save_classifier
from tohum.loading.folder import load_model
from tohum.model.classifier import Classifier
from tohum.tokenizing.training import train

FAMILIES = ("gpt2", "llama-grouped-untied", "llama-grouped-tied", "mistral-window", "smollm3", "qwen2", "qwen3",
            "gemma2", "gemma3", "mixtral", "qwen3-moe")
TEXTS = ["one two three", "dört beş altı yedi", "eight nine ten"] * 3


@pytest.fixture(scope="module")
def tokenizer():
    return train(iter(TEXTS), kind="char")


def classifier_of(case, folder):
    """A perturbed language model of transformers, as a classifier of ours with three classes."""
    perturbed(CASES[case]()).float().save_pretrained(folder)
    loaded = load_model(folder)
    classifier = Classifier(loaded.network, 3).eval()
    classifier.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        classifier.score.weight.mul_(20)
    return loaded.config, classifier


def weights_of(classifier):
    own = dict(classifier.network.state_dict().items())
    return own | {"score.weight": classifier.score.weight}


@pytest.mark.parametrize("case", FAMILIES)
@torch.no_grad()
def test_transformers_opens_a_classifier_of_ours_with_the_same_logits_and_we_open_it_again(case, tokenizer, tmp_path):
    config, classifier = classifier_of(case, tmp_path / "base")
    save_classifier(tmp_path / "ours", config, weights_of(classifier), ("x", "y", "z"), tokenizer)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
    assert type(theirs).__name__.endswith("ForSequenceClassification")
    assert theirs.config.id2label == {0: "x", 1: "y", 2: "z"}
    ids = some_ids(80)[:, :20].clamp(min=5)
    pad = theirs.config.pad_token_id
    ids[1, 12:] = pad
    mask = (ids != pad).long()
    expected = theirs(ids, attention_mask=mask).logits
    ours = classifier(ids, torch.tensor([20, 12]))
    assert expected.abs().mean() > 0.05
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5 * max(1, float(expected.abs().max())))
    again = load_classifier(tmp_path / "ours")
    assert again.labels == ("x", "y", "z")
    assert torch.equal(again.classifier(ids, torch.tensor([20, 12])), ours)


@pytest.mark.parametrize("pads", [0, 1, 7, 64])
@torch.no_grad()
def test_scores_do_not_depend_on_pads_on_either_side(pads, tmp_path):
    _, classifier = classifier_of("llama-grouped-tied", tmp_path / "base")
    ids = some_ids(80)[:1, :11]
    alone = classifier(ids, torch.tensor([11]))
    right = torch.cat([ids, torch.zeros(1, pads, dtype=torch.int64)], 1)
    torch.testing.assert_close(classifier(right, torch.tensor([11])), alone, rtol=0, atol=1e-5)
    left = torch.cat([torch.zeros(1, pads, dtype=torch.int64), ids], 1)
    documents = torch.tensor([[-1] * pads + [0] * 11])
    positions = torch.tensor([[0] * pads + list(range(11))])
    found = classifier(left, torch.tensor([pads + 11]), positions=positions, documents=documents)
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-5)
