"""What is known of one layer before it is factored: geometry, cost, and the reason if it can't be."""
from __future__ import annotations

from dataclasses import dataclass
from math import prod

_PAIRS = ("stride", "dilation", "input_size", "output_size")


@dataclass(frozen=True)
class Layer:
    """One convolution or dense layer of a network.

    Parameters
    ----------
    name
        Unique in its network.
    kind
        ``"conv2d"`` or ``"dense"``.
    weight_shape
        OIHW for ``conv2d`` with I = input channels / groups, OI for ``dense``.
    stride, dilation
        Vertical, horizontal.
    padding
        Zeros added at the top, left, bottom, right.
    groups
        Of the convolution; 1 for dense.
    input_size, output_size
        Height and width in pixels; (1, 1) for dense.
    batch
        Images of one run; for a dense layer the rows of its input matrix.
    reason
        Why no method can factor the layer, None if nothing is known against it.

    Raises
    ------
    ValueError
        For an unknown kind or a tuple of the wrong length.
    """

    name: str
    kind: str
    weight_shape: tuple[int, ...]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    input_size: tuple[int, int] = (1, 1)
    output_size: tuple[int, int] = (1, 1)
    batch: int = 1
    reason: str | None = None

    def __post_init__(self) -> None:
        dims = {"conv2d": 4, "dense": 2}.get(self.kind)
        if dims is None:
            raise ValueError(f"layer {self.name!r}: kind {self.kind!r} is neither 'conv2d' nor 'dense'")
        lengths = {"weight_shape": dims, "padding": 4, **dict.fromkeys(_PAIRS, 2)}
        for field, length in lengths.items():
            value = tuple(int(v) for v in getattr(self, field))
            if len(value) != length:
                raise ValueError(f"layer {self.name!r}: {field} {value} must have {length} entries")
            object.__setattr__(self, field, value)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole batch."""
        return self.batch * prod(self.output_size) * prod(self.weight_shape)

    @property
    def params(self) -> int:
        """Number of weights, without the bias."""
        return prod(self.weight_shape)

    @property
    def in_channels(self) -> int:
        """Number of input channels, or of inputs of a dense layer."""
        return self.weight_shape[1] * self.groups

    @property
    def out_channels(self) -> int:
        """Number of output channels, or of outputs of a dense layer."""
        return self.weight_shape[0]

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of the kernel; (1, 1) for dense."""
        return (self.weight_shape[2], self.weight_shape[3]) if self.kind == "conv2d" else (1, 1)
