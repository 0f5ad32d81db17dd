"""CUDA C of scheduled functions, and how it is launched."""
from __future__ import annotations

import numpy as np
import tvm
from tenfold.codegen.cuda.source import generate
from tenfold.runtime.cuda.launches import Launch
from tenfold.schedules.backend import backend_of
from tenfold.schedules.cuda.gemm.compute import gemm_convolution, pack_gemm
from tenfold.schedules.cuda.gemm.schedule import schedule_gemm
from tenfold.schedules.cuda.gemm.tile import GemmTile
from tenfold.schedules.cuda.injective import schedule_injective
from tenfold.schedules.shapes import ConvGeometry
from tenfold.targets import resolve
from tvm import te, tirx

TARGET = resolve("sm_80")


def generated(*tensors, rule, name="k"):
    func = rule(te.create_prim_func(list(tensors)), TARGET).mod["main"].with_attr("global_symbol", name)
    return generate([(tvm.ir.GlobalVar(name), func)], backend_of(TARGET))


def test_an_element_wise_function_is_one_launch():
    x, b = te.placeholder((64, 100), name="x"), te.placeholder((100,), name="b")
    y = te.compute((64, 100), lambda i, j: tirx.max(x[i, j] + b[j], tirx.const(0, "float32")), name="y")
    source, routines = generated(x, b, y, rule=schedule_injective)
    [launch] = routines["k"].launches
    assert routines["k"].scratch == () and launch.kernel == "k_kernel"
    assert launch.grid == (7, 1, 1) and launch.block == (256, 1, 1) and launch.shared_bytes == 0  # 1600 vectors of four
    assert sorted(launch.arguments) == [0, 1, 2] and launch.writes == (2,)
    assert "__global__" in source and source.count("k_kernel(") == 2  # declared and defined


def test_parts_of_a_product_are_passed_in_a_buffer_of_the_function():
    tile = GemmTile(16, 16, 8, 2, 4, splits=4)
    geometry = ConvGeometry(32, (3, 3), padding=(1, 1, 1, 1))
    packed = pack_gemm(np.zeros((32, 64, 3, 3), "float32"), 1, tile)
    x, w = te.placeholder((1, 7, 7, 64), name="x"), te.placeholder(packed.shape, name="w")
    _, routines = generated(x, w, gemm_convolution(x, w, geometry, tile), rule=schedule_gemm)
    product, total = routines["k"].launches
    assert routines["k"].scratch == (4 * 4 * 64 * 32,)  # bytes of four parts of 64 rows, which are 49 filled up
    assert sorted(product.arguments) == [0, 1, 3] and product.writes == (3,)
    assert sorted(total.arguments) == [2, 3] and total.writes == (2,)


def test_functions_without_launches_do_not_share_them():
    x = te.placeholder((8,), name="x")
    y = te.compute((8,), lambda i: x[i] * 2, name="y")
    func = schedule_injective(te.create_prim_func([x, y]), TARGET).mod["main"]
    functions = [(tvm.ir.GlobalVar(name), func.with_attr("global_symbol", name)) for name in ("a", "b")]
    _, routines = generate(functions, backend_of(TARGET))
    assert {name: routine.launches[0].kernel for name, routine in routines.items()} == {"a": "a_kernel", "b": "b_kernel"}
    assert isinstance(routines["a"].launches[0], Launch)
