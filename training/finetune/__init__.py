"""Training what was compressed: until its accuracy is back."""
from .cascade import Cascaded, cascade
from .distillation import distillation
from .freezing import freeze_through
from .module_layers import ModuleLayers
from .onnx_file import tune_file
from .onnx_module import OnnxModule
from .replaced import factored

__all__ = ["Cascaded", "ModuleLayers", "OnnxModule", "cascade", "distillation", "factored", "freeze_through", "tune_file"]
