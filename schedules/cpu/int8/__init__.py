"""Layers of bytes whose sums are integers of 32 bits."""
