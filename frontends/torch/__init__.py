"""torch programs: read without running them, and exported to ONNX."""
