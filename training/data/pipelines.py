"""From stored images to what a network sees: one pipeline for each paper.

    jin        contrast normalisation and, for images in colour, ZCA whitening of all images, once; no augmentation (Jin, sections 4.1, 4.5)
    calli      batch by batch: crops of 24 pixels, flips, brightness, contrast, standardisation; the middle 24 in the test (Çallı, 2.4.1)
    channels   each channel with mean 0 and deviation 1, once; flips and shifts of 4 pixels (He et al. 2015, section 4.2)
    growing    as channels, but in the first 60 % of the training crops of 24 pixels, which cost half
    bundled    as channels, with shifts of 2 pixels
    plain      each channel with mean 0 and deviation 1; no augmentation
    pixels     from -1 to 1, and the image is its own label: for autoencoders (Çallı, section 2.1.3)
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...support.errors import TenfoldError
from ...support.progress import reporter
from . import augmentation as change
from .images import Images
from .preprocessing import Whitening, contrast_normalized

CROP = 24
SHIFT = 4
WHITENING = "whitening.npz"

Augment = Callable[[torch.Tensor, torch.Generator, float], torch.Tensor]
Prepare = Callable[[torch.Tensor], torch.Tensor]
Tell = Callable[..., None]  # a progress


@dataclass(frozen=True)
class Prepared:
    """A data set ready for batches.

    Attributes
    ----------
    train_x, train_y, test_x, test_y : Tensor
        Images as they are kept, float32 or uint8, and labels.
    classes : int
    augment : callable or None
        A batch of `train_x`, a generator, and the part of the training that is over -> what the network sees. None: as in the test.
    prepare : callable or None
        A batch of either part -> what the network sees in the test. None: the batch as it is, in float32.
    """

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor
    classes: int
    augment: Augment | None = None
    prepare: Prepare | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input, as the network sees it: channels, height and width of images."""
        return tuple(self.seen(self.test_x[:1]).shape[1:])

    def seen(self, images: torch.Tensor) -> torch.Tensor:
        """What the network sees of stored images in the test, float32."""
        return images.float() if self.prepare is None else self.prepare(images)

    def to(self, device: torch.device) -> Prepared:
        """All of it on a device."""
        parts = (self.train_x, self.train_y, self.test_x, self.test_y)
        train_x, train_y, test_x, test_y = (part.to(device) for part in parts)
        return Prepared(train_x, train_y, test_x, test_y, self.classes, self.augment, self.prepare)


def prepare(images: Images, pipeline: str, folder: Path | None = None, progress: Tell | None = None) -> Prepared:
    """Put images through a pipeline.

    Parameters
    ----------
    images : Images
        As read.
    pipeline : str
        A name in `PIPELINES`.
    folder : Path, optional
        Where the whitening, which takes half a minute to fit, is kept, and found again.
    progress : callable, optional
        Told what is done.

    Raises
    ------
    TenfoldError
        No such pipeline, or one that these images do not suit.
    """
    if pipeline not in PIPELINES:
        raise TenfoldError(f"pipeline {pipeline!r}: there are {', '.join(PIPELINES)}")
    return PIPELINES[pipeline](images, folder, progress)


def _jin(images: Images, folder: Path | None, progress: Tell | None) -> Prepared:
    train, test = contrast_normalized(images.train_x), contrast_normalized(images.test_x)
    if train.shape[1] > 1:  # "hand-written images have low cross-correlation values": section 4.5
        whitening = _whitening(train, folder, progress)
        train, test = whitening(train), whitening(test)
    return _prepared(images, train, test)


def _whitening(images: np.ndarray, folder: Path | None, progress: Tell | None) -> Whitening:
    path = None if folder is None else folder / WHITENING
    if path is not None and path.exists():
        return Whitening.read(path)
    reporter(progress)("fitting the whitening")
    whitening = Whitening.fit(images)
    if path is not None:
        whitening.write(path)
    return whitening


def _calli(images: Images, folder: Path | None, progress: Tell | None) -> Prepared:
    if min(images.train_x.shape[2:]) < CROP:
        raise TenfoldError(f"pipeline 'calli': images of {images.train_x.shape[2:]} pixels are smaller than its crops of {CROP}")

    def augment(batch: torch.Tensor, generator: torch.Generator, done: float) -> torch.Tensor:
        batch = change.flip(change.crop(batch, CROP, generator), generator).float()
        batch = change.brightness(batch, change.BRIGHTNESS, generator)
        return change.standardize(change.contrast(batch, *change.CONTRAST, generator))

    return _prepared(images, images.train_x, images.test_x, augment, lambda batch: change.standardize(change.center(batch, CROP).float()))


def _channels(images: Images, folder: Path | None, progress: Tell | None, pixels: int = SHIFT, growing: float = 0.0) -> Prepared:
    def augment(batch: torch.Tensor, generator: torch.Generator, done: float) -> torch.Tensor:
        size = CROP if done < growing else batch.shape[-1]
        return change.shift(change.flip(batch, generator), pixels, generator, size)

    return _prepared(images, *_scaled(images), augment)


def _plain(images: Images, folder: Path | None, progress: Tell | None) -> Prepared:
    return _prepared(images, *_scaled(images))


def _scaled(images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Both parts, each channel with mean 0 and deviation 1 in the training part."""
    channels = images.train_x.shape[1]
    counts = np.stack([np.bincount(images.train_x[:, channel].ravel(), minlength=256) for channel in range(channels)])
    mean = counts @ np.arange(256) / counts.sum(1)
    std = np.sqrt(np.maximum(counts @ np.arange(256) ** 2 / counts.sum(1) - mean**2, 1))
    offset, scale = mean.astype(np.float32)[:, None, None], (1 / std).astype(np.float32)[:, None, None]
    return (images.train_x - offset) * scale, (images.test_x - offset) * scale


def _pixels(images: Images, folder: Path | None, progress: Tell | None) -> Prepared:
    train, test = (torch.from_numpy(part / np.float32(127.5) - np.float32(1)) for part in (images.train_x, images.test_x))
    return Prepared(train, train, test, test, images.classes)


def _prepared(
    images: Images, train: np.ndarray, test: np.ndarray, augment: Augment | None = None, prepare: Prepare | None = None
) -> Prepared:
    labels = torch.from_numpy(images.train_y.copy()), torch.from_numpy(images.test_y.copy())
    tensors = torch.from_numpy(np.array(train)), torch.from_numpy(np.array(test))  # copies: what was read is not writable
    return Prepared(tensors[0], labels[0], tensors[1], labels[1], images.classes, augment, prepare)


PIPELINES: dict[str, Callable[[Images, Path | None, Tell | None], Prepared]] = {
    "jin": _jin,
    "calli": _calli,
    "channels": _channels,
    "growing": partial(_channels, growing=0.6),
    "bundled": partial(_channels, pixels=2),
    "plain": _plain,
    "pixels": _pixels,
}
