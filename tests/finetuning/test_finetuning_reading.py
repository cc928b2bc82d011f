"""What a classifier's run found out travels with the folder that is merged of it."""

import json

import pytest

from tohum.errors import CheckpointError
from tohum.finetuning.reading import Reading, reading_of


def test_reading_comes_from_the_run_or_from_the_merged_folder_s_note_or_says_that_nothing_is_known(tmp_path):
    run, merged, other = (tmp_path / name for name in ("run", "merged", "other"))
    for folder in (run, merged, other):
        folder.mkdir()
    (run / "result.json").write_text(json.dumps({"test": {"temperature": 1.7}, "data": {"max_length": 64}}))
    (merged / "tohum.json").write_text(json.dumps({"labels": ["a", "b"], "temperature": 1.7, "max_length": 64}))
    assert reading_of(run) == reading_of(merged) == Reading(temperature=1.7, max_length=64)
    assert reading_of(other) == Reading(temperature=1.0, max_length=None)
    (other / "tohum.json").write_text(json.dumps({"labels": []}))  # of an adapter
    assert reading_of(other) == Reading()


@pytest.mark.parametrize("text", ["{", '{"test": {"temperature": "hot"}, "data": {}}', '{"test": {"temperature": 0}}'])
def test_a_damaged_result_is_refused_and_not_taken_for_none(text, tmp_path):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"result\.json"):
        reading_of(tmp_path)
