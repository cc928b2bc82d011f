"""A plan in words: Plan -> the lines that `tohum plan` prints."""

from tohum.pretraining.plan import Plan
from tohum.units import human_bytes, human_count, human_seconds


def describe(plan: Plan) -> str:
    """Size, batch, steps, time, memory part by part, and the expected loss."""
    recipe, config, memory = plan.recipe, plan.config, plan.memory
    t = recipe.training
    lines = [
        f"model    {len(config.layers)} layers, width {config.width}, vocabulary {config.vocab_size:,}: "
        f"{human_count(plan.parameters)} parameters",
        f"data     windows of {recipe.data.max_length} tokens, {recipe.data.packing}",
        f"steps    {t.steps:,} of {t.batch_tokens:,} tokens = {human_count(t.steps * t.batch_tokens)} tokens; "
        f"{t.micro_batch} windows per pass, {t.dtype}{', compiled' if t.compile else ''}, {t.threads} threads",
        f"rates    {recipe.optimizer.kind} {recipe.optimizer.lr:g}, {recipe.schedule.kind}",
    ]
    if plan.seconds is not None:
        of = f" of {human_seconds(plan.budget_seconds)}" if plan.budget_seconds else ""
        lines.append(f"time     {human_seconds(plan.seconds)}{of}")
    parts = ", ".join(f"{name} {human_bytes(size)}" for name, size in memory.parts().items())
    lines += [f"memory   {human_bytes(memory.peak_bytes)} at the peak: {parts}",
              f"         the largest micro-batch that fits: {memory.largest_micro_batch:,} windows"]
    if plan.prediction:
        made = plan.prediction
        lines.append(f"loss     {made.bits_per_byte:.3f} bits per byte on the validation text "
                     f"({made.low:.3f} to {made.high:.3f} in 8 of 10 runs)")
    return "\n".join([*lines, *plan.notes])
