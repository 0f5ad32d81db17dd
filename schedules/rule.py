"""What a schedule rule is."""
from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tvm import tirx
from tvm.s_tir import Schedule

from ..targets import Target

TargetT = TypeVar("TargetT", bound=Target)  # the kind of target that a rule or a backend is for

# rule(func, target): a schedule of the function for the target, or None where the rule is not made for such a function.
# Rules stand in a list; the first that returns a schedule wins. They see only functions that are loop nests of one block each
# below a block named root, without calls of library functions.
Rule = Callable[[tirx.PrimFunc, TargetT], Schedule | None]
