"""What runs on the machine with the GPU: numpy and the driver are enough; torch, ncu and compute-sanitizer where they are there."""
