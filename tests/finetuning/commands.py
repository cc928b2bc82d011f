"""The command line inside the test's own process: arguments -> exit code, stdout, stderr."""

import sys
from dataclasses import dataclass

import pytest

from tohum.cli.main import main


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    def refused(self, code: int = 2) -> str:
        """The message of a refusal: one to three lines behind whatever was said before, and never a traceback."""
        assert self.code == code, self.err
        assert "Traceback" not in self.err
        said = self.err[self.err.index("tohum: "):].rstrip("\n")
        assert len(said.splitlines()) <= 3, said
        assert self.out == ""
        return said


def command(patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> Ran:
    """`tohum ARGUMENTS`, through everything but the start of Python."""
    patch.setattr(sys, "argv", ["tohum", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    return Ran(int(left.value.code or 0), said.out, said.err)
