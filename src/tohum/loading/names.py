"""Names: stored tensors of a family <-> parameters of the network, by a two-way table with named transforms.

A rule says: the stored tensor `theirs` holds our parameters `ours`, rearranged by `transform`. Transforms
move numbers and never compute (but for PLUS_ONE), so a model that is loaded and saved again keeps every bit.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tohum.errors import CheckpointError

Shape = tuple[int, ...]
EXPERT = re.compile(r"\.experts\.(\d+)\.")


class StoredTensors(Protocol):
    """Where weights come from: shapes of all tensors known at once, values read one by one."""

    @property
    def where(self) -> str: ...
    @property
    def shapes(self) -> Mapping[str, Shape]: ...
    def tensor(self, name: str) -> Tensor: ...


class Transform(NamedTuple):
    """How one stored tensor holds one or more of ours."""

    read: Callable[[Tensor, Sequence[Shape]], Sequence[Tensor]]  # stored, our shapes -> ours
    write: Callable[[Sequence[Tensor]], Tensor]  # ours -> stored
    shape: Callable[[Sequence[Shape]], Shape]  # our shapes -> the stored shape



def minus_one(weight: Tensor) -> Tensor:
    """weight - 1 in the narrowest of its dtype and float64 that holds it exactly (below 0.5 float32 does not)."""
    exact = weight.double() - 1.0
    narrow = exact.to(weight.dtype)
    return narrow if torch.equal(narrow.double(), exact) else exact


# Gemma and its like multiply by 1 + w; a norm of ours by its weight. The one transform that computes; what was
# written reads back to the same bits.
PLUS_ONE = Transform(read=lambda stored, shapes: [(stored.double() + 1.0).float()],
                     write=lambda ours: minus_one(ours[0]), shape=lambda shapes: shapes[0])



class Rule(NamedTuple):
    """One line of a table; the first {} stands for the number of the layer, a second for that of the expert."""

    theirs: str
    ours: tuple[str, ...]
    transform: Transform


SAME = Transform(read=lambda stored, shapes: [stored], write=lambda ours: ours[0],
                 shape=lambda shapes: shapes[0])

# GPT-2's Conv1D computes x @ W with W (in, out); a linear layer holds (out, in).
TRANSPOSED = Transform(read=lambda stored, shapes: [stored.T], write=lambda ours: ours[0].T,
                       shape=lambda shapes: shapes[0][::-1])

# Several of ours stacked along their first (output) dimension: one bias (3D,) for query, key and value.
FUSED = Transform(read=lambda stored, shapes: stored.split([shape[0] for shape in shapes]),
                  write=lambda ours: torch.cat(list(ours)),
                  shape=lambda shapes: (sum(shape[0] for shape in shapes), *shapes[0][1:]))

# Both: W (D, 3D), whose columns are those of query, key, value.
FUSED_TRANSPOSED = Transform(read=lambda stored, shapes: FUSED.read(stored.T, shapes),
                             write=lambda ours: FUSED.write(ours).T,
                             shape=lambda shapes: FUSED.shape(shapes)[::-1])


def same(theirs: str, ours: str) -> Rule:
    """A rule for a tensor that is stored as it is."""
    return Rule(theirs, (ours,), SAME)


@dataclass(frozen=True, kw_only=True)
class Table:
    """All names of a family. `token` and `head` say which tensors a tied head shares; `prefix` is what files
    of the bare network (without a head) leave out; `ignored` are constants, by the end of their names."""

    rules: tuple[Rule, ...]
    token: str
    head: str
    prefix: str = ""
    ignored: tuple[str, ...] = ()


def rules_for(table: Table, layers: int, parameters: Iterable[str]) -> list[Rule]:
    """Write out {} for every layer and expert, and keep the rules whose parameters this network has."""
    present, rules = set(parameters), []
    experts = 1 + max((int(found[1]) for name in present if (found := EXPERT.search(name))), default=-1)
    for rule in table.rules:
        sizes = (layers, experts)[: rule.theirs.count("{}")]
        for numbers in itertools.product(*map(range, sizes)):
            ours = tuple(name.format(*numbers) for name in rule.ours)
            if present.issuperset(ours):
                rules.append(Rule(rule.theirs.format(*numbers), ours, rule.transform))
    covered = {name for rule in rules for name in rule.ours}
    if covered != present:
        raise KeyError(f"no rule for {sorted(present - covered)}")  # our mistake: a table is incomplete
    return rules


def read_parameters(table: Table, stored: StoredTensors, layers: int,
                    shapes: Mapping[str, Shape]) -> Iterator[tuple[str, Tensor]]:
    """Stored tensors -> (name, parameter) one by one, for the network whose parameters have `shapes`.

    Raises CheckpointError with everything that does not fit before the first one is read.
    """
    rules = rules_for(table, layers, shapes)
    alias = without_prefix(table, stored.shapes)
    check_fit(table, rules, stored, shapes, alias)
    for rule in rules:
        tensor = stored.tensor(alias(rule.theirs))
        parts = rule.transform.read(tensor, [shapes[name] for name in rule.ours])
        yield from zip(rule.ours, parts, strict=True)


def write_parameters(table: Table, layers: int, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters -> stored tensors. A tied head is not stored: its table is."""
    return {rule.theirs: rule.transform.write([weights[name] for name in rule.ours])
            for rule in rules_for(table, layers, weights)}


def without_prefix(table: Table, stored: Iterable[str]) -> Callable[[str], str]:
    """Files of the bare network name tensors without the prefix (the published GPT-2 does)."""
    if not table.prefix or any(name.startswith(table.prefix) for name in stored):
        return lambda name: name
    return lambda name: name.removeprefix(table.prefix)


def check_fit(table: Table, rules: Sequence[Rule], stored: StoredTensors, shapes: Mapping[str, Shape],
              alias: Callable[[str], str]) -> None:
    """Missing, unexpected and misshapen tensors, all in one error of at most three lines."""
    found = stored.shapes
    expected = {alias(rule.theirs): rule.transform.shape([shapes[name] for name in rule.ours])
                for rule in rules}
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected and not name.endswith(table.ignored)]
    if table.head in unexpected and "head.weight" not in shapes:
        check_tied(table, stored, alias)
        unexpected.remove(table.head)
    misshapen = [f"{name} {list(found[name])} instead of {list(shape)}" for name, shape in expected.items()
                 if name in found and tuple(found[name]) != tuple(shape)]
    lines = [f"{len(names)} tensor{'s' * (len(names) > 1)} {kind}: {some(names)}" for kind, names in
             (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen)) if names]
    if lines:
        raise CheckpointError(f"{stored.where}: " + "\n".join(lines))


def check_tied(table: Table, stored: StoredTensors, alias: Callable[[str], str]) -> None:
    """A file may hold a tied head a second time, but then with the same numbers."""
    token = alias(table.token)
    if token in stored.shapes and not torch.equal(stored.tensor(table.head), stored.tensor(token)):
        raise CheckpointError(f"{stored.where}: config.json ties the head to the token table, but "
                              f"{table.head} differs from {token}\n"
                              f"if the head is meant, set tie_word_embeddings to false in config.json")


def some(names: Sequence[str]) -> str:
    """The first three of a list and how many more."""
    more = f", … and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
