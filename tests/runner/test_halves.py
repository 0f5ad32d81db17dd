"""Networks in 16 bits on CPUs: compiled on this one, or for one that is not here."""
from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
import tenfold
from command_checks import tenfold as command
from onnx import TensorProto, helper, numpy_helper
from tenfold.runner.inspect_artifact import inspect_artifact, kernels_table
from tenfold.runner.report import console
from tenfold.schedules.cpu.int8.isa import pair_dot_of
from tenfold.support.errors import TenfoldError
from tenfold.targets import CpuTarget, resolve

HOST = resolve("host")
needs_f16c = pytest.mark.skipif(not isinstance(HOST, CpuTarget) or HOST.with_stored("float16").stored != "float16", reason="no F16C")
needs_bfloat16 = pytest.mark.skipif(pair_dot_of(HOST) is None, reason="no instructions for bfloat16")


def dense(dtype: int = TensorProto.FLOAT, largest: float = 1.0) -> onnx.ModelProto:
    """Two fully connected layers of one row, their weights of a type; `largest` is in the first of them."""
    kind, rng = helper.tensor_dtype_to_np_dtype(dtype), np.random.default_rng(0)
    first, second = rng.standard_normal((384, 256)) / 16, rng.standard_normal((10, 384)) / 16
    first[3, 5] *= largest / abs(first[3, 5])
    constants = [numpy_helper.from_array(array.astype(kind), name) for name, array in (("w0", first), ("w1", second))]
    nodes = [helper.make_node("Gemm", ["x", "w0"], ["a"], "a", transB=1), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("Gemm", ["b", "w1"], ["y"], "b", transB=1)]
    graph = helper.make_graph(nodes, "dense", [helper.make_tensor_value_info("x", dtype, [1, 256])],
                              [helper.make_tensor_value_info("y", dtype, [1, 10])], constants)
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


def in_float64(model: onnx.ModelProto, x: np.ndarray, kind: str) -> np.ndarray:
    """What weights that are rounded to a type give."""
    first, second = (numpy_helper.to_array(tensor).astype(kind).astype("float64") for tensor in model.graph.initializer)
    return np.maximum(x.astype("float64") @ first.T, 0) @ second.T


@needs_f16c
def test_weights_in_float16(tmp_path):
    model, x = dense(), np.random.default_rng(1).standard_normal((1, 256), "float32")
    wide = tenfold.compile(model, output=tmp_path / "wide").manifest
    artifact = tenfold.compile(model, output=tmp_path / "out", precision="float16")
    manifest = artifact.manifest
    assert manifest.verification["tolerance_reason"] == "weights rounded to float16" and manifest.target["precision"] == "float16"
    assert {kernel["precision"] for kernel in manifest.kernels if kernel["macs"]} == {"float16 weights"}
    assert manifest.memory["weights"] < 0.55 * wide.memory["weights"]
    # Only weights are rounded: what is left are errors of float32.
    np.testing.assert_allclose(np.asarray(artifact(x)), in_float64(model, x, "float16"), rtol=1e-5, atol=1e-5)


@needs_f16c
def test_a_weight_beyond_its_range_stays_float32(tmp_path):
    model, x = dense(largest=1e5), np.random.default_rng(1).standard_normal((1, 256), "float32")
    artifact = tenfold.compile(model, output=tmp_path / "out", precision="float16")
    found = np.asarray(artifact(x))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, in_float64(model, x, "float32"), rtol=1e-3, atol=1e-3 * np.abs(found).max())


@needs_f16c
def test_a_network_in_float16_keeps_its_weights(tmp_path):
    """Without an option: the same numbers, half the bytes; inputs and outputs as the file declares them."""
    model, x = dense(TensorProto.FLOAT16), np.random.default_rng(1).standard_normal((1, 256)).astype("float16")
    artifact = tenfold.compile(model, output=tmp_path / "out")
    assert {kernel["precision"] for kernel in artifact.manifest.kernels if kernel["macs"]} == {"float16 weights"}
    assert "precision" not in artifact.manifest.target and {port.dtype for port in artifact.outputs} == {"float16"}
    found = np.asarray(artifact(x))
    assert found.dtype == np.float16
    wanted = in_float64(model, x, "float16")
    assert np.abs(found - wanted).max() <= 2.0**-11 * np.abs(wanted).max() * 1.01  # the output is rounded once


def test_a_network_in_bfloat16_keeps_its_weights(tmp_path):
    model = dense(TensorProto.BFLOAT16)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    nodes = list(model.graph.node)
    nodes[0].input[0], nodes[-1].output[0] = "x16", "y16"
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend([helper.make_node("Cast", ["x"], ["x16"], to=TensorProto.BFLOAT16), *nodes,
                             helper.make_node("Cast", ["y16"], ["y"], to=TensorProto.FLOAT)])
    artifact = tenfold.compile(onnx.shape_inference.infer_shapes(model), output=tmp_path / "out")
    assert {kernel["precision"] for kernel in artifact.manifest.kernels if kernel["macs"]} == {"bfloat16 weights"}


@needs_bfloat16
def test_the_command_line_tells_of_operands(tmp_path):
    model = Path(tenfold.__file__).parent / "examples" / "models" / "cifar10_jin_baseline.onnx"
    done = command("compile", model, "-o", tmp_path / "out", "--precision", "bfloat16", "--no-tune-log")
    assert done.code == 0, done.err
    assert "precision bfloat16 operands in " in done.out and "operands of products rounded to bfloat16" in done.out
    found = inspect_artifact(tmp_path / "out")
    assert {kernel.precision for kernel in found.kernels if kernel.macs} >= {"bfloat16", "bfloat16 weights"}
    stream = io.StringIO()
    console(stream).print(kernels_table(found), crop=False)
    assert "operands" in stream.getvalue() and " bfloat16 " in stream.getvalue()


def test_code_for_a_cpu_that_is_not_here(tmp_path):
    """Cross-compiled: verified under emulation, or not at all, and the manifest says what it multiplies."""
    manifest = tenfold.compile(dense(), "neoverse-v2", tmp_path / "out", precision="float16").manifest
    assert {kernel["precision"] for kernel in manifest.kernels if kernel["macs"]} == {"float16 weights"}


def test_refusals_write_nothing(tmp_path):
    for target, words in (("zen3", "AVX-512 BF16"), ("sm_80", "bfloat16")):
        with pytest.raises(TenfoldError, match=words):
            tenfold.compile(dense(), target, tmp_path / "out", precision="bfloat16")
        assert not (tmp_path / "out").exists()
