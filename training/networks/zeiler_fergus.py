"""The network that Denton et al. (2014), section 4, compress: that of Zeiler and Fergus (2013), figure 3."""
from __future__ import annotations

from torch import nn


def zeiler_fergus(classes: int = 1000) -> nn.Sequential:
    """Five convolutions and three fully connected layers, for images of 224 x 224; 62.4 M parameters.

    The layers that are compressed are the first, 96 filters of 7 x 7 and stride 2 over 3 channels, and the second, 256 of 5 x 5 over 96
    (sections 4.1.1, 4.1.2). Behind the pooling of both, responses are normalised across channels.
    """
    convolutions: list[nn.Module] = [
        *(nn.Conv2d(3, 96, 7, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.LocalResponseNorm(5)),
        *(nn.Conv2d(96, 256, 5, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.LocalResponseNorm(5)),
        *(nn.Conv2d(256, 384, 3, 1, 1), nn.ReLU()),
        *(nn.Conv2d(384, 384, 3, 1, 1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    ]
    dense: list[nn.Module] = [
        *(nn.Linear(256 * 6 * 6, 4096), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()),
        nn.Linear(4096, classes),
    ]
    return nn.Sequential(*convolutions, nn.Flatten(), *dense)
