"""A trained network in integers of eight bits, as ONNX."""
