"""Records of the tuner: which points of kernels' spaces were measured, on which processor, and how fast they were."""
