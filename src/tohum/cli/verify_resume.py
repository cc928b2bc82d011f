"""`tohum verify-resume`: kill the user's own recipe again and again, and compare the weights."""

from dataclasses import asdict
from pathlib import Path

import click

from tohum.cli.options import COUNT, FOLDER, json_option
from tohum.cli.output import emit, say
from tohum.errors import FailedError


@click.command("verify-resume")
@click.argument("run", type=FOLDER)
@click.option("--steps", type=COUNT, help="Length of the trial; the whole recipe unless told.")
@click.option("--kills", type=click.IntRange(1), default=3, show_default=True, help="SIGKILLs at random moments.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the moments.")
@click.option("--scratch", type=FOLDER, help="Where the two trial runs are written, then removed.")
@json_option
def command(run: Path, steps: int | None, kills: int, seed: int, scratch: Path | None, as_json: bool) -> None:
    """Prove that RUN's recipe resumes exactly: one unbroken run, one killed with SIGKILL, the same weights."""
    from tohum.pretraining.verify import verify_resume

    found = verify_resume(run, steps=steps, kills=kills, seed=seed, say=say, folder=scratch)
    emit(asdict(found), f"{'identical' if found.identical else 'DIFFERENT'} weights after {found.steps:,} steps "
         f"and {found.kills} kills\nunbroken {found.unbroken_sha256}\nkilled   {found.killed_sha256}", as_json)
    if not found.identical:
        raise FailedError("the killed and resumed run ended with other weights; please report this with 'tohum env'")
