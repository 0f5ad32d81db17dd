"""Tucker-2 over the channels: pointwise C -> K1, a Y x X convolution K1 -> K2, pointwise K2 -> F.

Source: Kim et al. 2016 ("Compression of deep convolutional neural networks for fast and low power mobile applications",
section 3.1). The factors start from the truncated higher-order SVD (HOSVD) and are refined by higher-order orthogonal
iteration (HOOI; De Lathauwer et al. 2000), each step of which is the best answer for one mode with the other held fixed.

In the covariance metric HOOI works on the weight whitened by the nearest product of a covariance over the channels and one over
the taps, and alternating least squares in the metric itself (`chain_als`) go on from there.

Stride, padding and dilation all go to the middle stage.
"""
from __future__ import annotations

import numpy as np

from ..chain import FactorChain
from ..layer import Layer
from ..method import Shapes, SpectralMethod
from ..metrics import Covariance, Metric
from ..solvers.chain_als import chain_als
from ..solvers.linalg import leading_vectors, squared_singular_values
from ..solvers.vbmf import suggested_ranks

TOLERANCE = 1e-7  # gain of one iteration, as a fraction of the weight's squared norm, below which HOOI has converged
MAX_ITERATIONS = 50  # trained weights take about ten; noise, which has nothing to find, creeps on


class Tucker2(SpectralMethod):
    """Ranks K1 up to min(C, F Y X) and K2 up to min(F, C Y X), in this order.

    K1 C MACs for a pixel of the input, K1 K2 Y X + K2 F for a pixel of the output.

    An energy is kept by each mode by itself, on the singular values of the HOSVD: K1 is the smallest rank whose discarded
    singular values of the C x (F Y X) unfolding hold at most 1 - energy of the squared norm, K2 the same of the F x (C Y X) one.
    Both truncated together keep at least 1 - 2 (1 - energy), the bound of the HOSVD.
    """

    name = "tucker2"
    kind = "conv2d"
    algebra = "W[f,c,y,x] ~ sum_k1,k2 B[f,k2] G[k2,k1,y,x] A[k1,c]"
    metrics = ("frobenius", "covariance")

    def max_ranks(self, layer: Layer) -> tuple[int, ...]:
        f, c, y, x = layer.weight_shape
        return min(c, f * y * x), min(f, c * y * x)

    def spectra(self, weight: np.ndarray) -> tuple[np.ndarray, ...]:
        return squared_singular_values(_unfold(weight, 1)), squared_singular_values(_unfold(weight, 0))

    def suggested(self, weight: np.ndarray) -> tuple[int, int] | None:
        """Suggest ranks by variational Bayes (`vbmf`), as in Kim et al. 2016, section 3.2."""
        return suggested_ranks(weight) if np.isfinite(weight).all() else None

    def _refuse(self, layer: Layer) -> str | None:
        return "1 x 1 kernel: no core to shrink, channel_svd applies" if layer.kernel == (1, 1) else None

    def _shapes(self, layer: Layer, ranks: tuple[int, ...]) -> Shapes:
        f, c, y, x = layer.weight_shape
        k1, k2 = ranks
        return (k1, c, 1, 1), (k2, k1, y, x), (f, k2, 1, 1)

    def _factors(self, weight: np.ndarray, ranks: tuple[int, ...], metric: Metric) -> tuple[np.ndarray, ...]:
        k1, k2 = ranks
        inputs, core, outputs = _whitened(weight, metric, (k1, k2)) if isinstance(metric, Covariance) else partial_tucker(weight, (k1, k2))
        return inputs.T[:, :, None, None], core, outputs[:, :, None, None]

    def _fit(self, weight: np.ndarray, layer: Layer, ranks: tuple[int, ...], metric: Metric) -> FactorChain:
        chain = super()._fit(weight, layer, ranks, metric)
        return chain_als(chain, weight, metric) if isinstance(metric, Covariance) else chain

    def _geometry(self, layer: Layer, ranks: tuple[int, ...]) -> tuple[dict, ...]:
        return {}, {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}, {}


def partial_tucker(weight: np.ndarray, ranks: tuple[int, int], iterations: int = MAX_ITERATIONS) -> tuple[np.ndarray, ...]:
    """Tucker decomposition of an OIHW tensor in its two channel modes.

    Parameters
    ----------
    weight
        F x C x Y x X.
    ranks
        K1 of the input channels, K2 of the output channels.
    iterations
        At most so many of HOOI; 0 gives the truncated HOSVD.

    Returns
    -------
    inputs, core, outputs
        C x K1 and F x K2 with orthonormal columns, and K2 x K1 x Y x X, float64.
    """
    weight = weight.astype(np.float64)
    inputs, outputs = leading_vectors(_unfold(weight, 1), ranks[0]), leading_vectors(_unfold(weight, 0), ranks[1])
    core = _project(_project(weight, outputs, 0), inputs, 1)
    norm, kept = np.vdot(weight, weight), np.vdot(core, core)
    for _ in range(iterations):
        inputs = leading_vectors(_unfold(_project(weight, outputs, 0), 1), ranks[0])
        narrow = _project(weight, inputs, 1)
        outputs = leading_vectors(_unfold(narrow, 0), ranks[1])
        core = _project(narrow, outputs, 0)
        before, kept = kept, np.vdot(core, core)
        if kept - before <= TOLERANCE * norm:
            break
    return inputs, core, outputs


def _whitened(weight: np.ndarray, metric: Covariance, ranks: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """The factors of the weight where the covariance is the product A of c and B of (y, x) that is nearest to it."""
    f, c, y, x = weight.shape
    roots = metric.whitener(y * x)
    whitened = roots.a @ weight.reshape(f, c, y * x).astype(np.float64) @ roots.b
    inputs, core, outputs = partial_tucker(whitened.reshape(weight.shape), ranks)
    return roots.a_inverse @ inputs, (core.reshape(*ranks[::-1], y * x) @ roots.b_inverse).reshape(core.shape), outputs


def _unfold(tensor: np.ndarray, mode: int) -> np.ndarray:
    """The tensor as a matrix whose rows are the slices of one mode."""
    return np.moveaxis(tensor, mode, 0).reshape(tensor.shape[mode], -1)


def _project(tensor: np.ndarray, basis: np.ndarray, mode: int) -> np.ndarray:
    """Replace one mode by its coordinates in the columns of ``basis``."""
    return np.moveaxis(np.tensordot(basis.T, tensor, (1, mode)), 0, mode)
