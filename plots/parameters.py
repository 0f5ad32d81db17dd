"""Parameters of a flattened layer and of the convolution that it replaces, over the ratio of output to input channels.

Source: Jin et al. 2015, figure 5 (X = Y = 5, C = 128) and section 4.3: F (F + C + 2 X + 2 Y) against C X Y F, with k = F / C.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .canvas import panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHANNELS, KERNEL, MAX_RATIO = 128, 5, 32.0


def dense(ratio: np.ndarray, channels: int, kernel: int) -> np.ndarray:
    """Weights of a dense convolution: C^2 X Y k.

    Parameters
    ----------
    ratio : ndarray
        Output channels over input channels.
    channels : int
        Input channels.
    kernel : int
        Rows and columns.
    """
    return channels**2 * kernel**2 * ratio


def flattened(ratio: np.ndarray, channels: int, kernel: int) -> np.ndarray:
    """Weights of two sets of lateral, vertical and horizontal filters, without biases: F (F + C + 2 X + 2 Y).

    Parameters
    ----------
    ratio : ndarray
        Output channels over input channels.
    channels : int
        Input channels.
    kernel : int
        Rows and columns.
    """
    filters = channels * ratio
    return filters * (filters + channels + 4 * kernel)


def break_even(channels: int, kernel: int) -> float:
    """The ratio at which both have as many: X Y - 1 - (2 X + 2 Y) / C."""
    return kernel**2 - 1 - 4 * kernel / channels


def draw(channels: int = CHANNELS, kernel: int = KERNEL) -> Figure:
    """One panel."""
    figure, (panel,) = panels(1)
    ratio = np.linspace(0.25, MAX_RATIO, 256)
    panel.plot(ratio, dense(ratio, channels, kernel), label="convolution")
    panel.plot(ratio, flattened(ratio, channels, kernel), label="flattened, two sets")
    panel.axvline(break_even(channels, kernel), color="grey", linestyle=":", label=f"equal at {break_even(channels, kernel):.1f}")
    panel.set(xlabel="k = F / C", ylabel="parameters", yscale="log", title=f"X = Y = {kernel}, C = {channels}")
    panel.legend(fontsize="small")
    return figure
