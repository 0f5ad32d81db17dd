"""Running compiled networks on GPUs through the NVIDIA driver."""
