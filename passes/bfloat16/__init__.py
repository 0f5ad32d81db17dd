"""Layers whose operands are rounded to bfloat16, where that pays; between their kernels lie bfloat16 numbers."""
