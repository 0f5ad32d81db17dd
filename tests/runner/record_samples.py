"""Records, and other points than the model's choices, for tests."""
from __future__ import annotations

from typing import Any

from tenfold.runner.tuning_records.processor import Processor
from tenfold.runner.tuning_records.record import Record
from tenfold.schedules.space import SPACE_VERSION

ZEN3 = Processor("znver3", "x86_64", ("avx2", "fma"), "AMD EPYC 7R13 Processor")


def record(workload: str = "conv2d 1x8x8x4", **fields: Any) -> Record:
    """A record that is sound, but for what is given."""
    given = dict(
        operator="conv2d", workload=workload, epilogue="bias, relu", dtype="float32", processor=ZEN3, cores=2, space=SPACE_VERSION,
        choice={"algorithm": "direct", "pixels": 6, "flat": True, "stage": (1, 2)}, ms=1.0, base_ms=2.0, model_ms=None, trials=8,
        how="measured", code="0123456789ab", date="2025-01-31T12:00:00Z",
    )  # fmt: skip
    return Record(**{**given, **fields})


def other_pixels(choices):
    """A convolution of an artifact's choices, with another register tile."""
    workload, point = next((w, p) for w, p in choices.items() if p.get("algorithm") == "direct" or "stage0" in p)
    if "stage0" in point:
        groups, pixels, vectors, interleaved = point["stage0"]
        return {workload: {**point, "stage0": [groups, 1 if pixels > 1 else 2, vectors, interleaved]}}
    return {workload: {**point, "pixels": 1 if point["pixels"] > 1 else 2, "rows": 0}}
