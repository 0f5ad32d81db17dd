"""How a network is trained, and where what comes of it goes."""
from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...support.errors import TenfoldError
from .schedules import Schedule, Stairs

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class TrainingSettings:
    """Stochastic gradient descent with momentum, as all the papers use it.

    Attributes
    ----------
    steps : int
        Batches in all.
    batch : int
        Images of a batch, of all processes together.
    schedule : Schedule
        The learning rate.
    momentum : float
    nesterov : bool
    weight_decay : float
        Added to a gradient, times the weight. L2 regularisation by lambda is a weight decay of 2 lambda.
    decay_all : bool
        False: only weights of layers decay, not biases, nor scales and offsets of batch norms.
    seed : int
        Of the order of the images, of augmentation and dropout.
    precision : str
        ``float32``, ``bfloat16`` (convolutions and products), or ``auto``: the faster, measured for a second at the start.
    channels_last : bool
        Keep images with their channels innermost, which is faster.
    average : float or None
        Decay, in each step, of the exponential average of all weights that is tested and returned. None: no average.
    test_steps : int or None
        Steps between two tests. None: one pass over the training images.
    diverged : float or None
        Training ends in an error when the loss, smoothed, is so many times that of a network that knows nothing, or, where it was trained
        before, that of its start. None: only when it is not finite.
    """

    steps: int
    batch: int = 128
    schedule: Schedule = field(default_factory=lambda: Stairs((0.1,)))
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    decay_all: bool = True
    seed: int = 0
    precision: str = "auto"
    channels_last: bool = True
    average: float | None = None
    test_steps: int | None = None
    diverged: float | None = 3.0

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("batch", 1), ("momentum", 0), ("weight_decay", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise TenfoldError(f"{name} {getattr(self, name)}: at least {least}")
        if self.test_steps is not None and self.test_steps < 1:
            raise TenfoldError(f"test_steps {self.test_steps}: at least 1")
        if self.average is not None and not 0 < self.average < 1:
            raise TenfoldError(f"average {self.average}: above 0 and below 1")
        if self.precision not in PRECISIONS:
            raise TenfoldError(f"precision {self.precision!r}: there are {', '.join(PRECISIONS)}")

    def as_json(self) -> str:
        """For a checkpoint, to be held against those of the run that resumes from it."""
        fields: dict[str, Any] = {**asdict(self), "schedule": repr(self.schedule)}
        return json.dumps(fields, sort_keys=True)


@dataclass(frozen=True)
class Output:
    """The folder of a run: ``checkpoint.pt``, ``curves.csv`` and ``curves.png``.

    Attributes
    ----------
    folder : Path
        Made. A run that it holds the checkpoint of goes on.
    seconds : float
        Between two checkpoints.
    steps : int or None
        Between two checkpoints, however long they take.
    """

    folder: Path
    seconds: float = 60.0
    steps: int | None = None

    @property
    def checkpoint(self) -> Path:
        """Its checkpoint."""
        return self.folder / "checkpoint.pt"
