"""Means and second moments of rows that come block by block, in bounded memory."""
from __future__ import annotations

import numpy as np
import scipy.linalg.blas

BLOCK_ROWS = 2048  # rows: enough to keep a matrix product busy, few enough to hold


class Moments:
    """Means of x, x x^T and, of answers y to x, of y, y x^T and y^T y, over rows that come block by block.

    Products are formed in float32, a block at a time, and summed up in float64.

    Parameters
    ----------
    width, answers
        The lengths of x and y.
    """

    def __init__(self, width: int, answers: int = 0):
        self.count = 0
        self._sum, self._answers = np.zeros(width), np.zeros(answers)
        self._products = np.zeros((width, width), order="F")  # the upper triangle
        self._cross, self._square = np.zeros((answers, width)), 0.0
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, rows: np.ndarray, answers: np.ndarray | None = None) -> None:
        """Rows of float32, (n, width), and their answers, (n, answers)."""
        self.count += len(rows)
        self._waiting.append((rows, np.empty((len(rows), 0), np.float32) if answers is None else answers))
        if sum(len(rows) for rows, _ in self._waiting) >= BLOCK_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows, answers = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting = []
        self._sum += rows.sum(axis=0, dtype=np.float64)
        # BLAS sees the rows as the columns of a Fortran matrix; only one triangle is computed.
        self._products += scipy.linalg.blas.ssyrk(1.0, rows.T, lower=0)
        if len(self._answers):
            self._answers += answers.sum(axis=0, dtype=np.float64)
            self._cross += answers.T @ rows
            self._square += float(np.square(answers, dtype=np.float64).sum())

    @property
    def mean(self) -> np.ndarray:
        """Return the mean."""
        self._flush()
        return self._sum / max(self.count, 1)

    def moment(self) -> np.ndarray:
        """Of x x^T, symmetric."""
        self._flush()
        products = np.triu(self._products)
        products += np.triu(products, 1).T
        return products / max(self.count, 1)

    def covariance(self) -> np.ndarray:
        """Of x."""
        return self.moment() - np.outer(self.mean, self.mean)

    def cross_covariance(self) -> np.ndarray:
        """Of y and x, (answers, width)."""
        self._flush()
        return (self._cross - np.outer(self._answers, self.mean)) / max(self.count, 1)

    def variance(self) -> float:
        """Of all y together."""
        self._flush()
        return (self._square - float(self._answers @ self._answers) / max(self.count, 1)) / max(self.count, 1)
