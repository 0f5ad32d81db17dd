"""A covariance over a grid as a product of two, one for each axis: a metric in which a folded weight has a truncated SVD that is best.

    S[(a, b), (a', b')] ~ A[a, a'] B[b, b']        ||(W - W') S^(1/2)||  ~  ||A^(1/2) (W - W') B^(1/2)||, W folded to a x b

Source: Van Loan and Pitsianis, "Approximation with Kronecker products" (1993): the nearest pair is the leading singular pair of S,
rearranged.
"""
from __future__ import annotations

import numpy as np
import scipy.linalg

ITERATIONS = 4  # of the power method; covariances of images are near to products
FLOOR = 1e-5  # of the mean variance: what varies less counts as if it varied so much


def nearest_product(moment: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A, of ``len(moment) // width`` rows, and B, of ``width`` rows, whose Kronecker product is nearest to ``moment``."""
    blocks = moment.reshape(-1, width, len(moment) // width, width)
    b = np.eye(width)
    for _ in range(ITERATIONS):
        a = np.einsum("aibj,ij->ab", blocks, b) / np.vdot(b, b)
        b = np.einsum("aibj,ab->ij", blocks, a) / np.vdot(a, a)
    return a, b


def roots(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symmetric square root of a covariance, and its inverse."""
    values, vectors = scipy.linalg.eigh(matrix)
    values = np.sqrt(np.maximum(values, max(FLOOR * values.mean(), np.finfo(np.float64).tiny)))
    return vectors * values @ vectors.T, vectors / values @ vectors.T
