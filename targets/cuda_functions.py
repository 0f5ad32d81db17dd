"""The functions of NVIDIA's driver that Tenfold calls, with the types of their arguments as in cuda.h of CUDA 13.

ctypes passes a Python integer as 32 bits unless it is told the type: a size of memory would be cut. Names are those of the library, with
their suffixes (``_v2``), and not the macros of the header.
"""
from __future__ import annotations

from ctypes import POINTER, Structure, c_char_p, c_float, c_int, c_size_t, c_ubyte, c_uint, c_uint64, c_ulonglong, c_void_p
from typing import Any

Address = c_uint64  # CUdeviceptr: memory of the GPU


class KernelNode(Structure):
    """CUDA_KERNEL_NODE_PARAMS_v2: a kernel in a graph, with its arguments. The last two fields stay empty where `func` is set."""

    _fields_ = [
        ("func", c_void_p), ("gridDimX", c_uint), ("gridDimY", c_uint), ("gridDimZ", c_uint),
        ("blockDimX", c_uint), ("blockDimY", c_uint), ("blockDimZ", c_uint), ("sharedMemBytes", c_uint),
        ("kernelParams", POINTER(c_void_p)), ("extra", POINTER(c_void_p)), ("kern", c_void_p), ("ctx", c_void_p),
    ]  # fmt: skip


_HANDLE, _HANDLES, _TEXTS = c_void_p, POINTER(c_void_p), POINTER(c_char_p)
_INTS, _FLOATS, _ADDRESSES, _NODES = POINTER(c_int), POINTER(c_float), POINTER(Address), POINTER(KernelNode)

SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (_INTS,),
    "cuGetErrorString": (c_int, _TEXTS),
    "cuDeviceGetCount": (_INTS,),
    "cuDeviceGet": (_INTS, c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (_INTS, c_int, c_int),
    "cuDevicePrimaryCtxRetain": (_HANDLES, c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxPushCurrent_v2": (_HANDLE,),
    "cuCtxPopCurrent_v2": (_HANDLES,),
    "cuCtxSynchronize": (),
    "cuMemAlloc_v2": (_ADDRESSES, c_size_t),
    "cuMemFree_v2": (Address,),
    "cuPointerGetAttribute": (c_void_p, c_int, Address),
    "cuMemcpyHtoDAsync_v2": (Address, c_void_p, c_size_t, _HANDLE),
    "cuMemcpyDtoHAsync_v2": (c_void_p, Address, c_size_t, _HANDLE),
    "cuMemsetD8Async": (Address, c_ubyte, c_size_t, _HANDLE),
    "cuStreamCreate": (_HANDLES, c_uint),
    "cuStreamDestroy_v2": (_HANDLE,),
    "cuStreamSynchronize": (_HANDLE,),
    "cuStreamWaitEvent": (_HANDLE, _HANDLE, c_uint),
    "cuEventCreate": (_HANDLES, c_uint),
    "cuEventDestroy_v2": (_HANDLE,),
    "cuEventRecord": (_HANDLE, _HANDLE),
    "cuEventSynchronize": (_HANDLE,),
    "cuEventElapsedTime_v2": (_FLOATS, _HANDLE, _HANDLE),
    "cuModuleLoadData": (_HANDLES, c_void_p),
    "cuModuleUnload": (_HANDLE,),
    "cuModuleGetFunction": (_HANDLES, _HANDLE, c_char_p),
    "cuFuncSetAttribute": (_HANDLE, c_int, c_int),
    "cuLaunchKernel": (_HANDLE, *7 * (c_uint,), _HANDLE, _HANDLES, _HANDLES),
    "cuGraphCreate": (_HANDLES, c_uint),
    "cuGraphDestroy": (_HANDLE,),
    "cuGraphAddKernelNode_v2": (_HANDLES, _HANDLE, _HANDLES, c_size_t, _NODES),
    "cuGraphInstantiateWithFlags": (_HANDLES, _HANDLE, c_ulonglong),
    "cuGraphExecKernelNodeSetParams_v2": (_HANDLE, _HANDLE, _NODES),
    "cuGraphExecDestroy": (_HANDLE,),
    "cuGraphLaunch": (_HANDLE, _HANDLE),
}
