"""The algebra of factorization: the weight of a layer in, a chain of plain convolutions out. NumPy and SciPy only."""
from ..errors import Refusal
from .chain import FactorChain, Stage
from .choice import Choice
from .layer import Layer
from .method import Method
from .methods import METHODS
from .plan import Plan

__all__ = ["METHODS", "Choice", "FactorChain", "Layer", "Method", "Plan", "Refusal", "Stage"]
