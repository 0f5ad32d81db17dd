"""The numerics of quantization, in NumPy: ranges of activations, steps of weights, and how weights are rounded."""
from .clustering import CLUSTERINGS, cluster
from .histogram import Histogram
from .quantizer import ACTIVATIONS, Quantizer
from .ranges import CALIBRATIONS, find_range
from .rounding import round_nearest, round_with_feedback, rounding_error
from .weight_scales import weight_scales

__all__ = [
    "ACTIVATIONS",
    "CALIBRATIONS",
    "CLUSTERINGS",
    "Histogram",
    "Quantizer",
    "cluster",
    "find_range",
    "round_nearest",
    "round_with_feedback",
    "rounding_error",
    "weight_scales",
]
