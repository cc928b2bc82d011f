"""What a run writes about itself: metrics.jsonl and samples.jsonl, one JSON object per line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tohum.files import user_error, write_text


class Journal:
    """Appends lines; after a resume the lines beyond the resumed step are dropped, so each step stands once."""

    def __init__(self, run: Path, enabled: bool = True):
        self.metrics, self.samples, self.enabled = run / "metrics.jsonl", run / "samples.jsonl", enabled

    def write(self, kind: str, **values: Any) -> None:
        """One line of metrics."""
        self._append(self.metrics, {"kind": kind} | values)

    def sample(self, **values: Any) -> None:
        """One line of samples."""
        self._append(self.samples, values)

    def _append(self, path: Path, values: Mapping[str, Any]) -> None:
        if not self.enabled:
            return
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(values, ensure_ascii=False) + "\n")
        except OSError as error:
            raise user_error(error, path) from error

    def rewind(self, step: int) -> None:
        """Forget what was written after `step` (a killed process may have gone further than its last checkpoint)."""
        for path in (self.metrics, self.samples) if self.enabled else ():
            if path.is_file():
                kept = (line for line in read_lines(path) if line.get("step", 0) <= step)
                write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a JSONL file; a last line cut by a kill is left out."""
    found = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return [line for line in found if isinstance(line, dict)]
