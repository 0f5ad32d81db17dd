"""Data sets in their original formats, and what the papers do to images before a network sees them."""
from .cifar import read_cifar10, read_cifar100
from .folder import read_images
from .images import HELD_OUT, Images, shuffled_rows
from .mnist import read_mnist
from .pipelines import PIPELINES, Prepared, prepare

__all__ = [
    "HELD_OUT",
    "PIPELINES",
    "Images",
    "Prepared",
    "prepare",
    "read_cifar10",
    "read_cifar100",
    "read_images",
    "read_mnist",
    "shuffled_rows",
]
