"""A network and data that a step takes milliseconds of: with all that has state or draws random numbers."""
from __future__ import annotations

import torch
from tenfold.training.data import Prepared
from tenfold.training.data.augmentation import flip
from tenfold.training.loop import Stairs, TrainingSettings
from torch import nn


def tiny_network(norm: bool = True) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        middle = [nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3)] if norm else [nn.ReLU()]
        return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *middle, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 16, 4))


def tiny_data(count: int = 64) -> Prepared:
    """Four classes, by which quarter of the image is bright."""
    rng = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 4, (count + 32,), generator=rng)
    images = torch.randn(count + 32, 3, 8, 8, generator=rng)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 2
    parts = images[:count], labels[:count], images[count:], labels[count:]
    return Prepared(*parts, 4, augment=lambda x, generator, done: x + 0 * flip(x, generator))


def pattern_network() -> nn.Sequential:
    """Every filter of both convolutions matters to it; no dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        second = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU()
        return nn.Sequential(*first, *second, nn.MaxPool2d(8), nn.Flatten(), nn.Linear(12, 4))


def pattern_data(count: int = 512) -> Prepared:
    """Four classes, by which of four patterns of 3 x 3 pixels lies somewhere in the image."""
    rng = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 4, (count + 200,), generator=rng)
    images = torch.randn(count + 200, 3, 8, 8, generator=rng)
    patterns = torch.randn(4, 3, 3, 3, generator=rng).sign()
    places = torch.randint(0, 6, (count + 200, 2), generator=rng)
    for image, label, (top, left) in zip(images, labels.tolist(), places.tolist(), strict=True):
        image[:, top : top + 3, left : left + 3] += 1.5 * patterns[label]
    return Prepared(images[:count], labels[:count], images[count:], labels[count:], 4)


def tiny_settings(**options) -> TrainingSettings:
    standard = dict(steps=6, batch=24, schedule=Stairs((0.05, 0.02), (4,)), weight_decay=1e-3, precision="float32", seed=3)
    return TrainingSettings(**{**standard, **options})
