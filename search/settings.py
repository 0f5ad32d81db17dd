"""How a search works: what it looks at, and where it keeps what it has found."""
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..factorization import METHODS, Method, Plan, method_name
from ..factorization.plan_json import CORRECTIONS, INT8
from ..runner.devices.wire import check_silence
from ..runtime.manifest_fields import MOST_THREADS
from ..support.errors import TenfoldError
from ..targets.target import FLOAT32
from .finetuning.options import Finetuning
from .measures.measure import KINDS
from .measures.metric import Function, split_name

PRECISIONS = (FLOAT32, INT8, "auto")


@dataclass(frozen=True)
class Settings:
    """How the search for a budget works.

    Parameters
    ----------
    methods : sequence of str, optional
        The methods that are tried, however they are spelled. Default: all but those that are only starting points for training.
    correction : str, optional
        What is done to the chains with the calibration images: ``none``, ``bias``, ``moments``, ``response`` or ``fisher``. Default: the
        best one for the network.
    cache : path, optional
        The folder for the latency table and for what was found out about candidates. Default: ``$TENFOLD_CACHE``, else
        ``~/.cache/tenfold``.
    threads : int, optional
        That networks are timed on. Default: the target's cores.
    silence : float, optional
        Seconds without a sign of life of a device elsewhere after which it is given up. Default: 60.
    tune : bool
        Tune the kernels of the last plans, and of the dense network, before they are timed against each other (`tenfold.tune`).
    pareto : bool
        Write the curve of what accuracy costs too, as ``pareto.json``, ``pareto.png`` and ``pareto.svg``; needs matplotlib.
    metric : str or callable, optional
        What accuracy is, the higher the better: ``FILE.py:FUNCTION``, whose file is executed, or a function. It gets the outputs and the
        labels of all images, dicts of arrays by name, and returns a number. `Budget.max_drop` is in its units then.
    output_kinds : dict of str to str
        How the divergence of an output is taken, by its name: ``scores``, ``values`` or ``classes``. Default: by its form and numbers
        (`measures.output_kinds`). With one of them, or with several outputs, divergence is what a budget without a metric bounds.
    precision : str
        ``float32``; ``int8``: every layer that can be is computed on bytes, whole or factored; ``auto``: each layer is computed in what is
        better for the budget, conversions between neighbours counted. Of targets that have kernels of bytes.
    forms : Plan or path, optional
        Look at the forms of this plan alone, beside the layers as they are: an earlier search of the same network goes on from there, in
        minutes, with another precision, budget or device.
    finetuning : Finetuning, optional
        Train the factored network on. A search counts on it: its plans are tuned before they are held against the budget. Not only of a
        search: a Recipe or a Plan is tuned too.

    Raises
    ------
    TenfoldError
        An unknown method, correction, kind or precision, two settings that exclude each other, no method at all, a number out of range,
        or a metric that is neither.
    """

    methods: tuple[str, ...] | None = None
    correction: str | None = None
    cache: str | os.PathLike[str] | None = None
    threads: int | None = None
    silence: float | None = None
    tune: bool = False
    pareto: bool = False
    metric: str | Function | None = None
    output_kinds: Mapping[str, str] = field(default_factory=dict)
    finetuning: Finetuning | None = None
    precision: str = FLOAT32
    forms: Plan | str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.methods is not None:
            object.__setattr__(self, "methods", _checked_methods(self.methods))
        if self.correction is not None and self.correction not in CORRECTIONS:
            raise TenfoldError(f"correction {self.correction!r} is unknown: choose {', '.join(CORRECTIONS)}")
        if self.precision not in PRECISIONS:
            raise TenfoldError(f"--precision {self.precision!r} is unknown: choose {', '.join(PRECISIONS)}")
        if self.precision != FLOAT32 and self.finetuning is not None:
            raise TenfoldError(f"--precision {self.precision} and --finetune: training is in float32: leave one out, or quantize what"
                               " --finetune wrote (tenfold quantize)")
        if self.forms is not None and self.methods is not None:
            raise TenfoldError("--forms and --method: a plan has the methods of its layers: give one of them")
        if self.threads is not None:
            whole = isinstance(self.threads, int) and not isinstance(self.threads, bool)
            if not whole or not 1 <= self.threads <= MOST_THREADS:
                raise TenfoldError(f"--threads {self.threads!r} is out of range: it must be a whole number from 1 to {MOST_THREADS}")
        if self.silence is not None:
            check_silence(self.silence)
        if isinstance(self.metric, str):
            split_name(self.metric)
        elif self.metric is not None and not callable(self.metric):
            raise TenfoldError(f"--metric {self.metric!r}: give FILE.py:FUNCTION, or a function of outputs and labels")
        for name, kind in self.output_kinds.items():
            if kind not in KINDS:
                raise TenfoldError(f"--output-kind {name}={kind}: unknown kind {kind!r}: choose {', '.join(KINDS)}")

    def tried(self) -> list[Method]:
        """The methods whose candidates are looked at."""
        return [m for m in METHODS.values() if (not m.starting_point if self.methods is None else m.name in self.methods)]


def _checked_methods(names: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(names, str) or not names:
        raise TenfoldError(f"--method: methods must be a sequence of names, one at least, not {names!r}")
    try:
        return tuple(method_name(name) for name in names)
    except TenfoldError as error:
        raise TenfoldError(f"--method: {error}") from None
