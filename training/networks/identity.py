"""Identity mappings of residual blocks that shrink the image and add channels of zeros: no parameters."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class PaddedIdentity(nn.Module):
    """Average pooling, or every second pixel, and channels of zeros before and behind the others.

    Parameters
    ----------
    stride : int
        By which the image shrinks.
    before, behind : int
        Channels of zeros.
    pooled : bool
        False: of each square the first pixel, as He et al. (2015), option A; True: the mean, as Çallı (2017), section 2.4.1.
    """

    def __init__(self, stride: int, before: int, behind: int, pooled: bool):
        super().__init__()
        self.stride, self.before, self.behind, self.pooled = stride, before, behind, pooled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shrink and widen."""
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride) if self.pooled else x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.before, self.behind)) if self.before or self.behind else x
