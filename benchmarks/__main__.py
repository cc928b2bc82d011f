"""All measurements that the docs quote: `python -m benchmarks` runs them, `python -m benchmarks NAME …` some.

They take minutes each and want the machine for themselves. Results are kept under benchmarks/results/.
"""

import runpy
import sys

MEASUREMENTS = ("prepare_speed", "lora_step", "decode_speed", "nanogpt_recipe", "budget_quality", "kill_test",
                "turkish", "finish_time", "prediction_table")
HOURS = ("finetuning",)  # only by name; goes on where it was


def main() -> None:
    """Run the named measurements, or all."""
    chosen = sys.argv[1:] or list(MEASUREMENTS)
    if unknown := [name for name in chosen if name not in MEASUREMENTS + HOURS]:
        sys.exit(f"no measurement '{unknown[0]}'; choose from {', '.join(MEASUREMENTS + HOURS)}")
    for name in chosen:
        print(f"== {name}", flush=True)
        sys.argv = [name]  # a measurement reads its own options
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
