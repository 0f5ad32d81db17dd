"""Where the tensors of a network lie in its piece of a GPU's memory."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ..memory_plan import arena_bytes, tensor_bytes
from ..weights import Contents
from .launches import Routine

ALIGNED = 256  # bytes: what the driver gives, and vectors of any kernel need
Tensor = tuple[tuple[int, ...], str]  # shape, dtype


@dataclass(frozen=True)
class Placement:
    """Offsets in bytes.

    Attributes
    ----------
    ports : tuple of int
        Of inputs and outputs.
    weights, arena : tuple of int
        Of weights, and of intermediate tensors.
    scratch : int
        Where the buffers of the function that runs begin.
    bytes : int
        Of all.
    """

    ports: tuple[int, ...]
    weights: tuple[int, ...]
    arena: tuple[int, ...]
    scratch: int
    bytes: int

    @classmethod
    def of(cls, contents: Contents, routines: Mapping[str, Routine], inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Placement:
        """Lay out a network.

        Parameters
        ----------
        contents : Contents
            Its file of weights.
        routines : mapping of str to Routine
            Its functions.
        inputs, outputs : sequence of (tuple of int, str)
            Shapes and dtypes.
        """
        sizes = [tensor_bytes(dtype, shape) for shape, dtype in (*inputs, *outputs)]
        ports = len(sizes)
        sizes += [weight.nbytes for weight in contents.weights]
        offsets = list(accumulate(map(padded, sizes), initial=0))
        arena = offsets.pop()
        scratch = arena + padded(arena_bytes(contents.places))
        end = scratch + max((sum(map(padded, routine.scratch)) for routine in routines.values()), default=0)
        return cls(tuple(offsets[:ports]), tuple(offsets[ports:]), tuple(arena + place.offset for place in contents.places), scratch, end)


def padded(size: int) -> int:
    """Round a size up to what alignment takes."""
    return -(-size // ALIGNED) * ALIGNED
