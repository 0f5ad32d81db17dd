"""A normalised ONNX graph -> a Relax module."""
