"""ONNX Runtime as a reference: it does what the file says, and says nothing on the terminal."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

SILENT_SEVERITY = 4  # severity: what it has to say comes as an exception
# A QuantizeLinear / DequantizeLinear pair stays what it says. By default ONNX Runtime merges pairs into integer kernels, whose sums of
# 16 bits saturate on CPUs without VNNI.
KEEP_QDQ_OPTION = "session.disable_quant_qdq"
# Likewise for operators that are of integers in the file: weights of int8 become uint8, so that no sum of 16 bits saturates there.
EXACT_SUMS_OPTION = "session.x64quantprecision"


def session_run(source: Path | onnx.ModelProto) -> Callable[..., list[np.ndarray]]:
    """A function of inputs by name, and of the names of outputs (all of them by default). ONNX Runtime's exceptions pass through it."""
    session: Any = None

    def run(inputs: dict[str, np.ndarray], names: Sequence[str] | None = None) -> list[np.ndarray]:
        nonlocal session
        import onnxruntime

        if session is None:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = SILENT_SEVERITY
            options.add_session_config_entry(KEEP_QDQ_OPTION, "1")
            options.add_session_config_entry(EXACT_SUMS_OPTION, "1")
            model = source.SerializeToString() if isinstance(source, onnx.ModelProto) else str(source)
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        each = onnxruntime.RunOptions()
        each.log_severity_level = SILENT_SEVERITY
        return session.run(names, inputs, each)

    return run
