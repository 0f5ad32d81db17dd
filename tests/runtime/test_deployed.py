"""What a process that only runs a compiled network loads, and how much memory it takes."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tenfold
from tenfold.runner.bench.peak_memory import peak_bytes

RUN = """
import sys, numpy as np, tenfold
net = tenfold.load(sys.argv[1])
net(np.zeros(net.inputs[0].shape, net.inputs[0].dtype))
print(open("/proc/self/maps").read())
"""


def run(folder, **environment):
    command = [sys.executable, "-c", RUN, str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}).stdout


def test_no_compiler_is_loaded(tiny_artifact):
    mapped = run(tiny_artifact)
    assert "libtvm_runtime.so" in mapped and "weights.bin" in mapped
    for heavy in ("libtvm_compiler", "libLLVM", "libtorch", "onnxruntime"):
        assert heavy not in mapped


def test_the_runtime_library_suffices(tiny_artifact, tmp_path):
    """A tvm package that holds nothing but the runtime library."""
    import importlib.util

    lib = Path(importlib.util.find_spec("tvm").origin).parent / "lib"
    (tmp_path / "tvm" / "lib").mkdir(parents=True)
    (tmp_path / "tvm" / "__init__.py").write_text("raise ImportError('there is no compiler here')\n")
    shutil.copy(lib / "libtvm_runtime.so", tmp_path / "tvm" / "lib")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    mapped = run(tiny_artifact, PYTHONPATH=path)
    assert str(tmp_path / "tvm" / "lib" / "libtvm_runtime.so") in mapped and "libtvm_compiler" not in mapped


@pytest.fixture(scope="module")
def bundled(bundled_artifact):
    return tenfold.load(bundled_artifact)


def test_the_measured_peak_is_what_was_planned(bundled):
    """Weights twice, or a copy of the activations, would be 90 % more, or 7 %."""
    image = {port.name: np.zeros(port.shape, port.dtype) for port in bundled.inputs}
    planned = bundled.manifest.memory["planned"]
    peak = peak_bytes("tenfold", bundled.folder, image, bundled.threads)
    assert 0.8 * planned <= peak <= 1.2 * planned


def test_weights_are_mapped_once_and_not_copied(bundled):
    mapped = [line for line in run(bundled.folder).splitlines() if line.endswith("weights.bin")]
    assert len(mapped) == 1
    assert os.path.getsize(bundled.folder / "model.so") < 0.1 * os.path.getsize(bundled.folder / "weights.bin")
