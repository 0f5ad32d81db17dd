"""Random changes of a batch of images, all of them from one generator: the same generator gives the same images.

Source: Çallı, section 2.4.1 (crops, flips, brightness and contrast of TensorFlow's tutorial for CIFAR-10, with its constants); shifts as He
et al. (2015), section 4.2, train ResNets.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from ...support.errors import TenfoldError

BRIGHTNESS = 63.0  # of 255, added at most
CONTRAST = (0.2, 1.8)  # factors of the difference from a channel's mean
SHIFTED = 8  # a shift is of so small a part of the image: of 32 pixels by 4, as He et al. do it


def flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images, left and right."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(3), images)


def crop(images: torch.Tensor, size: int | tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Cut a square of `size` pixels, or a rectangle of (height, width), out of each image, anywhere."""
    count, channels, height, width = images.shape
    high, wide = (size, size) if isinstance(size, int) else size
    top = torch.randint(0, height - high + 1, (count,), generator=generator)
    left = torch.randint(0, width - wide + 1, (count,), generator=generator)
    rows = (top[:, None] + torch.arange(high)).to(images.device)[:, :, None]
    columns = (left[:, None] + torch.arange(wide)).to(images.device)[:, None, :]
    numbers = torch.arange(count, device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[numbers, rows, columns].permute(0, 3, 1, 2)


def shift(images: torch.Tensor, pixels: int, generator: torch.Generator, size: int | None = None) -> torch.Tensor:
    """Move each image by up to `pixels` either way; zeros move in.

    Parameters
    ----------
    images : Tensor, (N, C, H, W)
    pixels : int
    generator : torch.Generator
        Where chance comes from.
    size : int, optional
        Cut a square of so many pixels out of what may be seen then. Default: the size of the images.
    """
    return crop(F.pad(images, [pixels] * 4), (images.shape[2], images.shape[3]) if size is None else size, generator)


def center(images: torch.Tensor, size: int) -> torch.Tensor:
    """The middle square of `size` pixels: what a network that was trained on crops is tested on."""
    top, left = ((extent - size) // 2 for extent in images.shape[2:])
    return images[:, :, top : top + size, left : left + size]


def brightness(images: torch.Tensor, most: float, generator: torch.Generator) -> torch.Tensor:
    """Add one number between -most and most to each image."""
    change = (2 * torch.rand(len(images), generator=generator) - 1) * most
    return images + change.to(images.device)[:, None, None, None]


def contrast(images: torch.Tensor, least: float, most: float, generator: torch.Generator) -> torch.Tensor:
    """Multiply what each channel of an image differs from its mean by.

    Parameters
    ----------
    images : Tensor, (N, C, H, W)
    least, most : float
        Between which the factor of an image lies.
    generator : torch.Generator
        Where chance comes from.
    """
    factor = least + (most - least) * torch.rand(len(images), generator=generator)
    mean = images.mean((2, 3), keepdim=True)
    return mean + (images - mean) * factor.to(images.device)[:, None, None, None]


def standardize(images: torch.Tensor) -> torch.Tensor:
    """`preprocessing.standardized` of tensors."""
    rows = images.flatten(1)
    rows = rows - rows.mean(1, keepdim=True)
    deviation = rows.square().mean(1, keepdim=True).sqrt().clamp_min(rows.shape[1] ** -0.5)
    return (rows / deviation).reshape(images.shape)


def combined(names: Sequence[str]) -> Callable[[torch.Tensor, torch.Generator, float], torch.Tensor]:
    """An `augment` of `Prepared` for images of any size that are kept as the network sees them.

    Parameters
    ----------
    names : sequence of str
        ``flip``, ``shift``: what is done, in this order, to a batch (N, C, H, W).

    Raises
    ------
    TenfoldError
        Another name.
    """
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        raise TenfoldError(f"augmentation {unknown[0]!r}: there are {', '.join(AUGMENTATIONS)}")

    def augment(batch: torch.Tensor, generator: torch.Generator, done: float) -> torch.Tensor:
        for name in names:
            batch = AUGMENTATIONS[name](batch, generator)
        return batch

    return augment


def _shifted(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return shift(batch, min(batch.shape[2:]) // SHIFTED, generator)


AUGMENTATIONS = {"flip": flip, "shift": _shifted}
