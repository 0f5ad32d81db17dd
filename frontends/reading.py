"""What the caller says of how a model is to be read: the options that every verb of the API passes on to `frontends.load`."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..support.errors import TenfoldError


@dataclass(frozen=True)
class Reading:
    """Options of reading a model.

    Attributes
    ----------
    example_inputs : tensor, tuple of tensors, dict of str to tensor, optional
        For an `nn.Module` only: what its ``forward`` is traced with.
    input_shapes : dict of str to tuple of int, optional
        Sizes of dynamic inputs.
    batch : int, optional
        The first size of every input whose first size is dynamic. Default: 1, with one line that says so.
    outputs : tuple of str, optional
        The values to return instead of the model's own outputs: what only they don't need is cut off.
    trust : bool
        Read files that run code when they are read (pickles in a ``.pt2``). Default: such a file is refused.
    simplify : bool
        Do the exact rewrites of `passes.simplify` after reading. `frontends.load` itself does none of them.

    Raises
    ------
    TenfoldError
        A batch below 1, or no output at all.
    """

    example_inputs: Any = None
    input_shapes: Mapping[str, tuple[int, ...]] | None = None
    batch: int | None = None
    outputs: tuple[str, ...] | None = None
    trust: bool = False
    simplify: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.batch, list | tuple) or isinstance(self.input_shapes, list | tuple):
            raise TenfoldError("several sizes at once are for compile: give one batch, and one shape of each input")
        if self.batch is not None and (isinstance(self.batch, bool) or not isinstance(self.batch, int) or self.batch < 1):
            raise TenfoldError(f"batch must be a whole number of 1 or more, not {self.batch!r}")
        if self.outputs is not None and (isinstance(self.outputs, str) or not self.outputs):
            raise TenfoldError("outputs must be a sequence of names, one at least")

    @classmethod
    def of(cls, function: str, keywords: Mapping[str, Any]) -> Reading:
        """Take the keywords that `function` was called with.

        Raises
        ------
        TypeError
            One is unknown, in Python's own words for it.
        TenfoldError
            As of `Reading`.
        """
        known = {field.name for field in fields(cls)}
        for name in keywords:
            if name not in known:
                raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
        return cls(**keywords)
