"""Started twice by torchrun: every case as one of two processes, `python -m tests.finetuning.two_ranks BASE FILES OUT`."""

import json
import sys
from pathlib import Path
from unittest import mock

import torch.distributed as dist

from tests.finetuning.tiny import CASES, SHORTCUTS


def main() -> None:
    """The last argument: changes by case, as JSON."""
    base, files, out = map(Path, sys.argv[1:4])
    for name, value in SHORTCUTS.items():
        mock.patch(name, value).start()
    for run, changes in json.loads(sys.argv[4]).items():
        CASES[run.split(":")[0]].fit(base, files, out / run, **changes)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
