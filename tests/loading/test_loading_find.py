"""Paths that users give, and the model folder that is meant."""

import pytest

from tohum.errors import CheckpointError
from tohum.loading.find import find_model


def checkpoint(run, step):
    folder = run / "checkpoints" / f"step-{step:08d}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_a_model_folder_is_taken_as_it_is_without_a_note(tmp_path):
    folder = checkpoint(tmp_path, 10)
    assert find_model(folder) == (folder, "")


def test_a_run_gives_its_best_checkpoint_then_its_last_then_its_newest_and_says_so(tmp_path):
    for step in (100, 90, 1000):
        checkpoint(tmp_path, step)
    found, note = find_model(tmp_path)
    assert found.name == "step-00001000"
    assert "newest checkpoint, step-00001000" in note
    (tmp_path / "last").symlink_to("checkpoints/step-00000100")
    found, note = find_model(tmp_path)
    assert found == tmp_path / "last"
    assert "last checkpoint, step-00000100" in note
    (tmp_path / "best").symlink_to("checkpoints/step-00000090")
    found, note = find_model(tmp_path)
    assert found == tmp_path / "best"
    assert "best checkpoint, step-00000090" in note


def test_a_link_to_a_removed_checkpoint_is_passed_over(tmp_path):
    checkpoint(tmp_path, 20)
    (tmp_path / "best").symlink_to("checkpoints/step-00000010")
    assert find_model(tmp_path)[0].name == "step-00000020"


@pytest.mark.parametrize(("make", "message"), [
    (lambda path: None, "no such folder"),
    (lambda path: path.mkdir(), "holds neither config.json nor a checkpoint"),
    (lambda path: path.write_text("x"), "is a file"),
])
def test_what_is_no_model_is_refused_with_what_was_found(tmp_path, make, message):
    make(tmp_path / "thing")
    with pytest.raises(CheckpointError, match=rf"thing: {message}"):
        find_model(tmp_path / "thing")
