"""Encoded examples -> those that fit the context, and a report: lengths, what was dropped or cut and why."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self, TypeVar

from tohum.errors import ConfigError, DataError
from tohum.finetuning.encode import Encoded, EncodedRows

Overlong = Literal["drop", "truncate", "error"]


class NothingLeftError(DataError):
    """Every row was dropped."""


class Fits(Protocol):
    """An example of one text (an answer) or of several (a pair)."""

    @property
    def place(self) -> str: ...

    @property
    def texts(self) -> tuple[Encoded, ...]: ...

    def cut(self, max_length: int) -> Self: ...


F = TypeVar("F", bound=Fits)


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Rows that are left out for one reason."""

    reason: str
    count: int
    first: str  # "file:line"


@dataclass(frozen=True, kw_only=True)
class Report:
    """Before step 0: what goes in, what stays out. Lengths are tokens of a text, of all that could be encoded."""

    rows: int
    kept: int
    dropped: list[Dropped]
    parted: int  # rows of which several examples were made
    apart: int  # texts of which prompt and answer were encoded apart
    straddled: int
    copies: int  # kept examples that are the same as one before
    max_length: int
    p50: int
    p90: int
    p99: int
    longest: int
    tokens: int  # of the kept texts
    targets: int
    targets_cut: int

    @property
    def supervised_percent(self) -> float:
        """Learned tokens among all."""
        return 100 * self.targets / max(1, self.tokens)

    def lines(self) -> list[str]:
        """For people."""
        found = [f"{self.rows:,} rows, {self.kept:,} examples kept, up to {self.max_length:,} tokens each"]
        found += [f"  {drop.count:,} dropped: {drop.reason} (first: {drop.first})" for drop in self.dropped]
        notes = {"rows became several examples, one for each answer: the template rewrites earlier turns, or a token "
                 "would cover a prompt and its answer": self.parted,
                 "texts have prompt and answer encoded apart: one token would cover both": self.apart,
                 "texts have a token that covers prompt and answer: let the template's prompt end before the space":
                 self.straddled, "examples are exact copies of others": self.copies,
                 "learned tokens cut off: such answers do not end": self.targets_cut}
        found += [f"  {count:,} {note}" for note, count in notes.items() if count]
        found.append(f"tokens of a text: half have up to {self.p50:,}, 90 % up to {self.p90:,}, 99 % up to "
                     f"{self.p99:,}, the longest {self.longest:,}")
        found.append(f"learned: {self.targets:,} of {self.tokens:,} tokens ({self.supervised_percent:.1f} %)")
        return found


def fit(rows: EncodedRows[F], *, max_length: int, overlong: Overlong) -> tuple[list[F], Report]:
    """Examples with at most max_length inputs, which are max_length + 1 tokens, and the report.

    A row is longer if any of its texts is, and teaches nothing if any of its texts has nothing learned.
    Raises DataError for a row that is too long with overlong="error", and where no example is left.
    """
    if max_length < 1:
        raise ConfigError(f"max_length {max_length}: expected at least 1 token")
    over = [example for example in rows.examples if any(len(t.ids) > max_length + 1 for t in example.texts)]
    if over and overlong == "error":
        longest = max(len(text.ids) for text in over[0].texts)
        raise DataError(f"{over[0].place}: {longest:,} tokens, but the length is {max_length:,}; {len(over):,} of "
                        f"{len(rows.examples):,} rows are longer\nraise data.max_length, or choose --overlong drop or "
                        "truncate")
    dropped = [(refused.reason, refused.place) for refused in rows.refused]
    kept: list[F] = []
    targets_cut = 0
    for example in rows.examples:
        if overlong == "drop" and any(len(text.ids) > max_length + 1 for text in example.texts):
            dropped.append((f"longer than {max_length:,} tokens", example.place))
            continue
        cut = example.cut(max_length)
        if any(not text.targets for text in cut.texts):
            dropped.append(("no token of an answer within the length" if any(t.targets for t in example.texts)
                            else "no token to learn", example.place))
        else:
            kept.append(cut)
            targets_cut += targets_in([example]) - targets_in([cut])
    report = replace(report_of(rows, kept, dropped), max_length=max_length, targets_cut=targets_cut)
    if not kept:
        raise NothingLeftError(nothing_left(report, overlong))
    return kept, report


def targets_in(examples: Sequence[Fits]) -> int:
    """Tokens that are learned."""
    return sum(text.targets for example in examples for text in example.texts)


def report_of(rows: EncodedRows[F], kept: Sequence[F], dropped: Sequence[tuple[str, str]]) -> Report:
    """The figures, but for those of cutting."""
    lengths = sorted(len(text.ids) for example in rows.examples for text in example.texts)
    texts = [text for example in kept for text in example.texts]
    reasons: dict[str, list[str]] = {}
    for reason, place in dropped:
        reasons.setdefault(reason, []).append(place)
    drops = [Dropped(reason=reason, count=len(places), first=places[0]) for reason, places in reasons.items()]
    return Report(rows=rows.rows, kept=len(kept), dropped=sorted(drops, key=lambda drop: -drop.count),
                  parted=rows.parted, apart=sum(text.apart for text in texts),
                  straddled=sum(text.straddled for text in texts),
                  copies=len(kept) - len({tuple(tuple(text.ids) for text in example.texts) for example in kept}),
                  max_length=0, p50=quantile(lengths, 0.5), p90=quantile(lengths, 0.9),
                  p99=quantile(lengths, 0.99), longest=lengths[-1] if lengths else 0,
                  tokens=sum(len(text.ids) for text in texts), targets=targets_in(kept), targets_cut=0)


def quantile(ordered: Sequence[int], fraction: float) -> int:
    """The smallest length that this fraction of all does not exceed."""
    return ordered[max(0, -int(-fraction * len(ordered) // 1) - 1)] if ordered else 0


def nothing_left(report: Report, overlong: Overlong) -> str:
    """Why a run cannot begin."""
    main = report.dropped[0] if report.dropped else Dropped(reason="no rows", count=0, first="-")
    if main.reason.startswith("longer"):
        advice = f"raise data.max_length (the longest text has {report.longest:,} tokens), or give --overlong truncate"
    elif main.reason.startswith("no token of an answer"):
        advice = "the prompts alone fill the length: raise data.max_length"
    else:
        advice = "choose another template with --template: alpaca, chatml, phi3, or a file"
    return f"{main.first}: nothing is left to train on; {main.count:,} dropped: {main.reason}\n{advice}"
