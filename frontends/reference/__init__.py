"""What a network is compared with: engines that run the model as it was given, and share no code with the compiler."""
from __future__ import annotations

from .precision import Precision, precision_of
from .reference import Reference, onnxruntime_reference

__all__ = ["Precision", "Reference", "onnxruntime_reference", "precision_of"]
