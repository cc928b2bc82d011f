"""`tohum finetune`: a model and examples -> a classifier, an assistant, a model with preferences."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tohum.cli.options import COUNT, DURATION, FOLDER, force_option, json_option, recipe_options
from tohum.cli.output import emit, say
from tohum.cli.training_options import profile_option, training_options

if TYPE_CHECKING:
    from tohum.finetuning.config import FinetuneRecipe

KEYS = {"model": "model.folder", "data": "data.file", "lora_rank": "lora.rank", "train": "training.train",
        "epochs": "training.epochs", "budget": "training.budget", "steps": "training.steps",
        "overlong": "data.overlong", "max_length": "data.max_length", "max_hours": "training.max_hours",
        "patience": "training.patience",
        "seed": "training.seed", "device": "training.device", "dtype": "training.dtype",
        "balance": "data.balance", "text_column": "data.text_column", "label_column": "data.label_column",
        "template": "data.template", "loss": "data.loss", "method": "preference.method"}
PATHS = ("model", "data")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Stage 7: teach a model that exists: to classify, to follow instructions, to prefer.

    \b
    Unless told, a LoRA adapter of rank 16 is trained and the model's own weights stay as they are. Every run can be
    killed at any moment and continued to the same bits with --resume.
    """


def finetune_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What all three have."""
    for option in (
        click.option("--resume", is_flag=True, help="Continue what --out holds; start when it holds nothing."),
        click.option("--patience", type=click.IntRange(1), help="Stop after this many validations without a new best."),
        click.option("--max-hours", type=click.FloatRange(min=0, min_open=True),
                     help="Save and stop after this long (exit code 75)."),
        click.option("--overlong", type=click.Choice(["drop", "truncate", "error"]),
                     help="What becomes of examples longer than --max-length."),
        click.option("--max-length", type=click.IntRange(2), help="Tokens of an example."),
        click.option("--budget", type=DURATION, help="Time for training, such as 10m; a run that would take longer is "
                     "shortened. The test comes after it."),
        click.option("--steps", type=COUNT, help="Optimizer steps, in place of --epochs."),
        click.option("--epochs", type=click.IntRange(1), help="Passes over the training examples."),
        click.option("--train", type=click.Choice(["all", "last-block", "head"]),
                     help="Train weights of the model itself in place of an adapter."),
        click.option("--lora-rank", type=click.IntRange(1), help="Rank of the LoRA adapter. [16]"),
        click.option("--out", type=FOLDER, required=True, help="Run folder to write."),
        click.option("--data", metavar="FILE", required=True, help="The examples; python-docs: the embedded set."),
    ):
        function = option(function)
    return click.argument("model", type=FOLDER)(profile_option(function))


@command.command()
@finetune_options
@click.option("--balance", type=click.Choice(["weights", "undersample", "none"]),
              help="Rare classes: weigh them more in the loss, drop rows of the others, or nothing. [weights]")
@click.option("--text-column", metavar="C", help="Name or number (from 1) of the text; two are joined: title,text. "
              "[guessed and shown]")
@click.option("--label-column", metavar="C", help="Name or number of the label. [guessed and shown]")
@training_options
@recipe_options
@force_option
@json_option
def classify(out: Path, resume: bool, force: bool, as_json: bool, **options: Any) -> None:
    """Train a classifier on a CSV, TSV, JSONL, JSON or Parquet file of texts and labels.

    \b
      tohum finetune classify models/smollm2 --data spam.tsv --out runs/spam
      tohum classify runs/spam --text "You have won a prize"
    """
    from tohum.classification.config import ClassifyRecipe
    from tohum.classification.run import classify as work
    from tohum.training.run_folder import Request

    result = work(Request(recipe=recipe_from(ClassifyRecipe, options), out=out, resume=resume, force=force,
                          profile=options["profile"]), say)
    test = result["test"]
    baseline = test["tfidf_baseline"]
    shown = (f"{baseline['accuracy']:.2%}, macro-F1 {baseline['macro_f1']:.4f}" if "accuracy" in baseline
             else baseline["note"])
    finish(out, result, f"test: accuracy {test['accuracy']:.2%}, macro-F1 {test['macro_f1']:.4f} on "
           f"{test['rows']:,} texts\n"
           f"always '{test['majority_label']}': {test['majority_baseline']:.2%}; {baseline['name']}: {shown}",
           f"tohum classify {out} --text \"...\"", as_json)


@command.command()
@finetune_options
@click.option("--template", metavar="NAME|FILE", help="How a conversation is written: alpaca, chatml, phi3 or a .jinja "
              "file. [the model's own, else alpaca]")
@click.option("--loss", type=click.Choice(["answers", "all"]), help="Learn the answers, or every token. [answers]")
@training_options
@recipe_options
@force_option
@json_option
def instruct(out: Path, resume: bool, force: bool, as_json: bool, **options: Any) -> None:
    """Train an assistant on questions and answers, in any of the usual forms.

    \b
    Alpaca, messages, ShareGPT, prompt and completion; JSONL, JSON, CSV, TSV or Parquet:
      tohum finetune instruct models/smollm2 --data answers.jsonl --out runs/assistant
      tohum chat runs/assistant
    """
    from tohum.instruction.config import InstructRecipe
    from tohum.instruction.run import instruct as work
    from tohum.training.run_folder import Request

    result = work(Request(recipe=recipe_from(InstructRecipe, options), out=out, resume=resume, force=force,
                          profile=options["profile"]), say)
    finish(out, result, "\n".join(card_lines(result["test"])), f"tohum chat {out}", as_json)


@command.command()
@finetune_options
@click.option("--method", type=click.Choice(["dpo", "orpo", "simpo", "kto"]), help="The loss. dpo and kto compare with "
              "the model before training, orpo and simpo do not; kto takes single answers too. [dpo]")
@click.option("--template", metavar="NAME|FILE", help="How a conversation is written. [the model's own, else alpaca]")
@training_options
@recipe_options
@force_option
@json_option
def prefer(out: Path, resume: bool, force: bool, as_json: bool, **options: Any) -> None:
    """Train a model to prefer chosen answers to rejected ones.

    \b
    MODEL may be the run of an assistant; its adapter is merged first and the new one stands on the result:
      tohum finetune prefer runs/assistant --data pairs.jsonl --out runs/polite
    """
    from tohum.preference.config import PreferRecipe
    from tohum.preference.run import prefer as work
    from tohum.training.run_folder import Request

    result = work(Request(recipe=recipe_from(PreferRecipe, options), out=out, resume=resume, force=force,
                          profile=options["profile"]), say)
    test = result["test"]
    lines = [f"test: {name} {test['before'].get(name, float('nan')):.4f} before, {test[name]:.4f} after"
             for name in ("loss", "margin", "accuracy", "preferred") if name in test]
    finish(out, result, "\n".join(lines + card_lines(test)), f"tohum chat {out}", as_json)


def card_lines(test: dict[str, Any]) -> list[str]:
    """Before and after, in a few lines."""
    card = test["card"]
    lines = [f"test: {name.replace('_', ' ')} {gain['before']:.3f} before, {gain['after']:.3f} after "
             f"({gain['verdict']})" for name, gain in card["gains"].items()]
    if test.get("ended_fraction") is not None:
        lines.append(f"{test['ended_fraction']:.0%} of {test['questions']:,} answers end by themselves")
    if card["general"]:
        before, after = (card["general"][side]["bits_per_byte"] for side in ("before", "after"))
        lines.append(f"general text: {before:.4f} bits per byte before, {after:.4f} after"
                     + (": the model has forgotten" if card["forgetting"] else ""))
    if card["nothing_changed"]:
        lines.append(f"nothing changed: {card['nothing_changed']}")
    return lines


def recipe_from(kind: "type[FinetuneRecipe]", options: dict[str, Any]) -> Any:
    """Recipe file, then flags, then --set. Raises ConfigError."""
    from tohum.config import resolve
    from tohum.errors import ConfigError

    if options.get("dtype") == "fp16":
        raise ConfigError("--dtype fp16 needs loss scaling, which training does not do; use bf16 or fp32")
    given = {name: str(Path(value).absolute()) if name in PATHS and Path(value).exists() else value
             for name, value in options.items() if value is not None}
    flags = {KEYS[name]: str(value) if name in PATHS else value for name, value in given.items() if name in KEYS}
    return resolve(kind, file=options["recipe"], flags=flags, assignments=options["assignments"],
                   alternatives=(("training.epochs", "training.steps"), ("training.train", "lora.rank")))


def finish(out: Path, result: dict[str, Any], text: str, try_this: str, as_json: bool) -> None:
    """Report page and result, on the main process."""
    from tohum.report.page import write_report
    from tohum.training.ranks import main_process
    from tohum.units import human_bytes, human_seconds

    if not main_process():
        return
    page = write_report(out)
    emit(result, f"{result['steps']:,} steps in {human_seconds(result['seconds'])}; trained "
         f"{result['trainable_parameters']:,} parameters; peak memory {human_bytes(result['peak_memory_bytes'])}\n"
         f"{text}\nmodel:  {result['checkpoint']}\nreport: {page}\ntry:    {try_this}", as_json)
