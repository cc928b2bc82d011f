"""Acceptance: losses and gradients against the trainers of TRL, on the same weights and the same tokens.

SFT, DPO and KTO: TRL's trainers are built on the same file and compute their loss on their own batch, whose ids must be
ours. ORPO and SimPO: TRL's trainers compute their loss on a batch of our ids.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

from tests.finetuning.talking import template_of
from tests.finetuning.tiny import CASES, SHORTCUTS
from tohum.data_sampling.batch import IGNORED
from tohum.finetuning.adapter_folder import load_adapted
from tohum.finetuning.asking import example
from tohum.finetuning.batches import Order
from tohum.finetuning.encode import Encoder, encode_rows
from tohum.finetuning.examples import Example, ExampleSet
from tohum.finetuning.layout import micro_batches
from tohum.instruction.conversations import read_conversations
from tohum.loading.folder import load_model, read_family
from tohum.loading.names import write_parameters
from tohum.preference.batches import PairBatches, SingleBatches
from tohum.preference.encode import encode_pair, encode_unpaired
from tohum.preference.losses import orpo
from tohum.preference.objective import PreferenceObjective
from tohum.preference.pairs import read_preferences
from tohum.preference.prepare import side_of
from tohum.training.objective import Precision, language_objective
from tohum.training.ranks import Ranks

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
FP32 = Precision(dtype=torch.float32, device=torch.device("cpu"))
ROWS = 6
# TRL learns a completion to the end of the text, so nothing may come behind the end of turn.
ENDING = ("{% for m in messages %}{{ '' if loop.first else '\n' }}{{ '<|im_start|>' + m.role + '\n' }}"
          "{{ m.content + '<|im_end|>' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '\n<|im_start|>assistant\n' }}{% endif %}")
MARKED = ENDING.replace("{{ m.content + '<|im_end|>' }}", (
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}"))


def settings(kind, out, **more):
    return kind(output_dir=str(out), per_device_train_batch_size=ROWS, use_cpu=True, bf16=False, report_to="none",
                gradient_checkpointing=False, seed=0, **more)


def rows_of(file, count=ROWS):
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()[:count]]


def asked(rows):
    """Texts as conversations, as TRL wants them."""
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant", "completion": "assistant"}
    return Dataset.from_list([{key: [{"role": roles[key], "content": value}] if key in roles else value
                               for key, value in row.items()} for row in rows])


def ids_of(batch, mask):
    """(ids, mask) of every row of a batch of TRL, without its padding."""
    return sorted((row[keep.bool()].tolist(), learned[keep.bool()].tolist()) for row, learned, keep in
                  zip(batch["input_ids"], mask, batch["attention_mask"], strict=True))


def ours_of(*sets):
    """The same of our examples: the mask says of each id whether it is learned."""
    found = []
    for examples in sets:
        for start, size in zip(examples.starts, examples.lengths, strict=True):
            ids, targets = (part[start : start + size].tolist() for part in (examples.ids, examples.targets))
            found.append(([*ids, max(targets[-1], 0)], [0, *(int(target != IGNORED) for target in targets)]))
    return sorted(found)


def first_rows(file, count, tmp_path):
    """A file with the first rows of another."""
    path = tmp_path / file.name
    path.write_text("".join(file.read_text("utf-8").splitlines(keepends=True)[:count]), "utf-8")
    return path


@pytest.fixture(scope="module")
def tuned(base, files, tmp_path_factory):
    """A base and an adapter that has learned something: ours, and as two models of transformers."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHORTCUTS.items():
            patch.setattr(name, value)
        run = tmp_path_factory.mktemp("tuned") / "run"
        CASES["instruct"].fit(base, files, run)
    loaded, _ = load_adapted(run / "last")
    policy = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), run / "last").merge_and_unload()
    encoder = Encoder(template=template_of(ENDING, loaded.tokenizer), tokenizer=loaded.tokenizer)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = ENDING
    return SimpleNamespace(network=loaded.network.eval(), policy=policy.float().eval(), encoder=encoder, base=base,
                           reference=AutoModelForCausalLM.from_pretrained(base).eval(),
                           tokenizer=tokenizer)


def objective_of(tuned, method, beta, gamma=0.0):
    return PreferenceObjective(tuned.network, FP32, method=method, beta=beta, gamma=gamma, ranks=Ranks())


def pairs_of(tuned, file, count=ROWS):
    rows = read_preferences(file).pairs[:count]
    return side_of(encode_rows(rows, lambda row: encode_pair(row, tuned.encoder)).examples, 128)


def batch_of(side):
    """All pairs of a side in one pass."""
    order = Order(len(side), key="", rows_per_step=len(side))
    return next(iter(PairBatches(chosen=side.chosen, rejected=side.rejected, order=order, context=128,
                                 micro_tokens=100_000).in_order()))


def test_sft_of_trl_has_our_ids_our_loss_and_our_gradients(base, files, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = MARKED
    theirs = AutoModelForCausalLM.from_pretrained(base)
    trainer = SFTTrainer(model=theirs, processing_class=tokenizer, train_dataset=Dataset.from_list(
        rows_of(files / "answers.jsonl")), args=settings(SFTConfig, tmp_path, assistant_only_loss=True, max_length=None))
    batch = next(iter(trainer.get_train_dataloader()))
    targets = int((batch["labels"] != IGNORED).sum())
    expected = trainer.compute_loss(theirs.train(), batch, num_items_in_batch=torch.tensor(targets))
    expected.backward()

    loaded = load_model(base)
    encoder = Encoder(template=template_of(ENDING, loaded.tokenizer), tokenizer=loaded.tokenizer)
    told = read_conversations(first_rows(files / "answers.jsonl", ROWS, tmp_path)).conversations
    examples = ExampleSet(example(one) for row in told for one in encoder.encode(row))
    assert ours_of(examples) == ids_of(batch, (batch["labels"] != IGNORED).int())
    objective = language_objective(loaded.network, FP32)
    loss = sum(objective(part) for part in micro_batches(examples, np.arange(ROWS), packing="isolated",
                                                         micro_tokens=100, context=128)) / targets
    loss.backward()
    torch.testing.assert_close(loss.detach(), expected.detach(), rtol=0, atol=1e-5)
    gradients = {name: parameter.grad for name, parameter in loaded.network.named_parameters()}
    stored = write_parameters(read_family(base)[0].table, 2, gradients)
    wanted = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert stored.keys() == wanted.keys()
    assert max(float(value.abs().max()) for value in wanted.values()) > 1e-2
    # Padding is <|im_end|>, and transformers lets what reads padding pass no gradient to its row of the table.
    table, row = stored["model.embed_tokens.weight"], tokenizer.pad_token_id
    assert not torch.allclose(table[row], wanted["model.embed_tokens.weight"][row], atol=1e-5)
    table[row] = wanted["model.embed_tokens.weight"][row]
    for name, value in wanted.items():
        torch.testing.assert_close(stored[name], value, rtol=0, atol=1e-5)


def test_dpo_of_trl_has_our_ids_and_our_loss(tuned, files, tmp_path):
    trainer = DPOTrainer(model=tuned.policy, ref_model=tuned.reference, processing_class=tuned.tokenizer,
                         train_dataset=asked(rows_of(files / "pairs.jsonl")),
                         args=settings(DPOConfig, tmp_path, beta=0.3, max_length=None))
    batch = next(iter(trainer.get_train_dataloader()))
    expected = float(trainer.compute_loss(tuned.policy, batch))
    side = pairs_of(tuned, files / "pairs.jsonl")
    assert ours_of(side.chosen, side.rejected) == ids_of(batch, batch["completion_mask"])
    found = float(objective_of(tuned, "dpo", 0.3)(batch_of(side))) / ROWS
    assert abs(expected - np.log(2)) > 0.01
    assert found == pytest.approx(expected, abs=1e-5)


def test_kto_of_trl_has_our_loss_with_its_estimate_of_the_kl(tuned, files, tmp_path):
    trainer = KTOTrainer(model=tuned.policy, ref_model=tuned.reference, processing_class=tuned.tokenizer,
                         train_dataset=asked(rows_of(files / "singles.jsonl")),
                         args=settings(KTOConfig, tmp_path, beta=0.3, max_length=None))
    batch = next(iter(trainer.get_train_dataloader()))
    expected = float(trainer.compute_loss(tuned.policy, batch))
    strangers = ExampleSet(Example(ids=ids[:-1], targets=[t if m else IGNORED for t, m in zip(ids[1:], mask[1:], strict=True)])
                           for ids, mask in ids_of({"input_ids": batch["KL_input_ids"], "attention_mask":
                                                    batch["KL_attention_mask"]}, batch["KL_completion_mask"]))
    rows = read_preferences(files / "singles.jsonl").unpaired[:ROWS]
    side = side_of(encode_rows(rows, lambda row: encode_unpaired(row, tuned.encoder)).examples, 128)
    assert ours_of(side.answers) == ids_of(batch, batch["completion_mask"])
    objective = objective_of(tuned, "kto", 0.3)
    source = SingleBatches(answers=side.answers, desirable=side.desirable, mismatched=strangers, micro_tokens=100, context=128,
                           order=Order(ROWS, key="", rows_per_step=ROWS), kl=objective.kl)
    batches = list(source.in_order())
    assert len(batches) > 1
    assert float(batches[0].kl) > 0.01
    assert float(sum(objective(part) for part in batches)) / ROWS == pytest.approx(expected, abs=1e-5)


def trl_batch(side):
    """Pairs of ours as ORPO and CPO take them: whole texts, padded, labels in place."""
    examples = [(one.ids[start : start + size], one.targets[start : start + size]) for one in (side.chosen, side.rejected)
                for start, size in zip(one.starts, one.lengths, strict=True)]
    width = max(len(ids) for ids, _ in examples)
    inputs, targets = (torch.tensor(np.array([np.pad(pair[part], (0, width - len(pair[part])), constant_values=empty)
                                              for pair in examples]), dtype=torch.int64) for part, empty in ((0, 0), (1, IGNORED)))
    last = (targets != IGNORED).int().cumsum(1).argmax(1) + 1  # (B,) the place behind the last learned token
    found = {}
    for name, rows in (("chosen", slice(0, ROWS)), ("rejected", slice(ROWS, None))):
        ids = torch.nn.functional.pad(inputs[rows], (0, 1))
        labels = torch.nn.functional.pad(targets[rows], (1, 0), value=IGNORED)
        ids = torch.where(labels != IGNORED, labels, ids)
        mask = (torch.arange(ids.shape[1])[None, :] <= last[rows, None]).long()
        found |= {f"{name}_input_ids": ids, f"{name}_attention_mask": mask, f"{name}_labels": labels}
    return found


def preference_trainer(kind, tuned, files, out, config, **more):
    return kind(model=tuned.policy, processing_class=tuned.tokenizer,
                train_dataset=Dataset.from_list(rows_of(files / "pairs.jsonl")),
                args=settings(config, out, max_length=128, remove_unused_columns=False, **more))


def test_orpo_of_trl_has_our_odds_ratio_and_our_formula(tuned, files, tmp_path):
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    trainer = preference_trainer(ORPOTrainer, tuned, files, tmp_path, ORPOConfig, beta=0.3)
    side = pairs_of(tuned, files / "pairs.jsonl")
    batch = batch_of(side)
    with torch.no_grad():
        expected, figures = trainer.get_batch_loss_metrics(tuned.policy, trl_batch(side))
        log_p, tokens = objective_of(tuned, "orpo", 0.3).log_probabilities(batch)
        chosen, rejected = (log_p / tokens).chunk(2)
        ours = objective_of(tuned, "orpo", 0.3)(batch) / ROWS
    assert float(chosen.mean()) == pytest.approx(figures["logps/chosen"], abs=1e-5)
    # Their language-model loss is over prompts and answers, ours over the answers (arXiv:2403.07691, equation 6).
    with_theirs = orpo(chosen, rejected, torch.full((ROWS,), figures["nll_loss"]), 0.3).mean()
    assert float(with_theirs) == pytest.approx(float(expected), abs=1e-5)
    assert float(ours) == pytest.approx(-float(chosen.mean()) - 0.3 * figures["log_odds_ratio"], abs=1e-5)


def test_simpo_of_trl_has_our_loss(tuned, files, tmp_path):
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    trainer = preference_trainer(CPOTrainer, tuned, files, tmp_path, CPOConfig, beta=2.0, loss_type="simpo",
                                 cpo_alpha=0.0, simpo_gamma=0.5)
    side = pairs_of(tuned, files / "pairs.jsonl")
    batch = batch_of(side)
    with torch.no_grad():
        expected, _ = trainer.get_batch_loss_metrics(tuned.policy, trl_batch(side))
        found = objective_of(tuned, "simpo", 2.0, 0.5)(batch) / ROWS
    assert float(found) == pytest.approx(float(expected), abs=1e-5)
