"""How a network is quantized."""
from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ...quantization import ACTIVATIONS, CALIBRATIONS
from ...support.errors import TenfoldError


@dataclass(frozen=True)
class QuantizationSettings:
    """How a network is quantized.

    Attributes
    ----------
    calibration : str
        How the range of an activation is found: ``minmax``, ``mse``, ``percentile`` or ``kl`` (`quantization.ranges`).
    activations : str
        ``uint8`` or ``int8``: the same steps, shifted by 128.
    per_channel : bool
        Whether each output channel of a weight has a step of its own.
    equalize : bool
        Whether channels are scaled between layers first (`passes.quantize.smooth`; where a weight has one step, by the weights:
        `passes.quantize.equalize`).
    clip_weights : bool
        Whether the largest weights may saturate, where the mean squared error is smaller so.
    feedback : bool
        Whether weights are rounded so that later ones make up for earlier ones (`quantization.rounding`), and not each to the nearest.
    correct_bias : bool
        Whether the means of outputs that rounding the weights shifts are restored (Nagel et al. 2019, 4.2).
    keep : tuple of str
        Layers that stay in float32.
    keep_ends : bool
        Whether the first and the last layer do.
    """

    calibration: str = "minmax"
    activations: str = "uint8"
    per_channel: bool = True
    equalize: bool = True
    clip_weights: bool = False
    feedback: bool = True
    correct_bias: bool = True
    keep: tuple[str, ...] = ()
    keep_ends: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (("calibration", self.calibration, CALIBRATIONS), ("activations", self.activations, ACTIVATIONS)):
            if value not in known:
                raise TenfoldError(f"{name} {value!r}: choose {', '.join(known)}")

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "keep": list(self.keep)}
