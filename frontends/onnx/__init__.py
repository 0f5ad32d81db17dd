"""ONNX files: read, checked, and normalised."""
