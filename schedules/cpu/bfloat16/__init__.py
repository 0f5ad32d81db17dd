"""Layers whose operands are rounded to bfloat16, and whose sums are float32."""
