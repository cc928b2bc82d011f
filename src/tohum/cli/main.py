"""The `tohum` command: a lazy group, so that help needs neither torch nor any stage."""

import importlib
import os
import signal
import sys
from typing import Any, NoReturn

import click

from tohum import __version__
from tohum.errors import TohumError

# verb -> (module, short help). Listed here so that `--help` imports none of the modules.
COMMANDS: dict[str, tuple[str, str]] = {
    "quickstart": ("quickstart", "The whole journey on the embedded corpus, to a budget of time."),
    "tokenizer": ("tokenizer", "Train a tokenizer; encode, decode, inspect, compare."),
    "data": ("data", "Prepare token shards from any text; inspect and verify them."),
    "plan": ("plan", "What will this machine make of the data: size, steps, memory, time, loss."),
    "pretrain": ("pretrain", "Train a language model from scratch; resumes exactly."),
    "verify-resume": ("verify_resume", "Prove on your own run that killing and resuming changes no bit."),
    "generate": ("generate", "Continue a prompt."),
    "chat": ("chat", "A conversation in the terminal, with the model's own template."),
    "import": ("import_model", "Bring a model of another format into a model folder."),
    "export": ("export", "Give a model to other programs: Hugging Face folder or GGUF, certified."),
    "finetune": ("finetune", "Teach a model to classify, to follow instructions, to prefer."),
    "classify": ("classify", "Label and probabilities of a text, or of every text of a file."),
    "merge": ("merge", "Fold a LoRA adapter into its base, certified."),
    "judge": ("judge", "Let another model score answers, over any OpenAI-compatible endpoint."),
    "evaluate": ("evaluate", "Loss, perplexity and bits per byte of a model on a text."),
    "report": ("report", "One offline HTML page of a run, or of two side by side."),
    "env": ("env", "A machine report to paste into an issue."),
}


class LazyGroup(click.Group):
    """Imports a verb's module only when that verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"tohum.cli.{COMMANDS[cmd_name][0]}")
        return module.command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "see 'tohum --help' for all verbs"
            raise click.UsageError(f"no verb '{args[0]}'; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs, in the order of the journey"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tohum")
def cli() -> None:
    """From raw text to a language model of your own.

    \b
    A first model from the text that Python carries, in two minutes:
      tohum tokenizer train python-docs --kind bpe --vocab-size 4096 --out tok
      tohum data prepare python-docs --tokenizer tok --out data
      tohum pretrain --data data --out runs/first --budget 2m
      tohum generate runs/first --prompt "The function returns"
    """


def main() -> NoReturn:
    """Run a verb; turn a user's mistake into its lines and its exit code, never into a traceback."""
    try:
        status = cli.main(standalone_mode=False, prog_name="tohum")
    except TohumError as error:
        fail(str(error), error.exit_code)
    except click.exceptions.Exit as error:
        status = error.exit_code
    except click.UsageError as error:
        fail(error.format_message().replace("No such option", "no such option"), 2, hint=usage_hint(error))
    except (click.Abort, KeyboardInterrupt):
        fail("stopped", 128 + signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # a closed pipe (| head) is no failure
        status = 0
    except OSError as error:
        from pathlib import Path

        from tohum.files import user_error

        if isinstance(error, FileNotFoundError):
            fail(f"{error.filename}: no such file or folder", 2)
        shown = user_error(error, Path(error.filename or "."))
        fail(str(shown), getattr(shown, "exit_code", 1))
    sys.exit(status if isinstance(status, int) else 0)


def usage_hint(error: click.UsageError) -> str:
    """Where to read more."""
    return f"see '{error.ctx.command_path} --help'" if error.ctx else "see 'tohum --help'"


def fail(message: str, exit_code: int, hint: str = "") -> NoReturn:
    """Print one to three lines on stderr and leave. What comes out of files gets no control over the terminal."""
    shown = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in message)
    print(f"tohum: {shown}", file=sys.stderr)
    if hint:
        print(hint, file=sys.stderr)
    sys.exit(exit_code)
