"""The operators that work element by element: one table for every pass and kernel that asks."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tvm import tirx


@dataclass(frozen=True)
class Elementwise:
    """An operator that works element by element.

    Attributes
    ----------
    inputs : int
        Tensors that it reads; all others of its arguments are numbers.
    step : callable, optional
        The operator as an expression of TE, for kernels that take it in behind a layer: from an element, and the operator's other
        arguments (one element of each tensor; numbers), to the result. None where no kernel takes it in.
    """

    inputs: int
    step: Callable[..., Any] | None = None

    @property
    def has_operand(self) -> bool:
        """Whether it reads a second tensor."""
        return self.inputs == 2


def _relu(value: Any) -> Any:
    return tirx.max(value, tirx.const(0, "float32"))


def _clip(value: Any, low: float, high: float) -> Any:
    return tirx.max(tirx.min(value, tirx.const(high, "float32")), tirx.const(low, "float32"))


def _hard_swish(value: Any) -> Any:
    return value * (_clip(value + tirx.const(3, "float32"), 0.0, 6.0) * tirx.const(1 / 6, "float32"))


_STEPS: dict[str, Callable[..., Any]] = {
    "add": lambda value, operand: value + operand,
    "multiply": lambda value, operand: value * operand,
    "nn.relu": _relu,
    "clip": _clip,
    "sigmoid": tirx.sigmoid,
    "tanh": tirx.tanh,
    "nn.silu": lambda value: value * tirx.sigmoid(value),
    "hard_swish": _hard_swish,
}
HARD_SWISH = "relax.hard_swish"  # no operator of Relax, but of several (`passes.hard_swish`)
READ_TWICE = frozenset({"relax.nn.silu", HARD_SWISH})  # steps that read the value before them twice
DEAR = READ_TWICE | {"relax.sigmoid", "relax.tanh"}    # what no such step is behind: it would be computed twice
_ONE = """
    abs acos acosh asin asinh astype atan atanh bitwise_not ceil clip cos cosh erf exp floor full_like hard_swish isfinite isinf isnan
    log logical_not negative nn.gelu nn.gelu_tanh nn.leakyrelu nn.relu nn.selu nn.silu nn.softplus ones_like round rsqrt sigmoid sign
    sin sinh sqrt square tan tanh trunc zeros_like
"""
_TWO = """
    add atan2 bitwise_and bitwise_or bitwise_xor divide equal floor_divide floor_mod greater greater_equal left_shift less less_equal
    log_add_exp logical_and logical_or logical_xor maximum minimum mod multiply not_equal power right_shift subtract
"""
_THREE = "ewise_fma where"

ELEMENTWISE: Mapping[str, Elementwise] = MappingProxyType({
    f"relax.{name}": Elementwise(inputs, _STEPS.get(name))
    for inputs, names in ((1, _ONE), (2, _TWO), (3, _THREE)) for name in names.split()
})


def is_step(name: str) -> bool:
    """Whether kernels can take the operator `name` in behind a layer."""
    return name in ELEMENTWISE and ELEMENTWISE[name].step is not None


def has_operand(name: str) -> bool:
    """Whether the step `name` reads a second tensor: in kernels, one value for each channel."""
    return ELEMENTWISE[name].has_operand
