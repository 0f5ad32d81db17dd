"""Rewrites of TensorIR functions that no target is needed for."""
