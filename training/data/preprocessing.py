"""What is done to an image before training: contrast normalisation, ZCA whitening, standardisation. Arrays in, float32 arrays out.

Sources: Goodfellow et al., "Maxout networks" (2013), section 4, which Jin et al. (section 4.5) follow, with the constants of its published
code; Çallı, section 2.4.1, which names TensorFlow's ``per_image_standardization``.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...runtime.arrays import read_arrays, write_arrays
from ...support.errors import TenfoldError

SCALE = 55.0  # the norm of a normalised image: about 1 a value for 32 x 32 x 3
LEAST_NORM = 1e-8  # an image of one colour stays 0
BIAS = 0.1  # added to the variance along each axis, so that noise in axes of no variance is not blown up
CHUNK = 2000  # images at a time, which bounds the memory

CIFAR10_MEAN = np.array([0.4914, 0.4822, 0.4465], "float32")
CIFAR10_STD = np.array([0.2470, 0.2435, 0.2616], "float32")


def contrast_normalized(images: np.ndarray, scale: float = SCALE) -> np.ndarray:
    """Global contrast normalisation: each image less its mean, and of the norm `scale`."""
    normalized = np.empty(images.shape, np.float32)
    for start in range(0, len(images), CHUNK):
        rows = images[start : start + CHUNK].reshape(len(images[start : start + CHUNK]), -1).astype(np.float32)
        rows -= rows.mean(1, keepdims=True)
        norms = np.linalg.norm(rows, axis=1, keepdims=True) / scale
        norms[norms < LEAST_NORM] = 1
        normalized[start : start + CHUNK] = (rows / norms).reshape(-1, *images.shape[1:])
    return normalized


@dataclass(frozen=True)
class Whitening:
    """ZCA: y = (x - mean) P, where P = (covariance + bias)^(-1/2), so that whitened images look like images.

    Attributes
    ----------
    mean : ndarray, (D,)
    matrix : ndarray, (D, D)
        P, symmetric, float32.
    """

    mean: np.ndarray
    matrix: np.ndarray

    @classmethod
    def fit(cls, images: np.ndarray, bias: float = BIAS) -> Whitening:
        """From the training images, (N, ...)."""
        mean = images.reshape(len(images), -1).mean(0, dtype=np.float64)
        covariance = np.zeros((len(mean), len(mean)))
        for start in range(0, len(images), CHUNK):
            rows = images[start : start + CHUNK].reshape(-1, len(mean)) - mean.astype(np.float32)
            covariance += rows.T @ rows  # each chunk in float32, their sum in float64
        values, vectors = np.linalg.eigh(covariance / len(images) + bias * np.eye(len(mean)))
        return cls(mean.astype(np.float32), ((vectors / np.sqrt(values)) @ vectors.T).astype(np.float32))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Whiten images, (N, ...)."""
        whitened = np.empty(images.shape, np.float32)
        for start in range(0, len(images), CHUNK):
            rows = images[start : start + CHUNK].reshape(-1, len(self.mean)).astype(np.float32) - self.mean
            whitened[start : start + CHUNK] = (rows @ self.matrix).reshape(-1, *images.shape[1:])
        return whitened

    def write(self, path: Path) -> None:
        """Keep it: the images that a trained network will get need the same."""
        write_arrays(path, {"mean": self.mean, "matrix": self.matrix})

    @classmethod
    def read(cls, path: Path) -> Whitening:
        """What `write` kept; TenfoldError if it is something else."""
        arrays = read_arrays(path)
        if not isinstance(arrays, dict) or arrays.keys() != {"mean", "matrix"} or arrays["matrix"].shape != arrays["mean"].shape * 2:
            raise TenfoldError(f"{path}: not the file of a whitening: remove it, and it is made anew")
        return cls(arrays["mean"], arrays["matrix"])


def standardized(images: np.ndarray) -> np.ndarray:
    """Each image less its mean, over its deviation, which counts as 1 / sqrt(its size) at the least (images of one colour)."""
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows -= rows.mean(1, keepdims=True)
    return (rows / np.maximum(rows.std(1, keepdims=True), rows.shape[1] ** -0.5)).reshape(images.shape)


def normalize(images: np.ndarray) -> np.ndarray:
    """CIFAR-10: uint8 (N, 3, H, W) -> float32, each channel with the training set's mean 0 and deviation 1."""
    scaled = images.astype("float32") / 255
    return (scaled - CIFAR10_MEAN[:, None, None]) / CIFAR10_STD[:, None, None]
