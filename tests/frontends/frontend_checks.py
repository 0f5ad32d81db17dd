"""What the tests of this folder share: small ONNX graphs written as text, and a run of an imported module in plain TVM."""
from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, parser


def graph(signature: str, nodes: str, weights: dict[str, np.ndarray] | None = None, opset: int = 17) -> onnx.ModelProto:
    """A model from the text of its signature (``float[1,3,8,8] x => float y``) and of its nodes, and its initializers."""
    inputs, outputs = signature.split("=>")
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => ({outputs}) {{ {nodes} }}'
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items())
    for value in model.graph.output:  # the text can't say "of unknown shape"
        value.type.tensor_type.ClearField("shape")
    return model


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype("float32")


def example(net, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {spec.name: rng.standard_normal(spec.shape).astype(spec.dtype) for spec in net.inputs}


def run_relax(mod, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs of ``main``, compiled by TVM's own pipeline, in a hurry."""
    import tvm
    from tvm import relax

    executable = tvm.compile(mod, target=tvm.target.Target({"kind": "llvm", "opt-level": 0}))
    result = relax.VirtualMachine(executable, tvm.cpu())["main"](*(tvm.runtime.tensor(x, tvm.cpu()) for x in inputs))
    return [result.numpy()] if hasattr(result, "numpy") else [x.numpy() for x in result]


def operators(net) -> list[str]:
    """The operators that ``main`` calls, in order."""
    values = [binding.value for block in net.mod["main"].body.blocks for binding in block.bindings]
    return [value.op.name for value in values if hasattr(value, "op") and hasattr(value.op, "name")]


def assert_same(got: list[np.ndarray], want: list[np.ndarray], names: list[str], tolerance: float = 1e-5) -> None:
    """Equal shapes, and no element off by more than `tolerance` of the largest one."""
    assert len(got) == len(want)
    for name, a, b in zip(names, got, want, strict=True):
        assert a.shape == b.shape, f"{name}: {a.shape}, not {b.shape}"
        assert a.dtype == b.dtype, f"{name}: {a.dtype}, not {b.dtype}"
        scale = np.abs(b).max() if b.size else 1
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(float(scale), 1e-6), err_msg=name)


def assert_imported_right(net, tolerance: float = 1e-5) -> None:
    """The Relax module computes what the reference does on the network as it was given; the declared outputs are true."""
    x = example(net)
    want = net.reference(x)
    assert [(spec.shape, spec.dtype) for spec in net.outputs] == [(y.shape, str(y.dtype)) for y in want]
    got = run_relax(net.mod, [x[spec.name] for spec in net.inputs])
    assert_same(got, want, [spec.name for spec in net.outputs], tolerance)
