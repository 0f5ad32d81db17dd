"""Exact rewrites of a trained network: what can be computed with fewer nodes and fewer multiply-adds, and comes out the same.

They work on the normalised ONNX graph (`frontends`), because every network has one: an ONNX file as it is, a PyTorch program as it is
exported. The Relax module, the inventory of layers, plans, the search and ``tenfold simplify`` all start from that graph, so one set of
rewrites serves them all, and the engine that runs the model as it was given stays their reference.

    kernel.py       the algebra: kernels added and composed
    linear.py       nodes seen as kernels
    work.py         what they cost: a model that holds for every target
    editing.py      edits of the graph
    emit.py         kernels written as nodes
    rewrite.py      what a rewrite is
    fixed_point.py  the list of rewrites, run until nothing is left to do
    network.py      a network read and simplified

The others are one rewrite each. Sums are formed in float64 and stored in the dtype of the network.
"""
from .fixed_point import Merge, Simplified, chosen, rewrite_names, simplify_onnx
from .rewrite import Rewrite
from .totals import Totals

__all__ = ["Merge", "Rewrite", "Simplified", "Totals", "chosen", "rewrite_names", "simplify_onnx"]
