"""Find: a path that a user gives -> the model folder that is meant."""

from pathlib import Path

from tohum.errors import CheckpointError

CONFIG, ADAPTER = "config.json", "adapter_config.json"


def find_model(path: Path) -> tuple[Path, str]:
    """A model folder or an adapter, or a run folder, whose best checkpoint (else its last) is taken.

    Answers the folder and a note for the user that says what was taken ("" for a plain model folder).
    Raises CheckpointError.
    """
    path = Path(path)
    if is_model(path):
        return path, ""
    if not path.exists():
        raise CheckpointError(f"{path}: no such folder; expected a model folder or a run folder")
    if not path.is_dir():
        raise CheckpointError(f"{path}: is a file; expected a model folder or a run folder\n"
                              f"'tohum import {path} --out DIR' makes a model folder from other formats")
    for name in ("best", "last"):
        if is_model(path / name):
            return path / name, f"{path}: a run; using its {name} checkpoint, {(path / name).resolve().name}"
    if checkpoints := finished_checkpoints(path):
        return checkpoints[-1], f"{path}: a run; using its newest checkpoint, {checkpoints[-1].name}"
    raise CheckpointError(f"{path}: holds neither {CONFIG} nor a checkpoint; expected a model or run folder")


def finished_checkpoints(run: Path) -> list[Path]:
    """Checkpoint folders of a run by step (their names are zero-padded); drafts are hidden and left out."""
    return sorted(folder for folder in (run / "checkpoints").glob("step-*") if is_model(folder))


def is_model(folder: Path) -> bool:
    """Weights of its own, or an adapter."""
    return (folder / CONFIG).is_file() or (folder / ADAPTER).is_file()
