"""Quantized networks: what lies between a dequantize and a quantize is computed on bytes, where the target can."""
