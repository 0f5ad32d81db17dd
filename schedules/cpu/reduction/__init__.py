"""Reductions, pooling and normalisations."""
