"""CUDA C -> machine code of NVIDIA GPUs."""
