"""Precision as one more thing that a search chooses for each layer: in milliseconds, with the conversions, and in accuracy."""
