"""The training loop: seeded, resumed to the bit after a kill, on one process or several."""
from .curves import Row
from .objectives import Objective, cross_entropy, root_mean_square
from .schedules import OneCycle, Schedule, Stairs
from .settings import Output, TrainingSettings
from .trainer import Outcome, train

__all__ = [
    "Objective",
    "OneCycle",
    "Outcome",
    "Output",
    "Row",
    "Schedule",
    "Stairs",
    "TrainingSettings",
    "cross_entropy",
    "root_mean_square",
    "train",
]
