"""Which points of a kernel's space are worth measuring: features, a cost model that learns from measurements, and proposals."""
