"""Networks and engines side by side: milliseconds, cost, memory, accuracy and error, one row for each pair."""
from __future__ import annotations

import functools
import json
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ...support.errors import TenfoldError
from ...support.files.temporary import TemporaryFolder
from ...support.progress import Progress, reporter
from ...targets.detection import physical_cores
from ..data import Data, Spec, random_inputs
from ..devices.choose import elsewhere
from ..devices.device import Device, check_times
from ..devices.here import Here
from ..devices.remote import Remote
from ..verify import compare_arrays
from .disturbance import unknown
from .engines import Tenfold, rival
from .entries import Entries, Entry, open_entries, runs_on_gpu
from .environment import describe_device, describe_gpu, describe_machine
from .gpu_engines import FLOAT32, gpu_rival
from .measure import Candidate, Elsewhere, Latency, Measurement, observe
from .peak import host_peak
from .peak_memory import peak_bytes
from .profile import Profile
from .profile import profile as profile_artifact

RUNS = 50
ERROR_BATCHES = 16  # of the data that max_error is taken over


@dataclass(frozen=True)
class Row:
    """One network in one engine.

    Attributes
    ----------
    model : str
        The path, as it was given.
    engine : str
    latency_ms : Latency
    macs, params : int
        Of one run; floating-point constants.
    bytes : int
        Size of the file that the engine loads (for tenfold: model.so and weights.bin).
    peak_bytes : int or None
        Peak memory for the network, see `memory`.
    accuracy : float or None
        Fraction of the given images whose largest output is the label.
    max_error : float or None
        Largest difference from the dense reference over its largest output (`verify.compare_arrays`), on the data or, without any, on
        random inputs. The reference is the first model file given, in the engine that it is verified against. None without one, or for
        networks with other outputs.
    profile : Profile or None
        The kernels of a network in Tenfold, where that was asked for.
    batch : int or None
        The first size of the first input.
    """

    model: str
    engine: str
    latency_ms: Latency
    macs: int
    params: int
    bytes: int
    peak_bytes: int | None
    accuracy: float | None
    max_error: float | None
    profile: Profile | None = None
    batch: int | None = None


@dataclass(frozen=True)
class Comparison:
    """What was measured, with the machine and the number of threads that all rows have in common.

    `skipped` says which pairs have no row, and why: (model, engine, reason). `measurement` says what else the machine did meanwhile.
    `unverified` are the artifacts that were never verified.
    """

    machine: dict[str, Any]
    threads: int
    rows: list[Row]
    skipped: list[tuple[str, str, str]] = field(default_factory=list)
    measurement: Measurement | None = None
    unverified: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """``{"machine": {...}, "threads": N, "disturbance": {...}, "rows": [...], "skipped": [...]}``, for JSON."""
        rows = [asdict(row) for row in self.rows]
        for row in rows:
            if row["profile"] is None:
                del row["profile"]
            if row["max_error"] is not None and not math.isfinite(row["max_error"]):
                row["max_error"] = None  # JSON has no infinity
        skipped = [dict(zip(("model", "engine", "reason"), each, strict=True)) for each in self.skipped]
        disturbance = None if self.measurement is None else self.measurement.disturbance
        return {"machine": self.machine, "threads": self.threads, "disturbance": disturbance, "rows": rows, "skipped": skipped}

    def to_json(self) -> str:
        """`to_dict`, indented."""
        return json.dumps(self.to_dict(), indent=2) + "\n"


def bench(
    what: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    against: Sequence[str] = (),
    data: Any = None,
    runs: int = RUNS,
    threads: int | None = None,
    target: Any = "host",
    profile: bool = False,
    until_stable: float | None = None,
    device: Device | str | None = None,
    precision: str = FLOAT32,
    progress: Progress | None = None,
    **reading: Any,
) -> Comparison:
    """Measure networks in Tenfold and in other engines.

    Parameters
    ----------
    what : path or sequence of paths
        Model files (``.onnx``, ``.pt2``: compiled by Tenfold, and run by each rival) and artifact folders (run by Tenfold).
    against : sequence of str
        Rivals: ``onnxruntime``, ``openvino``, ``torch`` (eager), ``torch-compile``; for GPUs also ``tensorrt``, and not ``openvino``.
        On a GPU times are the GPU's, with inputs and outputs in its memory; a rival that has no GPU has no row.
    data : path, dict or ndarray, optional
        Images ``x`` and labels ``y`` for accuracy.
    runs : int
        Timed runs of each row.
    threads : int, optional
        For every engine alike. Default: the physical cores.
    target : str, Target or dict
        What model files are compiled for; ``host`` means the device, where there is one.
    profile : bool
        Measure each kernel of the networks in Tenfold too.
    until_stable : float, optional
        Go on, for at most so many seconds, until rounds agree and others take little of the CPUs. Where that does not come, and where
        it was not asked for and the machine was disturbed, a RuntimeWarning says so.
    device : Device or str, optional
        Where networks in Tenfold run and are timed: ``here``; ``cuda:N``, a GPU of this machine; ``HOST:PORT``, where ``tenfold serve``
        runs; ``tracker:HOST:PORT/KEY``, any that is registered there. Rivals run here only: with a device elsewhere they have no rows.
        Default: here.
    precision : str
        In which rivals on GPUs multiply: ``float32``, or ``tf32``.
    progress : callable, optional
        Called with a few words when a step begins, and with what is done of it; see `progress.Progress`.
    **reading
        How to read model files: as of `compile`. ``batch`` and ``input_shapes`` also choose among the sizes of an artifact that has
        several; default: its first.

    Raises
    ------
    TenfoldError
        Nothing to compare, an unknown or absent engine, no such file, data that does not fit.
    """
    from ...frontends import Reading

    options = Reading.of("bench", reading)
    given = {name: value for name, value in reading.items() if getattr(Reading(), name) != getattr(options, name)}
    say = reporter(progress)
    paths = [what] if isinstance(what, (str, os.PathLike)) else list(what)
    if not paths:
        raise TenfoldError("there is nothing to compare: give model files or artifact folders")
    if runs < 1:
        raise TenfoldError(f"runs must be 1 or more, not {runs}")
    if threads is not None and threads < 1:
        raise TenfoldError(f"threads must be 1 or more, not {threads}")
    if until_stable is not None and not until_stable > 0:
        raise TenfoldError(f"until-stable must be more than 0 seconds, not {until_stable:g}")
    against = list(dict.fromkeys(against))
    images = None if data is None else Data.of(data)
    with elsewhere(device, say) as where, TemporaryFolder() as folder:
        if where is not None:
            check_times(where)
        gpu = where.gpu if isinstance(where, Here) else None
        remote = None if isinstance(where, Here) else where
        if remote is not None and profile:
            raise TenfoldError(f"device {remote.name}: kernels are profiled on this machine only: leave out --profile, or --device")
        chosen = where.target if isinstance(where, Remote) and target in (None, "host") else target
        on_gpu = runs_on_gpu(paths, chosen)
        if on_gpu and threads is not None:
            raise TenfoldError("threads are for CPUs: leave --threads out where a network runs on a GPU")
        rivals = [gpu_rival(name, gpu or 0, precision) if on_gpu else rival(name) for name in against]
        threads = threads or (physical_cores() if remote is None else remote.cores)
        opened = open_entries(paths, rivals, folder, threads, chosen, given, images, say, where)
        rows, measurement = _rows(opened, images, runs, threads, until_stable, say)
        machine = describe_machine([] if on_gpu else against) if remote is None else describe_device(remote)
        if on_gpu and remote is None:  # a device elsewhere names its GPUs itself
            machine["gpu"] = describe_gpu([one.engine.artifact for one in opened.entries if isinstance(one.engine, Tenfold)], precision)
        if profile:
            rows = _profiled(rows, opened, images, runs, threads, say)
    if measurement.warning:
        hint = "" if until_stable else "; --until-stable SECONDS waits for quiet"
        warnings.warn(measurement.warning + hint, RuntimeWarning, stacklevel=2)
    ours = [(one.model, one.engine) for one in opened.entries if isinstance(one.engine, Tenfold)]
    doubtful = [model for model, engine in ours if engine.artifact.manifest.verification is None]
    return Comparison(machine, threads, rows, opened.skipped, measurement, doubtful)


def _rows(
    opened: Entries, images: Data | None, runs: int, threads: int, until_stable: float | None, say: Progress
) -> tuple[list[Row], Measurement]:
    expected = None
    if opened.reference is not None:
        feeds = _feeds(opened.reference.inputs, images)
        expected = [(x, opened.reference.reference(x)) for x in feeds]
    judged = []
    for one in opened.entries:
        say(f"measuring accuracy and error of {one.model} in {one.engine_name}")
        judged.append((_accuracy(one, images), _error(one, images, expected)))
    feeds = [_feeds(one.inputs, images)[0] for one in opened.entries]
    calls = [_candidate(one, x) for one, x in zip(opened.entries, feeds, strict=True)]
    read = unknown if any(isinstance(each, Elsewhere) for each in calls) else None
    measurement = observe(calls, runs, progress=functools.partial(say, "measuring times"), until_stable=until_stable, read=read)
    rows = []
    for one, x, latency, (accuracy, error) in zip(opened.entries, feeds, measurement.latencies, judged, strict=True):
        peak = None
        if read is None:
            say(f"measuring the memory of {one.model} in {one.engine_name}")
            peak = peak_bytes(one.engine_name, one.path, x, threads)
        rows.append(Row(one.model, one.engine_name, latency, one.macs, one.params, one.bytes, peak, accuracy, error, batch=_batch(one)))
    return rows, measurement


def _batch(one: Entry) -> int | None:
    sizes = one.inputs[0].shape if one.inputs else ()
    return int(sizes[0]) if len(sizes) else None


def _candidate(one: Entry, feeds: dict[str, np.ndarray]) -> Candidate:
    timer = one.engine.timer(feeds)
    return functools.partial(one.engine.run, feeds) if timer is None else Elsewhere(timer)


def _profiled(rows: list[Row], opened: Entries, images: Data | None, runs: int, threads: int, say: Progress) -> list[Row]:
    """The rows with a profile for those of Tenfold."""
    ours = [one.engine for one in opened.entries if isinstance(one.engine, Tenfold)]
    peak = None
    if not all(engine.artifact.manifest.on_gpu for engine in ours):
        say("measuring the machine's peak")
        peak = host_peak(threads)
    result = []
    for row, one in zip(rows, opened.entries, strict=True):
        if isinstance(one.engine, Tenfold):
            say(f"profiling {row.model}")
            row = replace(row, profile=profile_artifact(one.engine.artifact, _feeds(one.inputs, images)[0], runs, peak))
        result.append(row)
    return result


def _feeds(inputs: Sequence[Spec], images: Data | None) -> list[dict[str, np.ndarray]]:
    """What errors are taken over: the first batches of the data, or one set of random inputs. The first is the one that is timed."""
    if images is None:
        return [random_inputs(inputs)]
    spec = inputs[0]
    return [{spec.name: np.ascontiguousarray(x)} for x, _ in images.batches(spec.shape[0], ERROR_BATCHES)]


def _accuracy(one: Entry, images: Data | None) -> float | None:
    if images is None or images.y is None:
        return None
    spec, right, count = one.inputs[0], 0, 0
    for x, y in images.batches(spec.shape[0]):
        scores = one.engine.run({spec.name: np.ascontiguousarray(x)})[0]
        assert y is not None  # of images with labels
        if scores.shape[0] != len(y) or scores.size == len(y):
            return None  # not a classifier
        right += int((scores.reshape(len(y), -1).argmax(axis=1) == y).sum())
        count += len(y)
    return right / count


def _error(one: Entry, images: Data | None, expected: list[tuple[dict[str, np.ndarray], list[np.ndarray]]] | None) -> float | None:
    if expected is None:
        return None
    worst = 0.0
    feeds = _feeds(one.inputs, images)
    for x, (reference_x, theirs) in zip(feeds, expected, strict=False):
        ours = one.engine.run(x)
        if _forms(list(x.values())) != _forms(list(reference_x.values())) or _forms(ours) != _forms(theirs):
            return None
        worst = max(worst, *(compare_arrays(a, b).relative for a, b in zip(ours, theirs, strict=True)))
    return worst


def _forms(arrays: Sequence[np.ndarray]) -> list[tuple[tuple[int, ...], str]]:
    return [(array.shape, array.dtype.kind) for array in arrays]
