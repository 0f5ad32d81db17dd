"""Networks made smaller by leaving nodes out: Çallı (2017), sections 2.1 and 2.4.2."""
from .channels import Channels
from .connections import keep_connections, prune_connections, share_of_zeros
from .criteria import all_of, never_active, of_no_variance, outliers, within_range
from .cycles import Cycle, distort, training_cycles
from .selection import lowest, vote
from .smaller import masked, smaller
from .statistics import NodeStatistics, collect

__all__ = [
    "Channels",
    "Cycle",
    "NodeStatistics",
    "all_of",
    "collect",
    "distort",
    "keep_connections",
    "lowest",
    "masked",
    "never_active",
    "of_no_variance",
    "outliers",
    "prune_connections",
    "share_of_zeros",
    "smaller",
    "training_cycles",
    "vote",
    "within_range",
]
