"""The pass that applies schedule rules to every function of a module, and says which functions no rule took."""
from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import tvm
from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import ScheduleError

from ..targets import Target
from .rule import Rule
from .tir.analysis import block_names, calls_library, has_constant_shapes, has_parallel_loop
from .tir.loop_nests import has_nests
from .tir.module_pass import ModulePass
from .tir.named_values import store_names
from .tir.shared_values import share_values

SCHEDULED_ATTRIBUTE = "tirx.is_scheduled"
STRICT_VARIABLE = "TENFOLD_STRICT"  # of the environment; "1" turns warnings and failing rules into errors, as the tests do


class UnscheduledWarning(UserWarning):
    """Warning that a function goes to code generation as it was written: one thread, no tiles."""


@dataclass(frozen=True)
class Unscheduled:
    """A function that no rule took.

    Attributes
    ----------
    name : str
        The function's name.
    blocks : tuple of str
        The names of its blocks, in order.
    reason : str
        Why no rule took it, as far as is known.
    """

    name: str
    blocks: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        return f"{self.name} (blocks: {', '.join(self.blocks) or 'none'}) is not scheduled: {self.reason}"


@tvm.transform.module_pass(opt_level=0, name="ApplySchedules")
class ApplySchedules(ModulePass):
    """Module pass: the first rule that takes a function schedules it.

    Functions that are scheduled already, as their attribute `tirx.is_scheduled` says, stay as they are. So do TVM's operators that were
    written by hand as parallel loops without blocks (cumulative sums, scatter).

    Parameters
    ----------
    rules : sequence of Rule
        In the order in which they are tried.
    target : Target
        The device to schedule for.
    strict : bool, optional
        Raise where a rule fails or no rule takes a function, instead of warning. By default the environment variable
        TENFOLD_STRICT decides.

    Attributes
    ----------
    unscheduled : list of Unscheduled
        Filled as the pass runs.
    """

    def __init__(self, rules: Sequence[Rule], target: Target, strict: bool | None = None):
        self.rules = list(rules)
        self.target = target
        self.strict = os.environ.get(STRICT_VARIABLE) == "1" if strict is None else strict
        self.unscheduled: list[Unscheduled] = []

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Schedule every function that is not scheduled yet."""
        functions = dict(mod.functions_items())
        for var, func in functions.items():
            if isinstance(func, tirx.PrimFunc) and not is_scheduled(func):
                functions[var] = self._scheduled(var.name_hint, func)
        return tvm.IRModule(functions, attrs=mod.attrs, global_infos=mod.global_infos)

    def _scheduled(self, name: str, func: tirx.PrimFunc) -> tirx.PrimFunc:
        if calls_library(func):
            return self._missed(name, func, "it calls a library")
        if not has_nests(func):
            marked = func.with_attr(SCHEDULED_ATTRIBUTE, True)
            return marked if has_parallel_loop(func) else self._missed(name, func, "it is loops without blocks")
        if not has_constant_shapes(func):
            return self._missed(name, func, "its shapes are not constant")
        failures, written = [], func
        func = share_values(func)
        for rule in self.rules:
            try:
                schedule = rule(func, self.target)
            except (ScheduleError, tvm.error.InternalError, ValueError) as error:
                if self.strict:
                    raise
                failures.append(f"{rule.__name__}: {_headline(error)}")
                continue
            if schedule is not None:
                return store_names(schedule.mod["main"]).with_attr(SCHEDULED_ATTRIBUTE, True)
        return self._missed(name, written, "; ".join(failures) or "no rule is made for it")

    def _missed(self, name: str, func: tirx.PrimFunc, reason: str) -> tirx.PrimFunc:
        missed = Unscheduled(name, tuple(block_names(func)), reason)
        self.unscheduled.append(missed)
        if self.strict:
            raise RuntimeError(str(missed))
        warnings.warn(str(missed), UnscheduledWarning, stacklevel=2)
        return func


def is_scheduled(func: tirx.PrimFunc) -> bool:
    """Whether a function carries the mark of a schedule."""
    return bool(func.attrs and func.attrs.get(SCHEDULED_ATTRIBUTE))


def schedule_function(func: tirx.PrimFunc, rules: Sequence[Rule], target: Target) -> Schedule | None:
    """Schedule a function by the first rule that takes it.

    Parameters
    ----------
    func : tirx.PrimFunc
        The function to schedule.
    rules : sequence of Rule
        In the order in which they are tried.
    target : Target
        The device to schedule for.

    Returns
    -------
    Schedule or None
        None if no rule takes the function.
    """
    return next((s for rule in rules if (s := rule(func, target)) is not None), None)


def _headline(error: Exception) -> str:
    """The one line of a long TVM message that says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("Error message:")), lines[0] if lines else type(error).__name__)
