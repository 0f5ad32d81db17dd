"""An ONNX file tuned on images: what a user of `compress` does with the network that came of it."""
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch

from ...frontends import load
from ...frontends.reference.free_batch import free_batch
from ...runtime.arrays import read_arrays
from ...support.errors import TenfoldError
from ...support.files.inputs import protect
from ...support.files.whole import whole_file
from ..data import Prepared
from ..data.augmentation import combined
from ..loop import Outcome, TrainingSettings, cross_entropy, train
from ..loop.progress import Display
from .distillation import distillation
from .onnx_module import OnnxModule

EVERY = 5  # of the images every fifth is held out, where the file does not say which are


def tune_file(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    data: str | os.PathLike[str],
    settings: TrainingSettings,
    *,
    teacher: str | os.PathLike[str] | None = None,
    after: str | None = None,
    augment: Sequence[str] = (),
    display: Display | None = None,
) -> Outcome:
    """Tune a network, and write it with the weights that it has then.

    Parameters
    ----------
    model : path
        An ONNX file of one input.
    output : path
        The ONNX file to write.
    data : path
        ``.npz`` of images ``x``, preprocessed, and labels ``y``, which a teacher makes unnecessary. ``held_out``, one truth value an image,
        says which are tested and not trained on; without it every fifth is.
    settings : TrainingSettings
        How.
    teacher : path, optional
        The network before it was compressed: it is imitated. Default: the labels are learned.
    after : str, optional
        Only layers behind this one are tuned. Default: all.
    augment : sequence of str
        As of `data.augmentation.combined`: ``flip``, ``shift``.
    display : Display, optional
        As of `loop.train`.

    Raises
    ------
    TenfoldError
        A file is not what it should be, PyTorch lacks an operator of the network, or training diverges. Nothing is written then.
    """
    arrays = read_arrays(data)
    if not isinstance(arrays, dict) or "x" not in arrays or ("y" not in arrays and teacher is None):
        raise TenfoldError(f"{data}: an .npz with images x and labels y is needed (y is not, with a teacher)")
    x = np.asarray(arrays["x"])
    with protect(model, data, teacher):
        network = load(Path(model)).onnx
        module = OnnxModule(free_batch(network, x))
        if after is not None:
            module.freeze_through(after)
        prepared = _prepared(x, arrays, _classes(module, x, str(model)), str(data))
        if augment:
            if x.ndim != 4:
                raise TenfoldError(f"{data}: x has the shape {list(x.shape)}: only images of channels, height and width are augmented")
            prepared = replace(prepared, augment=combined(augment))
        objective = cross_entropy()
        if teacher is not None:
            objective = distillation(OnnxModule(free_batch(load(Path(teacher)).onnx, x)))
        outcome = train(module, prepared, settings, objective=objective, display=display)
        with whole_file(Path(output)) as temporary:
            onnx.save(module.trained(network), temporary)
    return outcome


def _classes(module: OnnxModule, x: np.ndarray, name: str) -> int:
    with torch.inference_mode():
        scores = module(torch.from_numpy(np.ascontiguousarray(x[:2])))
    if scores.ndim != 2 or len(scores) != min(2, len(x)):
        raise TenfoldError(f"{name}: its output is of shape {list(scores.shape)}: only classifiers, of any batch, are tuned")
    return int(scores.shape[1])


def _prepared(x: np.ndarray, arrays: dict[str, np.ndarray], classes: int, name: str) -> Prepared:
    y = np.asarray(arrays.get("y", np.zeros(len(x)))).astype(np.int64)
    held_out = np.asarray(arrays.get("held_out", np.arange(len(x)) % EVERY == EVERY - 1)).astype(bool)
    if y.shape != (len(x),) or held_out.shape != (len(x),):
        raise TenfoldError(f"{name}: {len(x)} images, labels of shape {list(y.shape)}, held_out of shape {list(held_out.shape)}")
    if len(y) and not 0 <= y.min() <= y.max() < classes:
        raise TenfoldError(f"{name}: a label is not among the network's {classes} classes")
    parts = [torch.from_numpy(np.ascontiguousarray(part)) for part in (x[~held_out], y[~held_out], x[held_out], y[held_out])]
    return Prepared(parts[0], parts[1], parts[2], parts[3], classes)
