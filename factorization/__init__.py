"""The algebra of factorization: the weight of a layer in, a chain of plain convolutions out. NumPy and SciPy only."""
from ..support.errors import Refusal
from .chain import FactorChain, Stage
from .choice import Choice
from .conditions import flattening_saves, kernel_composing_width_bound, svd_rank_bound
from .layer import Layer
from .method import Method
from .metrics import FROBENIUS, METRICS, Covariance, Mahalanobis, Metric
from .plan import Plan
from .registry import METHODS, method_name
from .solvers.vbmf import suggested_ranks
from .solvers.weight_preprocessing import cluster_weights, prune_connections, round_weights
from .statistics import Statistics
from .threshold import choose_by_error

__all__ = [
    "FROBENIUS", "METHODS", "METRICS", "Choice", "Covariance", "FactorChain", "Layer", "Mahalanobis", "Method", "Metric", "Plan", "Refusal",
    "Stage", "Statistics", "choose_by_error", "cluster_weights", "flattening_saves", "kernel_composing_width_bound", "method_name",
    "prune_connections", "round_weights", "suggested_ranks", "svd_rank_bound",
]
