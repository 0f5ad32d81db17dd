"""What a user asks of fine-tuning."""
from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from math import isfinite
from typing import Any

from ...support.errors import TenfoldError

ALL, CASCADE = "all", "cascade"
HOW = (ALL, CASCADE)
MOST_EPOCHS = 10_000
AUGMENTATIONS = ("flip", "shift")


@dataclass(frozen=True)
class Finetuning:
    """How a compressed network is trained on.

    Parameters
    ----------
    epochs : int
        Passes over the training images; with ``cascade`` for each layer, at the most.
    data : path, dict or ndarray, optional
        Images ``x``, and labels ``y``, to train on. Default: those of the data that do not verify.
    how : str
        ``all``: all weights of the factored network are tuned at once. ``cascade``, Denton et al. (2014), section 4.2: the lowest layer of
        the plan is factored, it and all below it stay, those above are tuned until the accuracy is back, and the next layer follows.
    distil : bool
        Imitate the dense network, instead of learning the labels. So it is without labels anyway.
    rate : float
        The highest learning rate. Where the network does not get better by it, a tenth of it is tried, and a hundredth.
    augment : tuple of str
        What is done to the images at random: ``flip`` (left and right), ``shift`` (by up to an eighth of the image; zeros move in).

    Raises
    ------
    TenfoldError
        A number out of range, or an unknown way.
    """

    epochs: int
    data: Any = None
    how: str = ALL
    distil: bool = False
    rate: float = 1e-3
    augment: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        whole = isinstance(self.epochs, int) and not isinstance(self.epochs, bool)
        if not whole or not 1 <= self.epochs <= MOST_EPOCHS:
            raise TenfoldError(f"--finetune {self.epochs!r} is out of range: a whole number of epochs from 1 to {MOST_EPOCHS}")
        if self.how not in HOW:
            raise TenfoldError(f"--finetune-how {self.how!r} is unknown: choose {' or '.join(HOW)}")
        if isinstance(self.rate, bool) or not isinstance(self.rate, (int, float)) or not (isfinite(self.rate) and 0 < self.rate <= 1):
            raise TenfoldError(f"--finetune-rate {self.rate!r} is out of range: above 0, and at most 1")
        object.__setattr__(self, "augment", tuple(self.augment))
        for name in self.augment:
            if name not in AUGMENTATIONS:
                raise TenfoldError(f"--finetune-augment {name!r} is unknown: choose {', '.join(AUGMENTATIONS)}, or both with a comma")

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what was asked for, without the data."""
        return {"epochs": self.epochs, "how": self.how, "distil": self.distil, "rate": self.rate, "augment": list(self.augment)}


def require_torch() -> None:
    """TenfoldError, with what to install, if PyTorch is not there."""
    if find_spec("torch") is None:
        raise TenfoldError('--finetune trains with PyTorch, which is not installed: pip install "tenfold[torch]"')
