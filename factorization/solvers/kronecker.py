"""A covariance over a grid as a product of two, one for each axis: a metric in which a folded weight has a truncated SVD that is best.

    S[(a, b), (a', b')] ~ A[a, a'] B[b, b']        ||(W - W') S^(1/2)||  ~  ||A^(1/2) (W - W') B^(1/2)||, W folded to a x b

Source: Van Loan and Pitsianis, "Approximation with Kronecker products" (1993): the nearest pair is the leading singular pair of S,
rearranged.
"""
from __future__ import annotations

import numpy as np
import scipy.linalg

ITERATIONS = 4  # of the power method; covariances of images are near to products
LEAST_VARIANCE = 1e-5  # of the mean variance: what varies less counts as if it varied so much


def nearest_product(moment: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A, of ``len(moment) // width`` rows, and B, of ``width`` rows, whose Kronecker product is nearest to ``moment``."""
    blocks = moment.reshape(-1, width, len(moment) // width, width)
    b = np.eye(width)
    flat = np.ascontiguousarray(blocks.transpose(0, 2, 1, 3)).reshape(-1, width * width)
    for _ in range(ITERATIONS):
        a = flat @ b.ravel() / np.vdot(b, b)
        b = (a @ flat).reshape(b.shape) / np.vdot(a, a)
    return a.reshape(len(blocks), -1), b


class Whitener:
    """Roots of the Kronecker product that is nearest to a covariance, and their inverses.

    Parameters
    ----------
    moment
        n x n.
    width
        Rows of B; divides n.

    Attributes
    ----------
    a, b, a_inverse, b_inverse : ndarray
        A^(1/2), B^(1/2) and the inverses.
    """

    def __init__(self, moment: np.ndarray, width: int):
        a, b = nearest_product(moment, width)
        (self.a, self.a_inverse), (self.b, self.b_inverse) = roots(a), roots(b)


def roots(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symmetric square root of a covariance, and its inverse."""
    values, vectors = scipy.linalg.eigh(matrix)
    values = np.sqrt(np.maximum(values, max(LEAST_VARIANCE * values.mean(), np.finfo(np.float64).tiny)))
    return vectors * values @ vectors.T, vectors / values @ vectors.T
