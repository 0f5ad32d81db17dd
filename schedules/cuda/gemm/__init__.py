"""Convolutions and fully connected layers as products of matrices, which are put together as they are read (implicit GEMM)."""
