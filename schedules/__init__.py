"""Schedules: TE computes, the rules that schedule them, and the driver that applies the rules to a module."""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..targets import Target
    from .rule import Rule


def rules_for(target: Target) -> list[Rule]:
    """The rules for a target, in the order in which they are tried (imports TVM)."""
    from .cpu import RULES

    return RULES
