"""What a network is compared with: engines that run the model as it was given, and share no code with the compiler."""
from __future__ import annotations

from .evaluator import evaluate_path
from .precision import Precision, precision_of
from .reference import Reference, onnxruntime_reference

__all__ = ["Precision", "Reference", "evaluate_path", "onnxruntime_reference", "precision_of"]
