"""The kind of an output, which says how the divergence of a factored network from the dense one is taken there.

`scores`    logits or probabilities of classes: mean Kullback-Leibler divergence, in nats
`values`    boxes, maps, features: relative error, the root of mean |y - dense|^2 over mean |dense - its mean over the images|^2
`classes`   whole numbers, such as an arg max: the fraction that differs

An output is `classes` if it holds whole numbers; `scores` if it is a vector of two numbers or more, or if its numbers are not negative and
sum up to 1 over the classes; and `values` otherwise. Classes are the second axis of images, (N, C, H, W), and the last one of others.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

import numpy as np

from ...support.errors import TenfoldError
from ..calibration.evaluation import log_probabilities
from .measure import CLASSES, SCORES, VALUES

SUM_TOLERANCE = 1e-3  # of sums of probabilities in float32
CHUNK = 2**21  # numbers that are looked at together: float64 copies are made of them


def kind_of(output: np.ndarray) -> str:
    """The kind of an output, (images, ...), from its form and its numbers."""
    if output.dtype.kind in "iub":
        return CLASSES
    if is_vector(output.shape[1:]):
        return SCORES
    if prod(output.shape[1:]) == 1:
        return VALUES
    for part in chunks(output):
        rows = class_rows(part)
        if rows.shape[1] < 2 or rows.min() < 0 or not np.allclose(rows.sum(axis=1), 1, atol=SUM_TOLERANCE):
            return VALUES
    return SCORES


def kinds_of(outputs: Mapping[str, np.ndarray], asked: Mapping[str, str]) -> dict[str, str]:
    """The kinds of all outputs: those that are asked for, else what they look like.

    Raises
    ------
    TenfoldError
        There is no such output, or it can't be of the kind that is asked for.
    """
    for name, kind in asked.items():
        if name not in outputs:
            raise TenfoldError(f"--output-kind {name}={kind}: there is no output {name!r}: there are {', '.join(map(repr, outputs))}")
        whole = outputs[name].dtype.kind in "iub"
        if kind == CLASSES and not whole:
            raise TenfoldError(f"--output-kind {name}={kind}: {name!r} is {outputs[name].dtype}: classes are whole numbers")
        if kind == SCORES and (whole or class_rows(outputs[name][:1]).shape[1] < 2):
            facts = f"{outputs[name].dtype}{list(outputs[name].shape[1:])}"
            raise TenfoldError(f"--output-kind {name}={kind}: {name!r} is {facts} for an image: scores are of two classes or more")
    return {name: asked.get(name) or kind_of(array) for name, array in outputs.items()}


def is_vector(shape: tuple[int, ...]) -> bool:
    """Whether all but one of the sizes are 1."""
    return prod(shape) == max(shape, default=1) > 1


def class_rows(output: np.ndarray) -> np.ndarray:
    """(images x positions, classes) of an output of scores."""
    if is_vector(output.shape[1:]):
        return output.reshape(len(output), -1)
    rows = np.moveaxis(output, 1, -1) if output.ndim >= 4 else output
    return rows.reshape(-1, rows.shape[-1])


def chunks(output: np.ndarray) -> Iterator[np.ndarray]:
    """Some images at a time."""
    each = max(1, CHUNK // max(prod(output.shape[1:]), 1))
    for start in range(0, len(output), each):
        yield output[start : start + each]


def divergence(kind: str, ours: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """Of each image: the mean divergence in nats (scores), the sum of squared errors (values), the fraction that differs (classes)."""
    return np.concatenate([_divergence(kind, a, b) for a, b in zip(chunks(ours), chunks(dense), strict=True)])


def agreement(kind: str, ours: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """Of each image: the fraction of positions with the same class."""
    parts = []
    for a, b in zip(chunks(ours), chunks(dense), strict=True):
        same = class_rows(a).argmax(axis=1) == class_rows(b).argmax(axis=1) if kind == SCORES else a == b
        parts.append(same.reshape(len(a), -1).mean(axis=1))
    return np.concatenate(parts)


def _divergence(kind: str, ours: np.ndarray, dense: np.ndarray) -> np.ndarray:
    if kind == SCORES:
        ours_log, dense_log = log_probabilities(class_rows(ours)), log_probabilities(class_rows(dense))
        rows = (np.exp(dense_log) * (dense_log - ours_log)).sum(axis=1)
        return np.maximum(rows.reshape(len(ours), -1).mean(axis=1), 0.0)
    if kind == CLASSES:
        return (ours != dense).reshape(len(ours), -1).mean(axis=1)
    difference = ours.astype(np.float64) - dense
    return np.square(difference).reshape(len(ours), -1).sum(axis=1)
