"""The pages of fine-tuning runs: what a person looks at is there, escaped, and of unfinished runs what there is."""

import json
import re

import pytest

from tests.report.runs import write_lines
from tests.report.test_report_page import LOADS
from tests.report.tuned_runs import write_tuned
from tohum.report.classified import interval, majority_f1
from tohum.report.page import write_report
from tohum.report.read import read_run
from tohum.report.tuning import tuned

KINDS = ("classify", "instruct", "prefer")
EVIL = "</script><img src=x onerror=alert(1)>"


def page_of(run) -> str:
    return write_report(run).read_text("utf-8")


def change(run, **values) -> None:
    """Other values in the test of the result."""
    result = json.loads((run / "result.json").read_text())
    result["test"] |= values
    (run / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize("kind", KINDS)
def test_page_of_every_kind_shows_what_was_trained_the_curves_and_the_data(tmp_path, kind):
    text = page_of(write_tuned(tmp_path / "r", kind))
    for part in ("curves", "trained", "data", "record"):
        assert f'id="{part}"' in text, part
    for words in ("models/small", "LoRA adapter of rank 8, alpha twice the rank, on every linear of the blocks",
                  "0.92 % of 4.48M", "403 MB", "best: step 15", "20 steps of 8", "2 epochs"):
        assert words in text, words
    found = LOADS.search(text.replace('xmlns="http://www.w3.org/2000/svg"', ""))  # a name, which nothing loads
    assert not found, found


def test_page_of_a_classifier_sets_it_beside_the_baselines(tmp_path):
    text = page_of(write_tuned(tmp_path / "r", "classify"))
    assert "Of 400 texts that it was not trained on, this classifier gets 377 right." in text
    table = text[text.index('id="baselines"'):text.index('id="classes"')]
    for words in ("94.2%", "0.894", "TF-IDF + logistic regression", "93.0%", "0.870", "always “ham”", "86.0%", "0.462"):
        assert words in table, words


def test_page_of_a_classifier_shows_classes_calibration_and_mistakes(tmp_path):
    text = page_of(write_tuned(tmp_path / "r", "classify"))
    assert text.count("<svg") - text.count('preserveAspectRatio="none"') == 4  # the mark, a matrix, two reliabilities
    for words in ("true ham, predicted spam: 20", "0.726", "calibration error 0.035", "calibration error 0.021", "(1.42)",
                  "Mistaken text 0", "99.0% sure", "rows.tsv:11", "4 more", "rows left out: 4, no text",
                  "train: longer texts, of which only the beginning is read: 3", "ham 0.58, spam 3.44"):
        assert words in text, words


def test_page_of_a_classifier_says_what_makes_its_figures_doubtful(tmp_path):
    run = write_tuned(tmp_path / "r", "classify")
    assert '<ul class="warnings">' not in page_of(run)
    change(run, natural=False, majority_baseline=0.96, macro_f1=0.5)
    text = page_of(run)
    for words in ("not the natural mixture", "not above that of always answering “ham”", "has the higher macro-F1"):
        assert words in text, words


def test_page_of_a_classifier_without_scikit_learn_says_so(tmp_path):
    run = write_tuned(tmp_path / "r", "classify")
    change(run, tfidf_baseline={"name": "TF-IDF + logistic regression", "note": "not installed: pip"})
    assert "not installed: pip" in page_of(run)


def test_page_of_very_many_classes_folds_their_table_and_draws_no_matrix(tmp_path):
    run, score = write_tuned(tmp_path / "r", "classify"), {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 1}
    change(run, per_class={f"class {n}": score for n in range(120)}, confusion=[[1] * 120] * 120)
    text = page_of(run)
    assert "Confusion matrix" not in text
    assert text.index("class 29<") < text.index("<summary>90 more</summary>") < text.index("class 30<")


def test_page_of_an_assistant_shows_card_answers_and_canaries(tmp_path):
    text = page_of(write_tuned(tmp_path / "r", "instruct"))
    assert "(token F1) rose from 0.050 to 0.310; the 95 % interval of the change is +0.200 to +0.330" in text
    for words in ("+0.260", "+0.200 to +0.330", "better", "forgetting", "+7.4%", "Forgetting: a general text",
                  "Question 24?", "the answer 3", "thing 3", "answer 3", "rows.jsonl:25", "At 10 it sings.", "Canary 1?",
                  "expected: It sings.", "&lt;|im_end|&gt;", "rows left out: 2, longer than 256 tokens (first: rows:7)",
                  "over learned tokens", "nats per learned token", "9d2d" * 16):
        assert words in text, words
    bars = re.findall(r'name">(before|after) training.*?value">(\d+%)', text, re.S)
    assert bars == [("before", "0%"), ("after", "100%")]


def test_answers_beyond_the_first_twenty_are_folded(tmp_path):
    text = page_of(write_tuned(tmp_path / "r", "instruct"))
    folded = text.index('<details class="more">')
    assert text.index("Question 19?") < folded < text.index("Question 20?")
    assert "<summary>5 more</summary>" in text


def test_page_says_that_nothing_changed(tmp_path):
    run = write_tuned(tmp_path / "r", "instruct")
    change(run, card={"nothing_changed": "both have the same weights"}, ended_fraction=0.2)
    text = page_of(run)
    assert "Nothing changed: both have the same weights." in text
    assert "More than half of the answers do not end" in text


def test_page_of_a_preference_run_marks_ln_2_and_shows_the_test_before_and_after(tmp_path):
    text = page_of(write_tuned(tmp_path / "r", "prefer"))
    assert ("On 32 pairs that it was not trained on, the chosen answer is the likelier one in 69%, before training in "
            "53%; chosen gained on rejected in 75%.") in text
    assert re.search(r"no change: ln 2\s*<b>0\.693</b>", text)
    for words in ("Reward margin", "0.6931", "+0.2100", "+16.0 points", "75.0%", "DPO, beta 0.1", "over pairs", "Question 3?"):
        assert words in text, words


def test_page_of_a_preference_run_speaks_of_rewards_only_where_there_is_a_reference(tmp_path):
    with_reference, without = (page_of(write_tuned(tmp_path / method, "prefer", method=method))
                               for method in ("dpo", "orpo"))
    assert "A reward is" in with_reference
    assert "reward" not in without
    assert "Chosen is likelier per token" in without


def test_only_losses_with_a_reference_have_a_level_of_no_change(tmp_path):
    levels = {method: tuned(read_run(write_tuned(tmp_path / method, "prefer", method=method)))[0].rules
              for method in ("dpo", "kto", "orpo", "simpo")}
    assert [value for _, value in levels["kto"]] == [0.5]
    assert levels["orpo"] == levels["simpo"] == []


def test_figures_of_single_steps_join_their_steps(tmp_path):
    run = read_run(write_tuned(tmp_path / "r", "prefer"))
    margin = next(figure for figure in tuned(run) if figure.title == "Reward margin")
    assert [(point.tokens, point.value) for point in margin.series[0].points[:2]] == [(8.0, 0.01), (16.0, 0.02)]


def test_accuracy_of_answers_that_have_not_moved_is_not_drawn_as_0(tmp_path):
    run = read_run(write_tuned(tmp_path / "r", "prefer"))
    accuracy = next(figure for figure in tuned(run) if figure.title == "Chosen gained on rejected")
    assert accuracy.series[-1].points[0].tokens == 40


@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_a_run_are_escaped(tmp_path, kind):
    run = write_tuned(tmp_path / "a<b>&", kind)
    files = [path for path in run.iterdir() if path.suffix in (".json", ".jsonl")]
    for path in files:
        words = ("Mistaken text", "Question", "the answer", "thing", "Canary", "it sings", "ham", "longer than", "rows")
        text = path.read_text()
        for word in words:
            text = re.sub(rf'"([^"]*\b{word}[^"]*)"(?!:)', lambda found: json.dumps(EVIL + found[1]), text)
        path.write_text(text)
    (run / "config.toml").write_text((run / "config.toml").read_text().replace("models/small", EVIL))
    text = page_of(run)
    assert "<img" not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") > 20
    assert text.count("</script>") == text.count("<script")


def test_control_characters_of_an_answer_are_shown_as_signs(tmp_path):
    run = write_tuned(tmp_path / "r", "instruct")
    write_lines(run / "answers.jsonl", [{"prompt": "P", "expected": "E", "answer": "a\x03b\nc", "finish_reason": "length"}])
    text = page_of(run)
    assert "a\u2403b\nc" in text
    assert "\x03" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_page_of_an_unfinished_run_shows_what_is_there(tmp_path, kind):
    text = page_of(write_tuned(tmp_path / "r", kind, finished=False))
    assert "not finished" in text
    assert "The test has not been made yet." in text
    for part in ("curves", "data"):
        assert f'id="{part}"' in text
    assert 'id="baselines"' not in text
    assert ("not answered yet" in text) == (kind != "classify")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", ["metrics.jsonl", "samples.jsonl", "answers.jsonl", "answers_before.jsonl",
                                     "config.toml", "plan.json", "result.json"])
def test_page_survives_what_is_missing_or_damaged(tmp_path, kind, missing):
    run = write_tuned(tmp_path / "r", kind)
    for content in ("{ damaged", '{"kind": "step", "step": "x"}\n{"prompt": 3, "answer": [], "text": 1}\n[1]\n', None):
        if content is None:
            (run / missing).unlink()
        else:
            (run / missing).write_text(content)
        assert "<h1>r</h1>" in page_of(run)


def test_page_survives_a_result_of_another_shape(tmp_path):
    run = write_tuned(tmp_path / "r", "classify")
    change(run, confusion=[[1], "x"], bins=[{"low": None}], mistakes=["x", {}], per_class={"ham": 3}, accuracy="high")
    assert "<h1>r</h1>" in page_of(run)


def test_a_run_that_never_got_better_says_so(tmp_path):
    run = write_tuned(tmp_path / "r", "instruct")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    write_lines(run / "metrics.jsonl", [line | {"loss": 0.1} if line["step"] == 0 else line for line in lines])
    assert "never fell below that of the untrained model (0.1000)" in page_of(run)


def test_accuracy_has_wilsons_interval():
    assert interval(0.9425, 400) == "95 % interval 91.5 to 96.1%"


def test_majority_baseline_has_the_f1_of_one_answer_to_everything():
    test = {"majority_baseline": 0.75, "per_class": {"a": {"support": 3}, "b": {"support": 1}, "c": {"support": 0}}}
    assert majority_f1(test) == pytest.approx((2 * 0.75 / 1.75) / 2)
