"""torch tensors as arrays and back, without a copy, and without importing torch: whoever gives one has done that."""
from __future__ import annotations

import sys
from typing import Any

import numpy as np


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def as_array(tensor: Any) -> np.ndarray:
    """The memory of a tensor as an array.

    Raises
    ------
    TypeError
        It is not in the CPU's memory, or NumPy has nothing like it; the message says what to do.
    """
    if tensor.device.type != "cpu":
        raise TypeError(f"is on {tensor.device}: move it to the CPU with .cpu()")
    if tensor.layout != sys.modules["torch"].strided or tensor.is_quantized:
        raise TypeError("is sparse or quantized: make it an ordinary tensor with .to_dense() or .dequantize()")
    try:
        return tensor.detach().resolve_conj().resolve_neg().numpy()
    except TypeError:  # bfloat16 and the like
        raise TypeError(f"has dtype {str(tensor.dtype).removeprefix('torch.')}, which NumPy does not have: convert it with .to") from None


def as_tensor(array: np.ndarray) -> Any:
    """A tensor in the memory of an array."""
    return sys.modules["torch"].from_numpy(array)
