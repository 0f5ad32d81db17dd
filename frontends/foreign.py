"""Files that are no network in a form that Tenfold reads: what they are, and how to make one of them."""
from __future__ import annotations

import stat
import zipfile
from pathlib import Path

from ..support.errors import TenfoldError

EXPORT = "torch.export.save(torch.export.export(model.eval(), (example_input,)), 'net.pt2')"
UNKNOWN = "can't tell what this is; a model file ends in .onnx or .pt2"
TORCH_SUFFIXES = frozenset((".pth", ".pt", ".ckpt", ".bin", ".pkl", ".safetensors", ".tar", ".ts", ".torchscript", ".jit"))
KERAS_SUFFIXES = frozenset((".h5", ".keras", ".pb", ".tflite", ".savedmodel"))


def hint(path: Path) -> str:
    """What the file seems to be, by its suffix and by the names in its archive (nothing in it is read), and what to do with it."""
    kind = archive_kind(path)
    if kind == "torch.export":
        return "this is a torch.export program: give it a name that ends in .pt2"
    if kind == "TorchScript":
        return f"this is TorchScript, which can't be read: load the nn.Module that it was made from in Python, and write {EXPORT}"
    if kind == "weights" or path.suffix.lower() in TORCH_SUFFIXES:
        return f"this holds weights, not the network: load them into their nn.Module in Python, and write {EXPORT}"
    if path.suffix.lower() in KERAS_SUFFIXES:
        return f"{UNKNOWN}; tf2onnx converts models of TensorFlow and Keras"
    return UNKNOWN


def archive_kind(path: Path) -> str | None:
    """``"torch.export"``, ``"TorchScript"``, ``"weights"``, or None for another archive or none at all."""
    try:
        if not path.is_file() or not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            if min((info.header_offset for info in archive.infolist()), default=0):
                return None  # it begins in the middle: an archive within one that was cut short
            names = {name.partition("/")[2] for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile, ValueError, RuntimeError):
        return None
    if any(name.startswith("models/") for name in names) and "archive_format" in names:
        return "torch.export"
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        return "TorchScript"
    return "weights" if "data.pkl" in names else None


def check_model_path(path: Path) -> None:
    """Raise TenfoldError unless `path` is a regular file, or a link to one."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError, ValueError))
        raise TenfoldError(f"{path}: {'no such file' if missing else getattr(error, 'strerror', error)}") from None
    if stat.S_ISDIR(mode):
        raise TenfoldError(f"{path}: this is a folder, not a model file")
    if not stat.S_ISREG(mode):
        raise TenfoldError(f"{path}: not a regular file; a model can't be read from a pipe or a device")
