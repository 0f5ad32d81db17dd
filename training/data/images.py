"""A data set in memory, and which of its images are held out."""
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

HELD_OUT = 5000  # of `shuffled_rows`, images that a network which searches verify on is not trained on

@dataclass(frozen=True)
class Images:
    """Images and labels, for training and for the test.

    Attributes
    ----------
    name : str
        ``cifar10``, ``cifar100`` or ``mnist``.
    train_x, test_x : ndarray
        uint8, (N, C, H, W).
    train_y, test_y : ndarray
        int64, (N,).
    classes : int
        Labels are below it.
    """

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    classes: int

    def first(self, train: int, test: int) -> Images:
        """The first images of each part: for a quick try."""
        return replace(
            self, train_x=self.train_x[:train], train_y=self.train_y[:train], test_x=self.test_x[:test], test_y=self.test_y[:test]
        )

    def without(self, rows: np.ndarray) -> Images:
        """The data set without these rows of its training part: they are held out from training."""
        kept = np.setdiff1d(np.arange(len(self.train_x)), rows)
        return replace(self, train_x=self.train_x[kept], train_y=self.train_y[kept])


def shuffled_rows(count: int) -> np.ndarray:
    """Numbers of `count` images in the order of which the first are held out from training, and taken for searches; always the same."""
    return np.random.default_rng(0).permutation(count)
