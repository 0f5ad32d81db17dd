"""Whole numbers of 8 bits that stand for floats: x = scale * (q - zero_point)."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ACTIVATIONS = ("uint8", "int8")
LEVELS = 256


@dataclass(frozen=True)
class Quantizer:
    """Affine quantization of a tensor, as ONNX's QuantizeLinear and DequantizeLinear define it.

    Attributes
    ----------
    scale : float
        The step; a float32 number above 0.
    zero_point : int
        What stands for 0, which is always represented exactly.
    dtype : str
        ``"uint8"`` or ``"int8"``.
    """

    scale: float
    zero_point: int
    dtype: str = "uint8"

    @classmethod
    def of_range(cls, low: float, high: float, dtype: str = "uint8") -> Quantizer:
        """The quantizer of the numbers from `low` to `high`, and of 0; of 0 alone its step is 1.

        A range from 0 on has the smallest whole number for its zero point, so that saturation is a ReLU.

        Parameters
        ----------
        low, high : float
            Finite.
        dtype : str
            Of `ACTIVATIONS`.
        """
        if dtype not in ACTIVATIONS:
            raise ValueError(f"dtype {dtype!r} is none of {', '.join(ACTIVATIONS)}")
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        if not np.isfinite(high - low):
            raise ValueError(f"a range from {low} to {high} is not finite")
        scale = float(np.float32((high - low) / (LEVELS - 1)))
        if scale < np.finfo(np.float32).tiny:  # of 0 alone, or of numbers that float32 hardly tells from it
            scale = 1.0
        first = int(np.iinfo(dtype).min)
        return cls(scale, first + int(np.clip(np.rint(-low / scale), 0, LEVELS - 1)), dtype)

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest whole number."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    @property
    def low(self) -> float:
        """The smallest number that is represented."""
        return self.scale * (self.bounds[0] - self.zero_point)

    @property
    def high(self) -> float:
        """The largest number that is represented."""
        return self.scale * (self.bounds[1] - self.zero_point)

    def quantize(self, x: np.ndarray) -> np.ndarray:
        """The nearest whole numbers, ties to even; what lies outside the range saturates."""
        with np.errstate(over="ignore"):  # what is infinite then saturates
            steps = np.rint(np.asarray(x, np.float32) / np.float32(self.scale)) + np.float32(self.zero_point)
        return np.clip(steps, *self.bounds).astype(self.dtype)

    def dequantize(self, q: np.ndarray) -> np.ndarray:
        """What whole numbers stand for, in float32."""
        return (np.asarray(q).astype(np.int32) - self.zero_point).astype(np.float32) * np.float32(self.scale)

    def round_trip(self, x: np.ndarray) -> np.ndarray:
        """What is left of floats."""
        return self.dequantize(self.quantize(x))
