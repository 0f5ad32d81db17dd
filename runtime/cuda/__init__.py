"""Running kernels on NVIDIA GPUs."""
