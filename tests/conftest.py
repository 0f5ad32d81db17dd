"""What tests of several folders share: tiny networks, and one of them compiled."""
from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import numpy as np
import onnx
import pytest
from cuda_standin import gpu_artifact, other_gpu_artifact, standin, standin_library  # noqa: F401 - fixtures
from host_model import force_from_environment, model
from onnx import helper, numpy_helper
from session_folder import made_once, session_folder

os.environ.setdefault("TENFOLD_STRICT", "1")  # a function that no schedule rule takes is an error here
force_from_environment()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Mark as slow what is long and what `quick` leaves, before `-m` selects. Files with the most slow tests come first.

    So what is left at the end is short, and every process of xdist gets a part of a long file.
    """
    cases: dict[tuple[Path, str], list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("quick") and not item.get_closest_marker("slow"):
            cases.setdefault((item.path, item.nodeid.partition("[")[0]), []).append(item)
    for same in cases.values():
        count, marked = same[0].get_closest_marker("quick").args[0], len(same)
        kept = {index * marked // count for index in range(count)}
        for index in set(range(marked)) - kept:
            same[index].add_marker(pytest.mark.slow)
    result = yield
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
    return result


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are CPUs: tests of devices, trackers and servers mostly wait."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_finish() -> None:
    """What imports made is there until the end: it need not be searched for garbage, which takes half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What was measured or built before is not used; what one process builds, such as an emulated kernel, the others find."""
    os.environ["TENFOLD_CACHE"] = str(session_folder(tmp_path_factory) / "cache")


def tiny_network(features: int = 8, classes: int = 5, batch: int | str = 1, seed: int = 0) -> onnx.ModelProto:
    """Convolution, ReLU, max-pool, dense: image (batch, 3, 8, 8) -> scores (batch, classes); layers ``conv`` and ``fc``."""
    rng = np.random.default_rng(seed)
    shapes = {"conv.weight": (features, 3, 3, 3), "conv.bias": (features,), "fc.weight": (classes, features * 16), "fc.bias": (classes,)}
    weights = [numpy_helper.from_array((rng.standard_normal(shape) / 4).astype("float32"), name) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["image", "conv.weight", "conv.bias"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["scores"], name="fc", transB=1),
    ]
    inputs = [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [batch, 3, 8, 8])]
    outputs = [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [batch, classes])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(params=["zen3", "zen4"])
def target(request: pytest.FixtureRequest):
    """A named model, of AVX2 and of AVX-512, that code can be run for here whatever this machine is."""
    return model(request.param)


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_network` in a file, the same for all processes."""
    return made_once(tmp_path_factory, "tiny.onnx", lambda path: onnx.save(tiny_network(), path))


@pytest.fixture(scope="session")
def tiny_artifact(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_network` compiled for this machine. Not to be changed: copy it."""
    import tenfold

    return made_once(tmp_path_factory, "tiny", lambda folder: tenfold.compile(tiny_file, "host", folder))


@pytest.fixture(scope="session")
def bundled_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the examples, compiled for this machine. Not to be changed: copy it."""
    import tenfold

    network = Path(tenfold.__file__).parent / "examples" / "models" / "cifar10_jin_baseline.onnx"
    return made_once(tmp_path_factory, "bundled", lambda folder: tenfold.compile(network, "host", folder))


@pytest.fixture
def image() -> np.ndarray:
    """An input of `tiny_network`."""
    return np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype("float32")
