"""Every engine runs the same network to the same result."""
from __future__ import annotations

import importlib.util

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tenfold.runner.bench.engines import ENGINES, RIVALS, rival
from tenfold.support.errors import TenfoldError


def installed(name):
    lacking = pytest.mark.skipif(importlib.util.find_spec(ENGINES[name].module) is None, reason="not installed")
    return pytest.param(name, marks=[lacking, pytest.mark.slow] if name == "torch-compile" else [lacking])


@pytest.mark.parametrize("name", [installed(name) for name in ENGINES])
def test_engines_agree(name, tiny_artifact, tiny_file, image):
    engine = ENGINES[name]()
    engine.start()
    engine.prepare(tiny_artifact if name == "tenfold" else tiny_file, threads=2)
    expected = onnxruntime.InferenceSession(tiny_file).run(None, {"image": image})
    for x in (image, -image, image):
        result = engine.run({"image": x})
    assert len(result) == 1
    np.testing.assert_allclose(result[0], expected[0], rtol=0, atol=1e-5 * np.abs(expected[0]).max())


def test_openvino_computes_in_float32(tiny_file, image):
    """On CPUs with bfloat16 it would take that by itself, and be off by 1e-3."""
    pytest.importorskip("openvino")
    engine = ENGINES["openvino"]()
    engine.prepare(tiny_file, threads=1)
    assert str(engine._compiled.get_property("INFERENCE_PRECISION_HINT")) in ("<Type: 'float32'>", "f32")
    assert engine._compiled.get_property("INFERENCE_NUM_THREADS") == 1


@pytest.mark.parametrize("name", ["torch", pytest.param("torch-compile", marks=pytest.mark.slow)])
def test_torch_runs_an_exported_program(name, tmp_path, image):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2)).eval()
    torch.export.save(torch.export.export(module, (torch.from_numpy(image),)), tmp_path / "net.pt2")
    engine = ENGINES[name]()
    engine.start()
    engine.prepare(tmp_path / "net.pt2", threads=1)
    with torch.no_grad():
        expected = module(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(engine.run({"input": image})[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_every_network_of_a_process_is_compiled_by_torch_compile(tmp_path):
    """Dynamo compiles one piece of code for at most eight modules, and then gives up: each network must be code of its own."""
    torch = pytest.importorskip("torch")
    x = normal(*IMAGE)
    onnx.save(one_operator("Relu", x.shape), tmp_path / "net.onnx")
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for _ in range(10):
        engine = ENGINES["torch-compile"]()
        engine.start()
        engine.prepare(tmp_path / "net.onnx", threads=1)
        np.testing.assert_array_equal(engine.run({"x": x})[0], np.maximum(x, 0))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] - compiled == 10


def test_torch_compile_without_a_compiler_says_what_to_install(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(TenfoldError, match="torch-compile needs a C\\+\\+ compiler.*no-such-compiler.*install g"):
        rival("torch-compile")


def test_unknown_engines_are_listed():
    with pytest.raises(TenfoldError, match="'caffe'.*onnxruntime, openvino, torch, torch-compile"):
        rival("caffe")


@pytest.mark.parametrize("name", RIVALS)
def test_an_engine_that_is_not_installed_names_what_to_install(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    torch = r"tenfold\[torch\]"
    extra = {"openvino": r"tenfold\[rivals\]", "torch": torch, "torch-compile": torch, "onnxruntime": "onnxruntime"}[name]
    with pytest.raises(TenfoldError, match=f"{name} is not installed: pip install .*{extra}"):
        rival(name)


def one_operator(op_type, shape, constants=(), outputs=1, **attributes):
    """A model of one node on input x, its further inputs constant (None: left out)."""
    names = ["" if value is None else f"c{i}" for i, value in enumerate(constants)]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for value, name in zip(constants, names, strict=True) if value is not None]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, ["x", *names], results, name="node", **attributes)
    ports = [onnx.ValueInfoProto(name=name, type=helper.make_tensor_type_proto(TensorProto.FLOAT, None)) for name in results]
    graph = helper.make_graph([node], "one", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], ports, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def normal(*shape):
    return np.random.default_rng(7).standard_normal(shape).astype("float32")


IMAGE = (2, 4, 9, 7)
F32 = np.float32
CASES = [
    ("Conv", IMAGE, [normal(6, 4, 3, 3), normal(6)], {"pads": [1, 1, 1, 1], "strides": [2, 1]}),
    ("Conv", IMAGE, [normal(6, 4, 3, 3)], {"pads": [0, 1, 2, 0], "dilations": [2, 1]}),
    ("Conv", IMAGE, [normal(8, 1, 3, 3)], {"group": 4}),
    ("Conv", (2, 4, 9), [normal(6, 4, 3), normal(6)], {"pads": [1, 1]}),
    ("ConvTranspose", IMAGE, [normal(4, 3, 2, 2), normal(3)], {"strides": [2, 2]}),
    ("ConvTranspose", IMAGE, [normal(4, 2, 3, 3)], {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1], "group": 2}),
    ("MaxPool", IMAGE, [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("MaxPool", IMAGE, [], {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    ("MaxPool", IMAGE, [], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", IMAGE, [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", IMAGE, [], {"kernel_shape": [3, 2], "pads": [1, 1, 1, 1], "strides": [2, 2], "count_include_pad": 1}),
    ("GlobalAveragePool", IMAGE, [], {}),
    ("GlobalMaxPool", IMAGE, [], {}),
    ("Gemm", (3, 5), [normal(4, 5), normal(4)], {"transB": 1}),
    ("Gemm", (5, 3), [normal(5, 4), normal(3, 4)], {"transA": 1, "alpha": 0.5, "beta": 2.0}),
    ("MatMul", (2, 3, 5), [normal(5, 4)], {}),
    ("Add", IMAGE, [normal(4, 1, 1)], {}),
    ("Sub", IMAGE, [normal(1)], {}),
    ("Mul", IMAGE, [normal(7)], {}),
    ("Div", IMAGE, [normal(7)], {}),
    ("Pow", IMAGE, [F32(2.0)], {}),
    ("Exp", IMAGE, [], {}),
    ("Erf", IMAGE, [], {}),
    ("Relu", IMAGE, [], {}),
    ("Sigmoid", IMAGE, [], {}),
    ("Tanh", IMAGE, [], {}),
    ("Softplus", IMAGE, [], {}),
    ("PRelu", IMAGE, [normal(4, 1, 1)], {}),
    ("HardSwish", IMAGE, [], {}),
    ("HardSigmoid", IMAGE, [], {"alpha": 0.3}),
    ("LeakyRelu", IMAGE, [], {"alpha": 0.2}),
    ("Elu", IMAGE, [], {}),
    ("Clip", IMAGE, [F32(-0.5), F32(0.5)], {}),
    ("Clip", IMAGE, [None, F32(0.5)], {}),
    ("Softmax", IMAGE, [], {"axis": 1}),
    ("LogSoftmax", (3, 5), [], {}),
    ("LRN", IMAGE, [], {"size": 3, "alpha": 0.1, "beta": 0.5, "bias": 2.0}),
    ("BatchNormalization", IMAGE, [normal(4), normal(4), normal(4), np.abs(normal(4))], {"epsilon": 0.01}),
    ("Reshape", IMAGE, [np.array([0, -1, 7])], {}),
    ("Flatten", IMAGE, [], {"axis": 2}),
    ("Transpose", IMAGE, [], {"perm": [0, 2, 3, 1]}),
    ("Transpose", (3, 5), [], {}),
    ("Squeeze", (2, 1, 3, 1), [np.array([1, -1])], {}),
    ("Unsqueeze", (2, 3), [np.array([0, -1])], {}),
    ("Concat", IMAGE, [normal(2, 3, 9, 7)], {"axis": 1}),
    ("Slice", IMAGE, [np.array([1, 0]), np.array([4, -1]), np.array([1, 2]), np.array([2, 3])], {}),
    ("Slice", IMAGE, [np.array([1]), np.array([np.iinfo("int64").max])], {}),
    ("Gather", IMAGE, [np.array([2, -1, 0, 1, 2])], {"axis": 1}),
    ("Gather", IMAGE, [np.array(-2)], {"axis": 2}),
    ("Pad", IMAGE, [np.array([0, 0, 1, 2, 0, 1, 0, 3]), F32(1.5)], {}),
    ("Resize", IMAGE, [None, np.array([1, 1, 2, 3], "float32")], {"mode": "nearest"}),
    ("Resize", IMAGE, [None, None, np.array([2, 4, 5, 12])], {"mode": "linear"}),
    ("Resize", IMAGE, [None, None, np.array([2, 4, 5, 12])], {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    (
        "Resize",
        IMAGE,
        [None, None, np.array([2, 4, 12, 5])],
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ),
    ("ReduceMean", IMAGE, [], {"axes": [2, 3], "keepdims": 0}),
    ("ReduceSum", IMAGE, [np.array([1])], {}),
    ("Identity", IMAGE, [], {}),
]


@pytest.mark.parametrize(("op_type", "shape", "constants", "attributes"), CASES, ids=[f"{case[0]}{i}" for i, case in enumerate(CASES)])
def test_torch_operators_mean_what_onnx_means(op_type, shape, constants, attributes):
    torch = pytest.importorskip("torch")
    from tenfold.frontends.reference.torch_graph import TorchGraph

    model = one_operator(op_type, shape, constants, **attributes)
    x = normal(*shape)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    with torch.inference_mode():
        result = TorchGraph(model)(torch.from_numpy(x))
    assert len(result) == len(expected)
    np.testing.assert_allclose(result[0].numpy(), expected[0], rtol=1e-4, atol=1e-5)


def test_torch_splits_into_several_outputs():
    torch = pytest.importorskip("torch")
    from tenfold.frontends.reference.torch_graph import TorchGraph

    model = one_operator("Split", IMAGE, [np.array([1, 3])], outputs=2, axis=1)
    first, second = TorchGraph(model)(torch.from_numpy(normal(*IMAGE)))
    assert (first.shape[1], second.shape[1]) == (1, 3)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (one_operator("Einsum", (3, 3), equation="ij->ji"), r"no operator Einsum \(node 'node'\)"),
        (one_operator("Gather", (3, 3), [np.array([[0, 1]])]), "lacks this form of operator Gather"),
        (one_operator("Pad", (3, 3), [np.array([1, 0, 1, 0])], mode="reflect"), "lacks this form of operator Pad"),
        (one_operator("Resize", IMAGE, [None, None, np.array([2, 4, 5, 12])], mode="cubic"), "lacks this form of operator Resize"),
    ],
)
def test_what_torch_lacks_is_named(model, words):
    pytest.importorskip("torch")
    from tenfold.frontends.reference.torch_graph import TorchGraph

    with pytest.raises(TenfoldError, match=words):
        TorchGraph(model)
