"""In which precision each kernel multiplies: a run is a float32 chain, or kernels of tensor cores, whichever the model prices less."""
from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_checks import tenfold_anew
from onnx import helper, numpy_helper
from tenfold.codegen.cuda.nvcc import finds_nvcc
from tenfold.runner.inspect_artifact import inspect_artifact, kernels_table
from tenfold.runner.report import console
from tenfold.runtime.cuda.code_file import CudaCode
from tenfold.runtime.cuda.launches import Launch, Routine
from tenfold.runtime.cuda.precision import precisions
from tenfold.schedules.cuda.convolution import gemm_shape
from tenfold.schedules.cuda.convolution_run import ConvolutionRun, traffic_cycles
from tenfold.schedules.cuda.gemm.choice import choose_product
from tenfold.schedules.shapes import ConvGeometry, ConvWorkload
from tenfold.targets import resolve

TARGET = resolve("sm_80")


def convolution(filters: int, kernel: int, size: int, channels: int, batch: int) -> ConvWorkload:
    pads = (kernel // 2,) * 4
    return ConvWorkload(ConvGeometry(filters, (kernel, kernel), padding=pads), (size, size), channels, batch)


def tucker(channels: int, rank: int, size: int, batch: int) -> tuple[ConvWorkload, ...]:
    stages = ((rank, 1, channels), (rank, 3, rank), (channels, 1, rank))
    return tuple(convolution(filters, kernel, size, read, batch) for filters, kernel, read in stages)


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_a_run_is_a_chain_or_kernels_of_tensor_cores(precision):
    target = TARGET.with_precision(precision)
    small, large = tucker(64, 16, 56, 1), tucker(256, 64, 14, 32)
    assert ConvolutionRun(small, target).chosen == [3]  # three launches cost more
    assert ConvolutionRun(large, TARGET).chosen == [1, 2] and ConvolutionRun(large, target).chosen == [1, 1, 1]
    for link in large:
        product = choose_product(gemm_shape(link), target)
        assert product is not None and getattr(product[1], "precision", None) == precision


@pytest.mark.parametrize("precision", ["float32", "tf32"])
@pytest.mark.parametrize("links", [tucker(64, 32, 28, 1), tucker(128, 32, 28, 32)])
def test_the_cut_is_the_cheapest(precision, links):
    run = ConvolutionRun(links, TARGET.with_precision(precision))

    def cost(counts):
        ends = list(itertools.accumulate(counts))
        cycles = [run._cycles(end - count, end) for count, end in zip(counts, ends, strict=True)]
        return float("inf") if None in cycles else sum(cycles) + TARGET.model.launch_cycles * len(counts)

    cuts = [counts for length in (1, 2, 3) for counts in itertools.product((1, 2, 3), repeat=length) if sum(counts) == 3]
    assert cost(run.chosen) == min(map(cost, cuts))


def test_no_kernel_takes_less_than_its_tensors_take_to_pass():
    link = convolution(64, 1, 56, 64, 64)
    tensor = 4 * 64 * 56 * 56 * 64  # bytes: it does not fit in the cache
    assert traffic_cycles([link], TARGET.model) == pytest.approx(2 * tensor / TARGET.model.memory_bytes_per_cycle, rel=0.01)
    assert ConvolutionRun((link,), TARGET.with_precision("tf32"))._cycles(0, 1) >= traffic_cycles([link], TARGET.model)


def test_the_precision_is_read_from_the_source():
    source = """
__forceinline__ __device__ void tenfold_mma_tf32(float* c) {
}
extern "C" __global__ void __launch_bounds__(32) a_kernel(float* __restrict__ x);
extern "C" __global__ void __launch_bounds__(32) a_kernel(float* __restrict__ x) {
  tenfold_mma_tf32(x);
}

extern "C" __global__ void __launch_bounds__(32) b_kernel(float* __restrict__ x) {
  x[0] = 1;
}

extern "C" __global__ void __launch_bounds__(32) c_kernel(uchar* __restrict__ x, signed char* __restrict__ w) {
  alignas(64) int direct_local_ptr[16];
}

extern "C" __global__ void __launch_bounds__(32) d_kernel(float* __restrict__ x, float* __restrict__ w) {
  alignas(64) float direct_local_ptr[16];
}
"""
    routines = {name: Routine((Launch(f"{name}_kernel", (1, 1, 1), (32, 1, 1), 0, (0,)),)) for name in "abcd"}
    assert precisions(CudaCode(("sm_80",), source, b"", routines)) == {"a": "tf32", "b": "float32", "c": "int8", "d": "float32"}


@pytest.mark.slow
@pytest.mark.skipif(not finds_nvcc(), reason="no nvcc of CUDA 13: pip install tenfold[cuda]")
def test_manifest_and_tables_name_the_precision_of_each_kernel(tmp_path: Path):
    onnx.save(_network(), tmp_path / "model.onnx")
    options = ["--target", "cuda:sm_80", "--precision", "fp16"]
    done = tenfold_anew("compile", tmp_path / "model.onnx", "-o", tmp_path / "out", *options, seconds=900)
    assert done.code == 0, done.err
    assert "precision fp16 operands in 1 of 2 kernels that multiply; the others, and all sums, are float32" in done.out
    kernels = json.loads((tmp_path / "out" / "manifest.json").read_text())["kernels"]
    assert [(kernel["layers"], kernel["precision"]) for kernel in kernels if kernel["macs"]] == [
        (["squeeze", "middle", "widen"], "float32"), (["dense"], "fp16")]
    found = inspect_artifact(tmp_path / "out")
    assert [kernel.precision for kernel in found.kernels if kernel.macs] == ["float32", "fp16"]
    stream = io.StringIO()
    console(stream).print(kernels_table(found), crop=False)
    assert "operands" in stream.getvalue() and " fp16 " in stream.getvalue()


def _network() -> onnx.ModelProto:
    """A factored layer of 64 channels, a pooling, and a layer of many filters."""
    rng, nodes, weights, source = np.random.default_rng(0), [], [], "x"
    for name, filters, channels, size in (("squeeze", 16, 64, 1), ("middle", 16, 16, 3), ("widen", 64, 16, 1), ("dense", 512, 64, 3)):
        if name == "dense":
            nodes.append(helper.make_node("MaxPool", [source], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]))
            source = "pooled"
        weight = rng.standard_normal((filters, channels, size, size)) / np.sqrt(channels * size * size)
        weights.append(numpy_helper.from_array(weight.astype("float32"), f"{name}.weight"))
        nodes.append(helper.make_node("Conv", [source, f"{name}.weight"], [name], name=name, pads=[size // 2] * 4))
        source = name
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in
             (("x", [1, 64, 28, 28]), ("dense", [1, 512, 14, 14]))]
    graph = helper.make_graph(nodes, "factored", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
