"""New tokens: their rows are trained, saved with the adapter, merged; equal to peft where the base has the rows."""

import pytest
import torch
from benchmarks.families import CASES, perturbed, some_ids
from peft import LoraConfig as PeftConfig
from peft import get_peft_model

from tohum.errors import ConfigError
from tohum.finetuning.adapter_folder import places, token_module
from tohum.loading.folder import load_model, read_family
from tohum.loading.weights import write_file
from tohum.lora.adapter import Adapter, add_lora, attach, current
from tohum.lora.config import LoraConfig
from tohum.lora.merge import merge
from tohum.lora.rows import TrainedRows
from tohum.lora.store import Stored, read_adapter, write_adapter
from tohum.model.loss import cross_entropy_sum

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def base(tmp_path):
    theirs = perturbed(CASES["llama-grouped-tied"]()).float()
    theirs.save_pretrained(tmp_path / "base")
    return theirs, load_model(tmp_path / "base").network, read_family(tmp_path / "base")[0].table


def test_rows_of_peft_give_the_same_logits_and_gradients(base, tmp_path):
    theirs, network, table = base
    ids = some_ids()
    chosen = sorted(set(ids[0, :3].tolist()))
    model = get_peft_model(theirs, PeftConfig(r=2, target_modules=["q_proj"], trainable_token_indices=chosen,
                                              task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "trainable_tokens" in name or "lora_B" in name:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    model.eval().save_pretrained(tmp_path / "adapter")
    attach(network, read_adapter(tmp_path / "adapter", places(network, table), token_module(table)).adapter)
    expected = model(ids).logits
    torch.testing.assert_close(network.logits(ids), expected, rtol=0, atol=4e-5)
    expected.square().mean().backward()
    network.logits(ids).square().mean().backward()
    wanted = next(p.grad for name, p in model.named_parameters() if "trainable_tokens" in name and p.grad is not None)
    torch.testing.assert_close(network.embedding.token.lora_rows.grad, wanted, rtol=1e-4, atol=1e-5)


def test_a_new_token_is_learned_saved_and_merged_and_all_three_agree(base, tmp_path):
    _, network, table = base
    rows = network.config.vocab_size
    before = network.embedding.token.weight.clone()
    add_lora(network, LoraConfig(rank=2), torch.Generator().manual_seed(0), [5, rows])  # one that is there, one new
    assert network.config.vocab_size == rows + 1
    ids = some_ids()
    targets = torch.full_like(ids, rows)
    losses = []
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.5)
    for _ in range(3):
        loss = cross_entropy_sum(network.hidden(ids), network.head_weight, targets, dtype=torch.float32) / ids.numel()
        loss.backward()
        assert network.embedding.token.lora_rows.grad is not None
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    assert losses[-1] < losses[0] - 0.1
    assert torch.equal(network.embedding.token.weight[:rows], before)  # the table itself is frozen
    adapter = current(network, LoraConfig(rank=2))
    assert set(adapter.token_rows) == {5, rows}
    expected = network.logits(ids)
    (tmp_path / "adapter").mkdir()
    write_adapter(tmp_path / "adapter", Stored(adapter=adapter, base="base", task="CAUSAL_LM"),
                  places(network, table), token_module(table), write_file)
    again = load_model(tmp_path / "base").network
    attach(again, read_adapter(tmp_path / "adapter", places(again, table), token_module(table)).adapter)
    torch.testing.assert_close(again.logits(ids), expected, rtol=0, atol=1e-5)
    merge(network)
    assert not isinstance(network.embedding.token, TrainedRows)
    torch.testing.assert_close(network.logits(ids), expected, rtol=0, atol=4e-5)


def test_rows_are_refused_where_the_head_is_a_matrix_of_its_own(tmp_path):
    perturbed(CASES["llama-grouped-untied"]()).float().save_pretrained(tmp_path / "base")
    network = load_model(tmp_path / "base").network
    with pytest.raises(ConfigError, match="output head is a matrix of its own"):
        add_lora(network, LoraConfig(rank=2), torch.Generator(), [3])


def test_rows_of_another_width_are_refused(base):
    _, network, _ = base
    with pytest.raises(ConfigError, match="it was trained on another base"):
        attach(network, Adapter(config=LoraConfig(), factors={}, token_rows={3: torch.zeros(7)}))
