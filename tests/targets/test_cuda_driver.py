"""What is called of NVIDIA's driver, held against its header, and what is said of GPUs."""
from __future__ import annotations

import ctypes
import re
from importlib import util
from pathlib import Path

import pytest
from cuda_standin import StandIn
from tenfold.runtime.cuda import context
from tenfold.runtime.cuda.capability import gpu_for, lacking_gpu
from tenfold.support.errors import TenfoldError
from tenfold.targets import cuda_driver, cuda_functions, resolve
from tenfold.targets.cuda_driver import Gpu, driver, gpus

ENUMERATIONS = {
    "CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT": cuda_driver.SMS, "CU_DEVICE_ATTRIBUTE_CLOCK_RATE": cuda_driver.CLOCK_KHZ,
    "CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE": cuda_driver.L2_BYTES, "CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE": cuda_driver.MEMORY_KHZ,
    "CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH": cuda_driver.MEMORY_BITS,
    "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR": cuda_driver.MAJOR,
    "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR": cuda_driver.MINOR, "CUDA_ERROR_OUT_OF_MEMORY": cuda_driver.OUT_OF_MEMORY,
    "CUDA_ERROR_INVALID_VALUE": cuda_driver.INVALID_VALUE, "CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL": context.DEVICE_ORDINAL,
    "CU_STREAM_NON_BLOCKING": context.NON_BLOCKING, "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES": context.DYNAMIC_SHARED,
}  # fmt: skip
TYPES = {
    "unsigned int": ctypes.c_uint, "unsigned long long": ctypes.c_ulonglong, "size_t": ctypes.c_size_t, "unsigned char": ctypes.c_ubyte,
    "CUdeviceptr": ctypes.c_uint64, "CUdeviceptr *": ctypes.POINTER(ctypes.c_uint64), "float *": ctypes.POINTER(ctypes.c_float),
    "int *": ctypes.POINTER(ctypes.c_int), "CUdevice *": ctypes.POINTER(ctypes.c_int), "char *": ctypes.c_char_p, "void *": ctypes.c_void_p,
    "void **": ctypes.POINTER(ctypes.c_void_p), "char **": ctypes.POINTER(ctypes.c_char_p),
    "CUDA_KERNEL_NODE_PARAMS *": ctypes.POINTER(cuda_functions.KernelNode),
}  # fmt: skip
INTEGERS = ("int", "CUresult", "CUdevice", "CUdevice_attribute", "CUfunction_attribute", "CUpointer_attribute")
HANDLES = ("CUcontext", "CUstream", "CUevent", "CUmodule", "CUfunction", "CUgraph", "CUgraphExec", "CUgraphNode")
TYPES.update({name: ctypes.c_int for name in INTEGERS})
TYPES.update({f"{name}{star}": kind for name in HANDLES for star, kind in (("", ctypes.c_void_p), (" *", ctypes.POINTER(ctypes.c_void_p)))})


def header() -> str:
    """cuda.h of NVIDIA's wheels."""
    found = util.find_spec("nvidia")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for path in Path(folder).glob("cu13/include/cuda.h"):
            return re.sub(r"/\*.*?\*/", " ", path.read_text(), flags=re.S)
    pytest.skip("no cuda.h of CUDA 13: pip install tenfold[cuda]")


def declared(text: str, name: str) -> list[object]:
    """The types of a function that the library has under this name: the declaration, and the macro that names the symbol."""
    renamed = re.search(rf"#define (\w+)\s+(?:__CUDA_API_PTSZ\()?{name}\b", text)
    plain = renamed[1] if renamed else name
    assert renamed or not re.search(rf"#define {name}\s+{name}\w", text), f"the header means another symbol by {name}"
    match = re.search(rf"^CUresult CUDAAPI {plain}\(([^)]*)\)", text, re.M)
    assert match, f"cuda.h declares no {name}"
    found = []
    for parameter in match[1].split(","):
        if parameter.strip() in ("", "void"):
            continue
        kind = re.sub(r"\bconst\b", "", re.sub(r"(\w+)\s*$", "", parameter.strip()))
        found.append(TYPES[re.sub(r"\s*(\*+)", r" \1", " ".join(kind.split()))])
    return found


@pytest.mark.parametrize("name", cuda_functions.SIGNATURES)
def test_functions_are_those_of_the_header(name: str):
    assert list(cuda_functions.SIGNATURES[name]) == declared(header(), name)


@pytest.mark.parametrize("name", ENUMERATIONS)
def test_numbers_are_those_of_the_header(name: str):
    assert int(re.search(rf"\b{name}\s*=\s*(\w+)", header())[1], 0) == ENUMERATIONS[name]  # type: ignore[index]


def test_a_node_is_that_of_the_header():
    body = re.search(r"struct CUDA_KERNEL_NODE_PARAMS_v2_st \{(.*?)\}", header(), re.S)[1]  # type: ignore[index]
    fields = [re.fullmatch(r"\s*(.*?)(\w+)\s*", line) for line in body.split(";") if line.strip()]
    names = {"unsigned int": ctypes.c_uint, "void **": ctypes.POINTER(ctypes.c_void_p), "CUkernel": ctypes.c_void_p}
    expected = [(each[2], {**TYPES, **names}[each[1].strip()]) for each in fields]  # type: ignore[index]
    assert cuda_functions.KernelNode._fields_ == expected


def test_a_size_beyond_32_bits_is_not_cut(standin: StandIn):
    standin.gpu(memory=1 << 33)
    made = context.Context(0)
    with made.current():
        memory = context.Memory(made, size := (1 << 32) + 5)
    assert (memory.size, standin.counts.bytes) == (size, size)


@pytest.mark.parametrize(("features", "runs"), [
    (["sm_80"], True), (["sm_86"], True), (["sm_89"], False), (["sm_75"], False),
    (["compute_80"], True), (["compute_75"], True), (["compute_90"], False),
    (["sm_86a"], True), (["sm_80a"], False), ([], False), (["sm_x", "", "zen3"], False), (["sm_90", "compute_80"], True),
])
def test_what_code_a_gpu_runs(features: list[str], runs: bool):
    assert Gpu(0, "one", (8, 6), 1, 1.0, 1, 1.0).runs(features) is runs


def test_which_gpu(standin: StandIn):
    standin.gpu("Old", (7, 5))
    standin.gpu("New", (9, 0))
    assert gpu_for(["sm_90"]).index == 1
    assert gpu_for(["sm_75", "compute_75"], 1).name == "New"
    assert [gpu.arch for gpu in gpus()] == ["sm_75", "sm_90"]
    assert resolve("cuda").archs == ("sm_75",)


@pytest.mark.parametrize(("index", "message"), [
    (2, r"there is no GPU 2: this machine has 0 \(Old\), 1 \(New\)"), (-1, "there is no GPU -1"),
    (0, "it holds code for sm_90, and Old is sm_75"),
])
def test_a_gpu_that_is_not_there_or_can_not(standin: StandIn, index: int, message: str):
    standin.gpu("Old", (7, 5))
    standin.gpu("New", (9, 0))
    with pytest.raises(TenfoldError, match=message):
        gpu_for(["sm_90"], index)


def test_an_old_driver(standin: StandIn):
    standin.gpu()
    standin.version(12080)
    assert lacking_gpu(["sm_80"]) == "this NVIDIA driver is for CUDA 12, the code needs 13: update the driver"


def test_no_gpu(standin: StandIn):
    assert lacking_gpu(["sm_80"]) == "the NVIDIA driver: cuInit: no CUDA-capable device is detected"
    assert gpus() == ()


def test_no_driver(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libno-such-driver.so.1")
    cuda_driver.driver.cache_clear()
    assert lacking_gpu(["sm_80"]) == "this machine has no NVIDIA driver (libno-such-driver.so.1 can't be loaded)"


def test_a_driver_without_a_function(standin: StandIn, monkeypatch: pytest.MonkeyPatch):
    standin.gpu()
    monkeypatch.setitem(cuda_functions.SIGNATURES, "cuFromTheFuture", ())
    with pytest.raises(TenfoldError, match="^the NVIDIA driver has no cuFromTheFuture: it is too old, update it$"):
        driver().call("cuFromTheFuture")
