"""What quantizing did."""
from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from ...targets.target import INT8
from .settings import QuantizationSettings

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class LayerQuantization:
    """One layer.

    Attributes
    ----------
    name : str
    reason : str or None
        Why it stays in float32; None: it does not.
    input_step, output_step : float or None
        Of the activations that it reads and makes; None where these are floats.
    weight_step : float or None
        Of its weight: the median over the channels.
    snr : float or None
        Signal to noise of what it makes, in dB, behind its ReLU.
    """

    name: str
    reason: str | None = None
    input_step: float | None = None
    output_step: float | None = None
    weight_step: float | None = None
    snr: float | None = None


@dataclass(frozen=True)
class Figures:
    """Of a network.

    Attributes
    ----------
    bytes : int
        Of the ONNX file.
    accuracy : float or None
        Part of the images whose likeliest class is the label; None without labels, or for a network that is no classifier.
    """

    bytes: int
    accuracy: float | None


@dataclass(frozen=True)
class Quantization:
    """A quantized network.

    Attributes
    ----------
    model : str
        As it was given.
    sha256 : str
        Of the model as it was given.
    onnx : onnx.ModelProto
        With QuantizeLinear and DequantizeLinear.
    settings : QuantizationSettings
    layers : tuple of LayerQuantization
        All layers, in order.
    operators : dict of str to int
        How many other operators are computed in integers, by kind.
    equalized : int
        Pairs of layers that channels were scaled between.
    calibration_images, judged_images : int
        How many images ranges and moments are from; how many accuracy and agreement are from.
    data_sha256 : str
        Of the images that were calibrated with.
    before, after : Figures
    agreement : float or None
        Part of the images whose likeliest class stays; None for a network that is no classifier.
    snr : dict of str to float
        Signal to noise of each output, in dB.
    """

    model: str
    sha256: str
    onnx: onnx.ModelProto
    settings: QuantizationSettings
    layers: tuple[LayerQuantization, ...]
    operators: dict[str, int]
    equalized: int
    calibration_images: int
    judged_images: int
    data_sha256: str
    before: Figures
    after: Figures
    agreement: float | None
    snr: dict[str, float]

    @property
    def quantized(self) -> int:
        """How many layers are."""
        return sum(layer.reason is None for layer in self.layers)

    def summary(self) -> dict[str, Any]:
        """For the manifest of an artifact, and other JSON: all but the layers and the model."""
        snr = {name: value if isfinite(value) else None for name, value in self.snr.items()}
        return {
            "precision": INT8, **self.settings.to_dict(), "layers": self.quantized, "of": len(self.layers), "equalized": self.equalized,
            "calibration_images": self.calibration_images, "judged_images": self.judged_images, "data_sha256": self.data_sha256,
            "accuracy_before": self.before.accuracy, "accuracy": self.after.accuracy, "agreement": self.agreement, "snr": snr,
            "model_sha256": self.sha256,
        }  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "model": self.model, "sha256": self.sha256, "settings": self.settings.to_dict(), "operators": self.operators,
            "equalized": self.equalized, "calibration_images": self.calibration_images, "judged_images": self.judged_images,
            "data_sha256": self.data_sha256, "before": asdict(self.before), "after": asdict(self.after), "agreement": self.agreement,
            "snr": self.snr, "layers": [asdict(layer) for layer in self.layers],
        }  # fmt: skip
