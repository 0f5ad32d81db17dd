"""What the tests of inventory and factorization share: small ONNX graphs as text, chains, and runs in TVM and ONNX Runtime."""
from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, parser
from tenfold.factorization import METHODS, FactorChain, Stage
from tenfold.passes.inventory import inventory, weights


def graph(signature: str, nodes: str, values: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    """A model of opset 17 from the text of its signature and nodes, and its initializers."""
    inputs, outputs = signature.split("=>")
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({outputs}) {{ {nodes} }}')
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in (values or {}).items())
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype("float32")


def full_rank(net, name: str, method: str) -> FactorChain:
    """The chain of a method at its highest ranks, which equals the layer."""
    return truncated(net, name, method, None)


def truncated(net, name: str, method: str, ranks: tuple[int, ...] | None) -> FactorChain:
    layer = next(layer for layer in inventory(net.mod) if layer.name == name)
    chosen = METHODS[method].max_ranks(layer) if ranks is None else ranks
    return METHODS[method].factorize(weights(net.mod)[name], layer, chosen)


def permuted_chain(grouped_end: bool, bias: bool = False) -> FactorChain:
    """Pointwise 4 -> 6, 3 x 3 in two groups read out of order 6 -> 6, and an end whose output is out of order."""
    rng = np.random.default_rng(5)
    end = Stage(normal(6, 3, 1, 1), groups=2) if grouped_end else Stage(normal(6, 6, 1, 1))
    if bias:
        end = Stage(end.weight, normal(6), groups=end.groups)
    middle = Stage(normal(6, 3, 3, 3), normal(6, seed=1), padding=(1, 1, 1, 1), groups=2, input_permutation=rng.permutation(6))
    stages = (Stage(normal(6, 4, 1, 1), input_permutation=rng.permutation(4)), middle, end)
    return FactorChain(stages, rng.permutation(6))


def chain_of_grouped_stages() -> FactorChain:
    """Two grouped stages with a permutation between them that no weight can take."""
    order = np.array([0, 2, 1, 3])
    return FactorChain((Stage(normal(4, 2, 1, 1), groups=2), Stage(normal(6, 2, 1, 1), groups=2, input_permutation=order)))


def apply_chain(chain: FactorChain, x: np.ndarray) -> np.ndarray:
    """The chain as its definition says, one ONNX convolution after the other and NumPy's indexing: what the emitters must equal."""
    for stage in chain.stages:
        if stage.input_permutation is not None:
            x = x[:, stage.input_permutation]
        node = onnx.helper.make_node(
            "Conv", ["x", "w"], ["y"], strides=stage.stride, pads=stage.padding, dilations=stage.dilation, group=stage.groups
        )
        g = onnx.helper.make_graph(
            [node],
            "stage",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.ascontiguousarray(stage.weight), "w")],
        )
        x = run_onnx(onnx.helper.make_model(g, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), {"x": x})[0]
        if stage.bias is not None:
            x = x + stage.bias[:, None, None]
    return x if chain.permutation is None else x[:, chain.permutation]


def run_onnx(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, inputs)


def run_relax(mod, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs of ``main``, compiled by TVM's own pipeline, in a hurry."""
    import tvm
    from tvm import relax

    executable = tvm.compile(mod, target=tvm.target.Target({"kind": "llvm", "opt-level": 0}))
    result = relax.VirtualMachine(executable, tvm.cpu())["main"](*(tvm.runtime.tensor(x, tvm.cpu()) for x in inputs))
    return [result.numpy()] if hasattr(result, "numpy") else [x.numpy() for x in result]


def assert_close(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-4) -> None:
    """No element off by more than `tolerance` of the largest one."""
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max())
