"""Stage 14, report: lines of metrics, as a run writes them -> curves -> one offline page."""

import json
import math
import random
import tempfile
from pathlib import Path

from tohum.report.curves import points, smooth
from tohum.report.page import write_report

# A run that was killed: some steps, one validation, and a last line that was cut in the middle.
random.seed(0)
lines = []
for step in range(1, 101):
    at = {"step": step, "tokens": step * 4096, "seconds": step * 0.2}
    loss = 2 + 6 * math.exp(-step / 20) + random.gauss(0, 0.2)
    lines.append({"kind": "step", **at, "loss": loss, "lr": 0.01, "tokens_per_second": 20_000, "grad_norm": 1.0})
lines.append({"kind": "evaluation", **at, "loss": 2.1, "perplexity": math.exp(2.1), "bits_per_byte": 0.8})

# A curve is a list of points; its moving average shows the trend that the noise of single steps hides.
curve = points(lines, "loss")
print("last five steps:", [round(point.value, 2) for point in curve[-5:]])
print("their averages: ", [round(point.value, 2) for point in smooth(curve, share=0.2)[-5:]])

with tempfile.TemporaryDirectory() as folder:
    run = Path(folder) / "killed"
    run.mkdir()
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"kind": "st')
    page = write_report(run)
    print(f"{page.name}: {page.stat().st_size:,} bytes, {page.read_text().count('<figure'):,} figures")
