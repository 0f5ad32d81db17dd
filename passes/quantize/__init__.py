"""Quantizing an ONNX graph: exact preparation, where integers are computed, and the graph with quantizers around layers."""
