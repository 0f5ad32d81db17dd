"""Calls with arrays that are on the GPU already, through the stand-in for NVIDIA's driver."""
from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import tenfold
from cuda_standin import StandIn
from tenfold.runtime.cuda.context import Context, Memory, Stream
from tenfold.support.errors import TenfoldError


class OnGpu:
    """An array of some library."""

    def __init__(self, context: Context, array: np.ndarray, stream: int | None = None, offset: int = 0) -> None:
        with context.current():
            self._memory = Memory(context, array.nbytes + offset)
            ctypes.memmove(self._memory.address + offset, np.ascontiguousarray(array).ctypes.data, array.nbytes)
        self.__cuda_array_interface__ = {"shape": array.shape, "typestr": array.dtype.str, "data": (self._memory.address + offset, False),
                                         "strides": None, "stream": stream, "version": 3}


def fetched(result) -> np.ndarray:
    """What lies at the address of an array."""
    said = result.__cuda_array_interface__
    size = int(np.prod(said["shape"])) * np.dtype(said["typestr"]).itemsize
    raw = (ctypes.c_uint8 * size).from_address(said["data"][0])
    return np.frombuffer(bytes(raw), said["typestr"]).reshape(said["shape"])


def images(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(3).standard_normal((count, 1, 3, 8, 8)).astype("float32"))


@pytest.fixture
def network(standin: StandIn, gpu_artifact: Path):
    standin.gpu()
    standin.knows(gpu_artifact)
    return tenfold.load(gpu_artifact)


@pytest.fixture
def context(network) -> Context:
    return network.machine.context


def wait(context: Context, handle: int) -> None:
    with context.current():
        Stream(context, handle).wait()


def test_nothing_is_copied_and_nothing_waited_for(standin: StandIn, network, context: Context):
    x = images(1)[0]
    expected = network(x)
    before, already = OnGpu(context, x), len(standin.launched)
    result = network(before)
    assert len(standin.launched) == already  # what was put into the stream has not run
    assert standin.pending(1) == len(network.manifest.kernels)  # kernels alone
    wait(context, 1)
    np.testing.assert_array_equal(fetched(result), expected)
    assert result.__cuda_array_interface__["shape"] == (1, 5)


def test_in_the_streams_of_the_caller(standin: StandIn, network, context: Context):
    x, y = images(2)
    with context.current():
        streams = [Stream(context), Stream(context)]
    handles = [stream.handle.value for stream in streams]
    inputs = [OnGpu(context, image, handle) for image, handle in zip((x, y), handles, strict=True)]  # kept: giving memory back waits
    results = [network(each) for each in inputs]
    assert [standin.pending(handle) for handle in handles] == 2 * [len(network.manifest.kernels)]
    wait(context, handles[1])
    np.testing.assert_array_equal(fetched(results[1]), network(y))
    wait(context, handles[0])
    np.testing.assert_array_equal(fetched(results[0]), network(x))


def test_calls_from_the_cpu_and_from_the_gpu_take_turns(network, context: Context):
    expected = [network(x) for x in images(4)]
    for x, scores in zip(images(4), expected, strict=True):
        result = network.run({"image": OnGpu(context, x)})["scores"]
        wait(context, 1)
        np.testing.assert_array_equal(fetched(result), scores)
        np.testing.assert_array_equal(network(x), scores)


def test_outputs_are_given_back_when_they_go(standin: StandIn, network, context: Context):
    before = standin.counts.blocks
    result = network(OnGpu(context, images(1)[0]))
    gc.collect()
    assert standin.counts.blocks == before + 1
    del result
    gc.collect()
    assert standin.counts.blocks == before


def test_an_array_that_speaks_dlpack(network, context: Context):
    """Its capsule says CPU, as NumPy's does: what is read of it is the same."""
    x = images(1)[0]
    there = OnGpu(context, x)
    memory = np.ctypeslib.as_array((ctypes.c_float * x.size).from_address(there.__cuda_array_interface__["data"][0])).reshape(x.shape)

    class Dlpack:
        def __dlpack_device__(self):
            return 2, 0

        def __dlpack__(self, **_):
            return memory.__dlpack__()

    result = network(Dlpack())
    wait(context, 1)
    np.testing.assert_array_equal(fetched(result), network(x))


class FakeTensor(OnGpu):
    """As much of a tensor of torch as is asked for: this machine's torch has no GPU."""

    def __init__(self, context: Context, array: np.ndarray, offset: int = 0, contiguous: bool = True) -> None:
        super().__init__(context, array, offset=offset)
        self._context, self._array, self._contiguous = context, array, contiguous
        self.shape, self.dtype, self.device = array.shape, f"torch.{array.dtype}", SimpleNamespace(type="cuda", index=0)

    def data_ptr(self) -> int:
        return self.__cuda_array_interface__["data"][0]

    def is_contiguous(self) -> bool:
        return self._contiguous

    def detach(self) -> FakeTensor:
        return self

    def clone(self) -> FakeTensor:
        raise NotImplementedError

    def contiguous(self) -> FakeTensor:
        return self if self._contiguous else self.clone()


@pytest.mark.parametrize("how", [{}, {"contiguous": False}, {"offset": 4}])
def test_tensors_of_torch(standin: StandIn, network, context: Context, monkeypatch: pytest.MonkeyPatch, how: dict):
    x = images(1)[0]
    expected = network(x)
    with context.current():
        stream = Stream(context)
    torch = ModuleType("torch")
    torch.Tensor, torch.float32 = FakeTensor, "float32"
    torch.cuda = SimpleNamespace(current_stream=lambda device: SimpleNamespace(cuda_stream=stream.handle.value))
    torch.empty = lambda shape, dtype, device: FakeTensor(context, np.zeros(shape, dtype))
    monkeypatch.setitem(sys.modules, "torch", torch)
    copies: list[FakeTensor] = []
    tensor = FakeTensor(context, x, **how)
    monkeypatch.setattr(FakeTensor, "clone", lambda self: copies.append(FakeTensor(context, x)) or copies[-1])
    result = network(tensor)
    assert isinstance(result, FakeTensor) and standin.pending(stream.handle.value) == len(network.manifest.kernels)
    wait(context, stream.handle.value)
    np.testing.assert_array_equal(fetched(result), expected)
    assert len(copies) == len(how)


@pytest.mark.parametrize(("change", "message"), [
    ({"shape": (1, 3, 8, 9)}, r"input 'image' has shape \[1, 3, 8, 9\], expected \[1, 3, 8, 8\]"),
    ({"typestr": "<f2"}, "input 'image' has dtype float16, expected float32: convert it"),
    ({"strides": (768, 4, 96, 12)}, "input 'image' is not contiguous"),
    ({"data": (4096, False)}, "input 'image' is not in a GPU's memory, the network is on GPU 0"),
    ({"data": (4100, False)}, "not at a multiple of 16 bytes"),
])
def test_arrays_that_do_not_fit(network, context: Context, change: dict, message: str):
    array = OnGpu(context, images(1)[0])
    array.__cuda_array_interface__.update(change)
    with pytest.raises(TenfoldError, match=message):
        network(array)


def test_a_stream_that_is_captured_or_gone_is_one_line(standin: StandIn, network, context: Context):
    with pytest.raises(TenfoldError, match="cuGraphLaunch: invalid resource handle"):
        network(OnGpu(context, images(1)[0], stream=1234))


def test_an_array_of_another_gpu(standin: StandIn, gpu_artifact: Path):
    standin.gpu()
    standin.gpu()
    standin.knows(gpu_artifact)
    network, other = tenfold.load(gpu_artifact, device=1), Context(0)
    with pytest.raises(TenfoldError, match="input 'image' is on GPU 0, the network is on GPU 1"):
        network(OnGpu(other, images(1)[0]))
    assert np.isfinite(network(images(1)[0])).all()


@pytest.mark.parametrize(("options", "message"), [
    ({"device": 1}, r"it is for a GPU: there is no GPU 1: this machine has 0 \(Stand-in\)"),
    ({"device": -1}, "there is no GPU -1"),
    ({"threads": 2}, "threads are for CPUs, and it runs on a GPU: leave them out"),
])
def test_options_of_load(standin: StandIn, gpu_artifact: Path, options: dict, message: str):
    standin.gpu()
    with pytest.raises(TenfoldError, match=message):
        tenfold.load(gpu_artifact, **options)


def test_a_gpu_for_what_is_for_a_cpu(tiny_artifact: Path):
    with pytest.raises(TenfoldError, match=r"it is for a CPU \(.*\), not for GPU 0: leave device out"):
        tenfold.load(tiny_artifact, device=0)
