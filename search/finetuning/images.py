"""The images that fine-tuning learns from: never one that verifies the result."""
from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runner.data import Data
from ...runtime.arrays import read_arrays
from ...support.errors import TenfoldError
from ..calibration.evaluation import check

if TYPE_CHECKING:
    from ...frontends import Network

MIN_IMAGES = 16
EVERY = 5  # of the images every fifth decides when to stop, and between learning rates
FOR_FINETUNING = "images to fine-tune with"


def training_images(network: Network, given: Any, calibrating: Data, held_out: Data) -> Data:
    """The images to train on.

    Parameters
    ----------
    network : Network
        Dense.
    given : path, dict, ndarray or None
        Those of the user; None: the ones that calibrate.
    calibrating, held_out : Data
        The two parts of the data. Images that are held out are taken out of what is given.

    Raises
    ------
    TenfoldError
        The images do not fit the network, or there are too few.
    """
    if given is None:
        found = calibrating
    else:
        name = str(given) if isinstance(given, (str, os.PathLike)) else FOR_FINETUNING
        arrays = read_arrays(given) if isinstance(given, (str, os.PathLike)) else given
        found = Data.of(arrays, network.inputs, name=name)
        check(network, found)
        verifying = {_digest(image) for image in _array(held_out)}
        fresh = np.array([_digest(image) not in verifying for image in _array(found)], bool)
        found = Data(_array(found)[fresh], None if found.y is None else found.y[fresh], found.name)
    if len(found.x) < MIN_IMAGES:
        facts = f"{len(found.x)} images, those that verify the result left out"
        raise TenfoldError(f"{found.name}: {facts}: at least {MIN_IMAGES} are needed to fine-tune with")
    return found


def parts(data: Data, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images and labels to train on, and those of every fifth, to test with meanwhile."""
    tests = np.arange(len(data.x)) % EVERY == EVERY - 1
    x = _array(data)
    return x[~tests], truth[~tests], x[tests], truth[tests]


def _array(data: Data) -> np.ndarray:
    assert isinstance(data.x, np.ndarray)  # of networks with one input, as classifiers are
    return data.x


def _digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
