"""The algebra of factorization: the weight of a layer in, a chain of plain convolutions out. NumPy and SciPy only."""
from ..errors import Refusal
from .chain import FactorChain, Stage
from .choice import Choice
from .layer import Layer
from .method import Method
from .methods import METHODS
from .metrics import FROBENIUS, METRICS, Covariance, Mahalanobis, Metric
from .plan import Plan
from .statistics import Statistics

__all__ = [
    "FROBENIUS", "METHODS", "METRICS", "Choice", "Covariance", "FactorChain", "Layer", "Mahalanobis", "Method", "Metric", "Plan", "Refusal",
    "Stage", "Statistics",
]
