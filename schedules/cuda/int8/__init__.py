"""Layers of bytes whose sums are integers of 32 bits: on tensor cores, or where the data lies."""
