"""The state of a run as plain values: with the weights and the optimizer's tensors it is all that a resume needs."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from tohum.training.schedule import Stretch


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Where a run stands after `step` updates. The data position is `step` itself (data_sampling/loader.py)."""

    step: int = 0
    tokens: int = 0  # supervised targets so far
    seconds: float = 0.0  # of work so far, over all starts
    loss: float | None = None  # of the last step
    evaluated_step: int = 0
    best_loss: float | None = None  # lowest validation loss
    best_step: int = 0
    evaluations_since_best: int = 0
    sampled_step: int = 0
    stretch: Stretch | None = None

    def last_step(self, planned: int) -> int:
        """Steps of the whole run, as they stand now."""
        return self.stretch.steps if self.stretch else planned

    def evaluated(self, loss: float) -> "TrainState":
        """After a validation loss; keeps the best and counts evaluations without a gain."""
        if self.best_loss is None or loss < self.best_loss:
            return replace(self, evaluated_step=self.step, best_loss=loss, best_step=self.step,
                           evaluations_since_best=0)
        return replace(self, evaluated_step=self.step, evaluations_since_best=self.evaluations_since_best + 1)

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        values["stretch"] = self.stretch.model_dump() if self.stretch else None
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TrainState":
        stretch, older = values.get("stretch"), values.get("shortening")  # of checkpoints from before runs were filled
        if older:
            stretch = older | {"position": older["at"]}
        known = {key: value for key, value in values.items() if key != "shortening"}
        return cls(**known | {"stretch": Stretch(**stretch) if stretch else None})
