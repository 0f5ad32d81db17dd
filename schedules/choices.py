"""What kernels are built from: by the user's wish, by a tuner's record, or by the model of the machine."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TypeVar

from ..support.errors import TenfoldError
from .kernel import JOINS, Kernel, Run, kernels_of
from .space import Point, Value

PACKED_ALIKE = 1.05  # what a kernel may cost, over the model's choice, that reads a weight as another size of the network does
MODEL, WANTED, TUNED = "model", "wanted", "record"  # where a choice comes from: the model of the machine, the user, a tuner

Built = TypeVar("Built")


@dataclass
class KernelChoices:
    """Points that kernels are built from, by workload: those that are wanted, those of a tuner, and those that were taken.

    Attributes
    ----------
    wanted : mapping of str to Point
        What the user asks for, such as the choices of an earlier compilation. A point that can't be built is an error.
    tuned : mapping of str to Point
        Records of a tuner, for what nothing is wanted of. A point that is not in the space any more is passed over. A workload without
        either gets the model's choice.
    taken : dict of str to Point
        Filled as kernels are chosen.
    origins : dict of str to str
        Likewise: `WANTED`, `TUNED` or `MODEL`.
    stale : dict of str to str
        Why points of `tuned` were passed over.
    forms : mapping of str to list of Point
        How other sizes of the network pack their weights, by the layers of `Kernel.packing`: where the model has the choice, a kernel
        that reads such a form is taken, if it costs little more.
    packed : dict of str to list of Point
        Filled as kernels are chosen: how they pack their weights.
    """

    wanted: Mapping[str, Point] = field(default_factory=dict)
    tuned: Mapping[str, Point] = field(default_factory=dict)
    taken: dict[str, Point] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    forms: Mapping[str, list[Point]] = field(default_factory=dict)
    packed: dict[str, list[Point]] = field(default_factory=dict)
    _refused: TenfoldError | None = None  # kept here, since TVM makes a RuntimeError of what is raised within its passes

    def apply(self, kernel: Kernel) -> Kernel:
        """Return the kernel from the point that its workload is to be built from, and note what was taken."""
        kernel = self._choose(kernel.workload, lambda point: self._alike(kernel) if point is None else kernel.at(point))
        self.taken[kernel.workload] = kernel.point
        if kernel.packing is not None:
            layer, knobs = kernel.packing
            known = self.packed.setdefault(layer, [])
            known += [knobs] * (knobs not in known)
        return kernel

    def _alike(self, kernel: Kernel) -> Kernel:
        """The model's choice, or the cheapest kernel near it that reads its weight in a form that there is already."""
        layer, own = kernel.packing or ("", {})
        forms = self.forms.get(layer, [])
        if not forms or own in forms:
            return kernel
        priced = [(kernel.terms_at(point).get("ms", inf), point) for form in forms for point in kernel.packed_as(form)]
        ms, point = min(priced, default=(inf, {}), key=lambda each: each[0])
        return kernel.at(point) if ms <= PACKED_ALIKE * kernel.terms().get("ms", 0.0) else kernel

    def cut(self, run: Run) -> Point:
        """Return how a run is cut, and note it."""
        space, name = run.space(), run.workload
        point = self._choose(name, lambda point: space.chosen if point is None else space.check(point, name))
        self.taken[name] = self._refined(run, point) if self.origins[name] == MODEL else point
        return self.taken[name]

    def _refined(self, run: Run, cut: Point) -> Point:
        """A cut by the model with what records say of its parts: a tuner looks at the layers of one kernel at a time, or of two."""
        kernels = kernels_of(cut)
        refined = dict(cut)
        for begin, end in kernels:
            refined = self._with_part(run, refined, begin, end) or refined
        number = 0
        while number + 1 < len(kernels):
            changed = self._with_part(run, refined, kernels[number][0], kernels[number + 1][1])
            refined = changed or refined
            number += 1 if changed is None else 2  # a kernel that is joined is no neighbour any more
        return refined

    def _with_part(self, run: Run, cut: dict[str, Value], begin: int, end: int) -> dict[str, Value] | None:
        """A cut with what a record says of some layers; None where there is none that fits."""
        part = run.between(begin, end).workload
        tuned = self.tuned.get(part)
        if tuned is None or part == run.workload:
            return None
        changed = {**cut, **{f"layer{begin + i}": tuned.get(f"layer{i}", JOINS) for i in range(end - begin)}}
        if changed not in run.space():
            self.stale[part] = f"{run.workload} can't be cut so"
            return None
        self.taken[part], self.origins[part] = tuned, TUNED
        return changed

    @contextlib.contextmanager
    def as_raised(self) -> Iterator[None]:
        """Raise the refusal of a point as it was, where TVM makes another error of it."""
        try:
            yield
        except RuntimeError:
            if self._refused is not None:
                raise self._refused from None
            raise

    def _choose(self, workload: str, build: Callable[[Point | None], Built]) -> Built:
        """Build something from the point that its workload is to be built from; `build` takes None for the model's choice."""
        wanted = self.wanted.get(workload)
        if wanted is not None:
            self.origins[workload] = WANTED
            try:
                return build(wanted)
            except TenfoldError as error:
                self._refused = error
                raise
        tuned = self.tuned.get(workload)
        if tuned is not None:
            try:
                built = build(tuned)
            except TenfoldError as error:
                self.stale[workload] = str(error)
            else:
                self.origins[workload] = TUNED
                return built
        self.origins[workload] = MODEL
        return build(None)
