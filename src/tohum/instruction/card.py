"""Before and after: the test questions and a general text, by the base and by what training made of it -> a card."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tohum.data_sampling.loader import text_batches
from tohum.evaluation.answer_file import write_answers
from tohum.evaluation.answers import AnswerSummary, score_answers
from tohum.evaluation.card import Side, make_card
from tohum.evaluation.compare import BLOCK_TOKENS
from tohum.evaluation.general_text import general_documents, general_name
from tohum.evaluation.perplexity import Cost, costs
from tohum.evaluation.respond import respond
from tohum.evaluation.text import text_ids
from tohum.files import write_json
from tohum.generation.text import Generated
from tohum.instruction.prepare import Rows
from tohum.loading.folder import LoadedModel, model_sha256

BEFORE, ANSWERS_BEFORE, ANSWERS = "before.json", "answers_before.jsonl", "answers.jsonl"
EVALUATION_ROWS, GENERAL_LENGTH = 8, 256


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What both go through: the same questions in the same template, the same text."""

    out: Path
    rows: Rows
    tokens: int
    say: Callable[[str], None]

    def before(self, loaded: LoadedModel) -> None:
        """Once, before the first step; kept in the run folder for a run that is continued."""
        if (self.out / BEFORE).is_file():
            return
        side, _ = self.measure(loaded, model_sha256(loaded.folder), ANSWERS_BEFORE)
        write_json(self.out / BEFORE, asdict(side))

    def after(self, loaded: LoadedModel, checkpoint: Path) -> dict[str, Any]:
        """The tuned model's figures, and the card."""
        values = json.loads((self.out / BEFORE).read_text("utf-8"))
        before = Side(**values | {"general": [Cost(**cost) for cost in values["general"]]})
        side, answers = self.measure(loaded, model_sha256(checkpoint), ANSWERS)
        card = make_card(before, replace(side, name=str(checkpoint)), questions=self.rows.questions,
                         text=general_name())
        found: dict[str, Any] = {"card": card.as_dict(), "questions": len(answers)}
        if answers:
            summary = score_answers(side.answers, [row.expected for row in self.rows.questions])
            found |= figures(summary) | {"answers": str(self.out / ANSWERS), "ended_fraction": sum(
                answer.finish_reason == "stop" for answer in answers) / len(answers)}
        return found

    def measure(self, loaded: LoadedModel, sha256: str, file: str) -> tuple[Side, list[Generated]]:
        """Answers, written beside the expected ones, and what the general text costs."""
        words, rows = loaded.tokenizer, self.rows
        if rows.questions:
            self.say(f"answering {len(rows.questions):,} test questions")
        answers = respond(loaded, [row.prompt for row in rows.questions], manner=rows.manner, max_tokens=self.tokens)
        if answers:
            write_answers(self.out / file, [replace(row, answer=answer.text.strip(), finish_reason=answer.finish_reason)
                                            for row, answer in zip(rows.questions, answers, strict=True)])
        length = min(GENERAL_LENGTH, loaded.config.context)
        windows = text_batches(text_ids(general_documents(), words), max_length=length, rows=EVALUATION_ROWS)
        blocks = tuple(costs(loaded.network, windows, words.byte_lengths, block_tokens=BLOCK_TOKENS))
        return Side(name=str(loaded.folder), model_sha256=sha256, general=blocks,
                    answers=[answer.text.strip() for answer in answers]), answers


def figures(summary: AnswerSummary) -> dict[str, Any]:
    """Means with their intervals."""
    return {name: asdict(getattr(summary, name)) for name in ("exact_match", "token_f1", "chrf")} | {
        "corpus_chrf": summary.corpus_chrf}
