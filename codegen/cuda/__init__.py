"""CUDA C of kernels, compiled for GPUs."""
