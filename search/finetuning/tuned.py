"""What became of a network by fine-tuning."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..calibration.evaluation import Verdict
from .options import Finetuning

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Tuned:
    """A factored network, trained on.

    Attributes
    ----------
    model : onnx.ModelProto
        With the weights that it has then: those that it had, where training did not make it better.
    before, after : Verdict
        Of the network with the plan, and with these weights, on the images held out, which were not trained on. All that they decide is
        whether the weights are taken.
    options : Finetuning
        What was asked for.
    images : int
        Trained on.
    rate : float or None
        The learning rate that did it; None where the weights stay as they were.
    curve : tuple of dict
        Epoch by epoch: the layer above which was tuned (None: all), step, training loss, and accuracy on images of the training data that
        were left out; of the last run.
    """

    model: onnx.ModelProto
    before: Verdict
    after: Verdict
    options: Finetuning
    images: int
    rate: float | None
    curve: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        asked = {"asked": self.options.to_dict(), "images": self.images, "rate": self.rate}
        return {**asked, "before": self.before.to_dict(), "after": self.after.to_dict(), "curve": list(self.curve)}
