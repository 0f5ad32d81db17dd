"""What tests of convolutions share: ONNX Runtime's result, and a scheduled function run on this machine."""
from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import tvm
from tenfold.schedules.backend import backend_of
from tenfold.schedules.shapes import ConvGeometry
from tenfold.targets import resolve

HOST = resolve("host")


def reference(x: np.ndarray, weight: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """ONNX Runtime's convolution, NHWC in and out; zeros between the pixels where the geometry has them."""
    batch, height, width, channels = x.shape
    down, across = geometry.upsample
    spread = np.zeros((batch, (height - 1) * down + 1, (width - 1) * across + 1, channels), x.dtype)
    spread[:, ::down, ::across] = x
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], strides=geometry.stride, pads=geometry.padding, dilations=geometry.dilation,
                                 group=geometry.groups)
    graph = onnx.helper.make_graph([node], "conv", [onnx.helper.make_tensor_value_info("x", 1, None)],
                                   [onnx.helper.make_tensor_value_info("y", 1, None)], [onnx.numpy_helper.from_array(weight, "w")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.ascontiguousarray(spread.transpose(0, 3, 1, 2))})[0].transpose(0, 2, 3, 1)


def run(schedule, arrays, shape):
    """Compile for this machine and run: `arrays` in, the result out."""
    loops = backend_of(HOST).lower_loops(schedule.mod)  # as in code generation
    kernel = tvm.compile(loops, target=HOST.tvm_target())["main"]
    out = tvm.runtime.tensor(np.full(shape, np.nan, "float32"))
    kernel(*[tvm.runtime.tensor(a) for a in arrays], out)
    return out.numpy()
