"""What a method of factorization is: the form of its chain, where it applies, and how weights become factors."""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from operator import index
from typing import ClassVar

import numpy as np

from ..support.errors import Refusal
from .chain import FactorChain, Stage
from .layer import Layer
from .metrics import FROBENIUS, Metric
from .solvers.chain_als import chain_als
from .solvers.linalg import smallest_rank

Shapes = tuple[tuple[int, int, int, int], ...]
ROUNDING = 1e-12  # of a squared relative error: the weights of a chain are float32


class Method(ABC):
    """One way to factor the weight of a layer into a chain of stages.

    Attributes
    ----------
    name
        As plans and the command line write it.
    kind
        The kind of layer that it factors: ``"conv2d"`` or ``"dense"``.
    algebra
        What it computes, in one line. W: the weight; f, c, y, x: output channel, input channel, row, column.
    exact
        At ``max_ranks`` the chain equals the layer, whatever its weight.
    spectral
        A `SpectralMethod`.
    metrics
        The names of the metrics that it minimises by itself. In the others its Frobenius factors are a start, from which alternating
        least squares go on (`chain_als`).
    starting_point
        A structure to train on: as it comes from the weight, another method computes the same with fewer stages.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    algebra: ClassVar[str]
    exact: ClassVar[bool] = True
    spectral: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("frobenius",)
    starting_point: ClassVar[bool] = False

    # What each method says of itself.

    @abstractmethod
    def max_ranks(self, layer: Layer) -> tuple[int, ...]:
        """The largest ranks that are accepted; more could not make the chain nearer to the layer."""

    @abstractmethod
    def _shapes(self, layer: Layer, ranks: tuple[int, ...]) -> Shapes:
        """OIHW shapes of the stages' weights."""

    @abstractmethod
    def _geometry(self, layer: Layer, ranks: tuple[int, ...]) -> tuple[dict, ...]:
        """Stride, padding, dilation and groups of each stage, as keywords of Stage."""

    @abstractmethod
    def _fit(self, weight: np.ndarray, layer: Layer, ranks: tuple[int, ...], metric: Metric) -> FactorChain:
        """The chain without a bias."""

    def _refuse_ranks(self, layer: Layer, ranks: tuple[int, ...]) -> str | None:
        """A reason why ranks within their limits do not fit the layer, for example that its channels do not divide into them."""
        return None

    def suggested(self, weight: np.ndarray) -> tuple[int, ...] | None:
        """Ranks that the weight itself speaks for, where the method has a rule for them. They need not be worth their cost."""
        return None

    def _rungs(self, layer: Layer, multiple: int, steps: int) -> Iterable[tuple[int, ...]]:
        """What the ladder chooses from: ranks in any order, some of which may not fit the layer."""
        return [scaled(self.max_ranks(layer), part, multiple) for part in parts(steps)]

    def _refuse(self, layer: Layer) -> str | None:
        """A reason of the method's own not to factor a layer of its kind that has no groups."""
        return None

    # What all methods share.

    def check(self, layer: Layer) -> Refusal | None:
        """None if the method can factor the layer, else why not. Whether it pays is another question: see `macs`."""
        if layer.kind != self.kind:
            return Refusal(f"method {self.name} factors {self.kind} layers only")
        if layer.reason is not None:
            return Refusal(layer.reason)
        if layer.groups > 1:
            depthwise = layer.groups == layer.in_channels
            return Refusal("depthwise: nothing to factor" if depthwise else f"grouped convolution ({layer.groups} groups): not factored")
        reason = self._refuse(layer)
        if reason is None and min(self.max_ranks(layer)) < 2:
            reason = f"a weight of {_times(layer.weight_shape)} is of rank 1 already: {self.name} has nothing to factor"
        return None if reason is None else Refusal(reason)

    def ranks_for_energy(self, weight: np.ndarray, layer: Layer, energy: float) -> tuple[int, ...] | Refusal:
        """Find the smallest ranks that keep at least the fraction ``energy`` of the squared Frobenius norm of the weight.

        For a spectral method with several ranks, each of them by itself keeps that fraction (see the method). For another, the cheapest
        of the ladder that keeps it, or a refusal that says how much the best keeps.

        Parameters
        ----------
        weight : ndarray, OIHW or OI
        layer : Layer
            Its geometry.
        energy : float in (0, 1]
            Fraction of the squared norm to keep.

        Raises
        ------
        ValueError
            When energy is not in (0, 1], the method does not apply, or the weight does not fit the layer or is not finite.
        """
        if not 0 < energy <= 1:
            raise ValueError(f"energy {energy} must be above 0 and at most 1")
        weight = self._checked(weight, layer)
        return self._ranks_keeping(weight, layer, energy)

    def _ranks_keeping(self, weight: np.ndarray, layer: Layer, energy: float) -> tuple[int, ...] | Refusal:
        """`ranks_for_energy`, of a method that has to factor to know."""
        kept = 0.0
        for ranks in self.ladder(layer):
            squared = self.factorize(weight, layer, ranks).relative_error(weight) ** 2
            if squared <= 1 - energy + ROUNDING:
                return ranks
            kept = max(kept, 1 - squared)
        return Refusal(f"{self.name} keeps {kept:.1%} of the squared norm at most where it saves MACs")

    def rounded(self, layer: Layer, ranks: tuple[int, ...], multiple: int, up: bool) -> tuple[int, ...]:
        """Round ranks to multiples.

        Parameters
        ----------
        layer : Layer
            It limits the ranks.
        ranks : tuple of int
            One for each of ``max_ranks(layer)``.
        multiple : int
            What each becomes a multiple of.
        up : bool
            Round up, but not above the highest rank; else down, but not to zero.
        """
        if up:
            return tuple(min(-(-rank // multiple) * multiple, limit) for rank, limit in zip(ranks, self.max_ranks(layer), strict=True))
        return tuple(rank // multiple * multiple or rank for rank in ranks)

    def ladder(self, layer: Layer, multiple: int = 1, steps: int = 12) -> list[tuple[int, ...]]:
        """Ranks worth a try, from the fewest MACs to the most, those that cost no less than the layer left out.

        Parameters
        ----------
        multiple
            Ranks are multiples of it where the largest allows.
        steps
            About so many, in equal ratios from a sixteenth of the largest ranks to all of them.
        """
        found = {ranks for ranks in self._rungs(layer, multiple, steps) if self._refuse_ranks(layer, ranks) is None}
        costs = sorted((self.macs(layer, ranks), ranks) for ranks in found)
        return [ranks for macs, ranks in costs if macs < layer.macs] or [costs[0][1]]

    def factorize(
        self, weight: np.ndarray, layer: Layer, ranks: Sequence[int], bias: np.ndarray | None = None, metric: Metric = FROBENIUS
    ) -> FactorChain:
        """Factor a weight.

        Parameters
        ----------
        weight
            OIHW or OI, as ``layer.weight_shape`` says. It is only read.
        layer
            The geometry that is spread over the stages.
        ranks
            One for each of ``max_ranks(layer)``, from 1 up to it.
        bias
            (O,): added by the last stage. None: the chain has no bias of the layer's.
        metric
            The norm in which the chain is to be near to the weight.

        Raises
        ------
        ValueError
            When the method does not apply, a rank is out of range, or the weight does not fit the layer or is not finite.
        """
        weight = self._checked(weight, layer)
        ranks = self.checked_ranks(layer, ranks)
        own = metric.name in self.metrics
        chain = self._fit(weight, layer, ranks, metric if own else FROBENIUS)
        chain = chain if own else chain_als(chain, weight, metric)
        return chain if bias is None else chain.with_bias(bias)

    def outline(self, layer: Layer, ranks: Sequence[int]) -> FactorChain:
        """The chain for these ranks with zero weights that take no memory: for its shapes, MACs and parameters."""
        shapes = self._shapes(layer, self.checked_ranks(layer, ranks))
        return self._chain(layer, self.checked_ranks(layer, ranks), [np.broadcast_to(np.float32(0), shape) for shape in shapes])

    def macs(self, layer: Layer, ranks: Sequence[int]) -> int:
        """Multiply-accumulates of the chain for the whole batch, to be held against ``layer.macs``."""
        return layer.batch * self.outline(layer, ranks).macs(*layer.input_size)

    def checked_ranks(self, layer: Layer, ranks: Sequence[int]) -> tuple[int, ...]:
        """The ranks as a tuple of int; ValueError says which is out of range."""
        ranks, limits = tuple(index(rank) for rank in ranks), self.max_ranks(layer)
        if len(ranks) != len(limits):
            raise ValueError(f"{self.name} takes {len(limits)} rank{'s' * (len(limits) > 1)}, not {len(ranks)}")
        for rank, limit in zip(ranks, limits, strict=True):
            if not 1 <= rank <= limit:
                raise ValueError(f"rank {rank} of {self.name} is out of range: 1 to {limit}")
        reason = self._refuse_ranks(layer, ranks)
        if reason is not None:
            raise ValueError(f"ranks {' and '.join(map(str, ranks))} of {self.name} do not fit: {reason}")
        return ranks

    def _checked(self, weight: np.ndarray, layer: Layer) -> np.ndarray:
        refusal = self.check(layer)
        if refusal is not None:
            raise ValueError(refusal.reason)
        weight = np.asarray(weight)
        if weight.shape != layer.weight_shape:
            raise ValueError(f"the weight is of shape {_times(weight.shape)}, the layer's of {_times(layer.weight_shape)}")
        if not np.isfinite(weight).all():
            raise ValueError("the weight holds NaN or infinite values")
        return weight

    def _chain(self, layer: Layer, ranks: tuple[int, ...], weights: Sequence[np.ndarray]) -> FactorChain:
        """The stages with these weights, in the order of `_shapes`, without biases or permutations."""
        geometries = self._geometry(layer, ranks)
        return FactorChain(tuple(Stage(weight, **geometry) for weight, geometry in zip(weights, geometries, strict=True)))


class FactoredMethod(Method):
    """One whose stages are its factors, in order, without biases or permutations."""

    @abstractmethod
    def _factors(self, weight: np.ndarray, ranks: tuple[int, ...], metric: Metric) -> tuple[np.ndarray, ...]:
        """The stages' weights, of any float type, in the shapes of `_shapes`."""

    def _fit(self, weight: np.ndarray, layer: Layer, ranks: tuple[int, ...], metric: Metric) -> FactorChain:
        factors = self._factors(weight, ranks, metric)
        return self._chain(layer, ranks, [np.ascontiguousarray(factor, np.float32) for factor in factors])


class SpectralMethod(FactoredMethod):
    """One each of whose ranks truncates singular values, so that the ranks for an energy are known without factoring."""

    spectral = True

    @abstractmethod
    def spectra(self, weight: np.ndarray) -> tuple[np.ndarray, ...]:
        """Squares of the singular values that each rank truncates, falling, float64: an array for each rank."""

    def _ranks_keeping(self, weight: np.ndarray, layer: Layer, energy: float) -> tuple[int, ...]:
        return tuple(smallest_rank(squared, energy) for squared in self.spectra(weight))


def parts(steps: int) -> list[float]:
    """Fractions from a sixteenth to 1 in equal ratios."""
    return [16 ** (step / (steps - 1) - 1) for step in range(steps)]


def scaled(limits: Sequence[int], part: float, multiple: int) -> tuple[int, ...]:
    """Scale each limit by a fraction and round it to a multiple: at least one multiple, at most the limit.

    Parameters
    ----------
    limits : sequence of int
        The largest ranks.
    part : float in (0, 1]
        The fraction.
    multiple : int
        What each rank becomes a multiple of.
    """
    return tuple(min(max(round(limit * part / multiple), 1) * multiple, limit) for limit in limits)


def _times(shape: Sequence[int]) -> str:
    return " x ".join(str(extent) for extent in shape)
