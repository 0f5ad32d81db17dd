"""Memory transactions of emulated kernels."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class SiteCounts:
    """Transactions of the loads, or the stores, of one place of the source.

    Attributes
    ----------
    line : int
        Of the source; 0 where it is not known.
    space : str
        ``"shared"`` or ``"global"``.
    store : bool
    requests : int
        Instructions of warps.
    transactions : int
        Wavefronts of shared memory, or sectors (32 bytes) of global memory.
    least : int
        What the same bytes would take at best: no bank conflict; the fewest sectors.
    """

    line: int
    space: str
    store: bool
    requests: int
    transactions: int
    least: int


@dataclass(frozen=True)
class Counts:
    """Transactions of a launch, by place of the source. Modelled from addresses: nothing is timed."""

    sites: tuple[SiteCounts, ...] = ()

    def _sum(self, space: str, field: str) -> int:
        return sum(getattr(site, field) for site in self.sites if site.space == space)

    @property
    def shared_wavefronts(self) -> int:
        """Wavefronts of shared memory."""
        return self._sum("shared", "transactions")

    @property
    def least_wavefronts(self) -> int:
        """Wavefronts without bank conflicts."""
        return self._sum("shared", "least")

    @property
    def bank_conflicts(self) -> int:
        """Wavefronts that bank conflicts add."""
        return self.shared_wavefronts - self.least_wavefronts

    @property
    def global_sectors(self) -> int:
        """Sectors of 32 bytes that warps ask global memory for."""
        return self._sum("global", "transactions")

    @property
    def least_sectors(self) -> int:
        """The fewest sectors that the bytes of each request fit into."""
        return self._sum("global", "least")


def merged(sites: Iterable[SiteCounts]) -> Counts:
    """Add up the counts of the same line, space and direction."""
    sums: dict[tuple[int, str, bool], tuple[int, int, int]] = {}
    for site in sites:
        key = (site.line, site.space, site.store)
        before = sums.get(key, (0, 0, 0))
        sums[key] = (before[0] + site.requests, before[1] + site.transactions, before[2] + site.least)
    return Counts(tuple(SiteCounts(*key, *values) for key, values in sorted(sums.items())))
