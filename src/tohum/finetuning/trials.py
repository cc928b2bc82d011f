"""Before and after: the test questions and a general text, by the base and by what training made of it -> a card."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tohum.data_sampling.loader import text_batches
from tohum.evaluation.answer_file import AnswerRow, write_answers
from tohum.evaluation.answers import score_answers
from tohum.evaluation.card import Side, make_card
from tohum.evaluation.compare import BLOCK_TOKENS
from tohum.evaluation.general_text import WINDOW_TOKENS, general_documents, general_name
from tohum.evaluation.perplexity import Cost, costs
from tohum.evaluation.respond import respond
from tohum.evaluation.text import text_ids
from tohum.files import write_json
from tohum.finetuning.asking import Asking, Say
from tohum.generation.text import Generated
from tohum.loading.folder import LoadedModel, model_sha256

BEFORE, ANSWERS_BEFORE, ANSWERS = "before.json", "answers_before.jsonl", "answers.jsonl"
EVALUATION_ROWS = 8
CANARY_TOKENS = 64
SCORES = ("exact_match", "token_f1", "chrf")


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What both go through: the same questions in the same template, the same text."""

    out: Path
    asking: Asking
    tokens: int  # of an answer, at most
    say: Say
    is_main: bool  # other processes have no part in it

    def before(self, loaded: LoadedModel) -> None:
        """Once, before the first step; kept in the run folder for a run that is continued."""
        if not (self.out / BEFORE).is_file():
            side, _ = self.measure(loaded, loaded.folder, ANSWERS_BEFORE)
            write_json(self.out / BEFORE, asdict(side))

    def after(self, loaded: LoadedModel, checkpoint: Path) -> dict[str, Any]:
        """The tuned model's figures, and the card."""
        if not self.is_main:
            return {}
        values = json.loads((self.out / BEFORE).read_text("utf-8"))
        before = Side(**values | {"general": [Cost(**cost) for cost in values["general"]]})
        side, answers = self.measure(loaded, checkpoint, ANSWERS)
        card = make_card(before, side, questions=self.asking.questions, text=general_name())
        found: dict[str, Any] = {"card": card.as_dict(), "questions": len(answers)}
        if answers:
            summary = score_answers(side.answers, [row.expected for row in self.asking.questions])
            found |= {name: asdict(getattr(summary, name)) for name in SCORES} | {
                "corpus_chrf": summary.corpus_chrf, "answers": str(self.out / ANSWERS),
                "ended_fraction": sum(answer.finish_reason == "stop" for answer in answers) / len(answers)}
        return found

    def measure(self, loaded: LoadedModel, folder: Path, file: str) -> tuple[Side, list[Generated]]:
        """Answers, written beside the expected ones, and what the general text costs."""
        questions = self.asking.questions
        if questions:
            self.say(f"answering {len(questions):,} test questions")
        answers = self.answers(loaded, questions, self.tokens)
        texts = [answer.text.strip() for answer in answers]
        if answers:
            write_answers(self.out / file, [replace(row, answer=text, finish_reason=answer.finish_reason)
                                            for row, text, answer in zip(questions, texts, answers, strict=True)])
        windows = text_batches(text_ids(general_documents(), loaded.tokenizer), rows=EVALUATION_ROWS,
                               max_length=min(WINDOW_TOKENS, loaded.config.context))
        blocks = tuple(costs(loaded.network, windows, loaded.tokenizer.byte_lengths, block_tokens=BLOCK_TOKENS))
        return Side(name=str(folder), model_sha256=model_sha256(folder), general=blocks, answers=texts), answers

    def canaries(self, loaded: LoadedModel) -> Iterator[dict[str, Any]]:
        """The same questions after every part of the run: the best token each time."""
        rows = self.asking.canaries if self.is_main else []
        for row, answer in zip(rows, self.answers(loaded, rows, CANARY_TOKENS), strict=True):
            prompt = row.prompt if isinstance(row.prompt, str) else row.prompt[-1]["content"]
            yield {"prompt": prompt, "expected": row.expected, "text": answer.text,
                   "finish_reason": answer.finish_reason}

    def answers(self, loaded: LoadedModel, rows: list[AnswerRow], tokens: int) -> list[Generated]:
        """In the order of the rows."""
        return respond(loaded, [row.prompt for row in rows], manner=self.asking.manner, max_tokens=tokens)
