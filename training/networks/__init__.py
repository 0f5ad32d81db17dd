"""The papers' networks as torch modules, untrained: one file each."""
from .autoencoder import autoencoder
from .calli_baseline import CALLI_OPERATIONS, calli_baseline
from .calli_resnet34 import calli_resnet34
from .calli_small import calli_small
from .export import export_onnx, fold_batch_norm
from .jin import jin_baseline, jin_flattened
from .resnet import resnet
from .small_vgg import small_vgg
from .summation import summation
from .zeiler_fergus import zeiler_fergus

__all__ = [
    "CALLI_OPERATIONS",
    "autoencoder",
    "calli_baseline",
    "calli_resnet34",
    "calli_small",
    "export_onnx",
    "fold_batch_norm",
    "jin_baseline",
    "jin_flattened",
    "resnet",
    "small_vgg",
    "summation",
    "zeiler_fergus",
]
