"""Own converters of ONNX operators that have no weights, by kind. `ELEMENTWISE`, `SPATIAL`, ...: operator -> converter."""
