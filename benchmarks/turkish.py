"""Turkish: a tokenizer of 8,000 entries and `--budget 5m` on Turkish texts; tokens against GPT-2's, bits per byte
against a byte model of order 5, the share of sampled words that occur in the text, and letters kept whole."""

from pathlib import Path

from benchmarks.common import DATA, WORK, prepared, record, shown, tohum

from tohum.evaluation.overlap import known_word_fraction

LETTERS = "İışğçöü"
PROMPTS = ("Türkiye", "Bu ", "Sayın ", "")


def main() -> None:
    """Train, compare, sample."""
    folder = DATA / "text_tr"
    data = prepared("turkish", [str(folder)], vocab_size=8000)
    compared = tohum("tokenizer", "compare", data.parent / "tokenizer", DATA / "tokenizers" / "gpt2_encoder.json",
                     "--text", folder)["rows"]
    ratio = compared[0]["tokens"] / compared[1]["tokens"]
    run = WORK / "turkish-5m"
    row = tohum("pretrain", "--data", data, "--budget", "5m", "--out", run, "--force")
    text = "\n".join(path.read_text("utf-8") for path in sorted(Path(folder).iterdir()))
    samples = [tohum("generate", run, "--prompt", prompt, "--max-tokens", 200, "--temperature", "0.8", "--top-k", 50,
                     "--seed", seed)["text"] for prompt in PROMPTS for seed in range(3)]
    known = known_word_fraction("\n".join(samples), text)
    record("turkish", {
        "tokens_of_gpt2": round(ratio, 4), "goal_tokens_of_gpt2": 0.6, "known_word_fraction": round(known, 4),
        "goal_known_word_fraction": 0.8, "broken_characters": sum(sample.count("\ufffd") for sample in samples),
        "letters_sampled": {letter: sum(sample.count(letter) for sample in samples) for letter in LETTERS},
        "sample": samples[0], "baselines": row["baselines"]}
        | shown(row, "val_bits_per_byte", "parameters", "steps", "process_seconds", "outcome"))


if __name__ == "__main__":
    main()
