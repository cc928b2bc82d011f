"""`pretrain --steps N`: predicted and measured seconds from the start of the process to the result, and peak memory."""

from benchmarks.common import WORK, expected, record, tohum
from benchmarks.prediction_table import MEMORY, TIME, data_of

RUNS = (("python-docs", 3, 120), ("tinyshakespeare", 2, 400), ("parliament-tr", 4, 60))  # corpus, depth, steps


def main() -> None:
    """About a minute and a half each."""
    rows = []
    for corpus, depth, steps in RUNS:
        result = tohum("pretrain", "--data", data_of(corpus), "--depth", depth, "--steps", steps, "--out",
                       WORK / f"steps-{corpus}", "--force")
        rows.append({"corpus": corpus, "depth": depth, "steps": steps} | expected(result, "seconds", TIME)
                    | expected(result, "memory", MEMORY))
        print(rows[-1], flush=True)
    record("finish_time", {"rows": rows, "goal_seconds_error": 0.1, "goal_memory_error": 0.15,
                           "largest_seconds_error": max(abs(row["seconds_error"]) for row in rows),
                           "largest_memory_error": max(abs(row["memory_error"]) for row in rows)})


if __name__ == "__main__":
    main()
